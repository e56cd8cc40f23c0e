"""Quantiles, intervals and scenarios of targets with a distribution, in tables of predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.config.inference import InferConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.inference.forecast_dates import STEP
from sequifier.inference.predict import Inference
from tests.support.quiet import quiet
from tests.support.small_project import Project

LEVELS = [f"q{5 * number:02}" for number in range(1, 20)]


def walks(n_sequences: int, n_events: int, seed: int = 0) -> pl.DataFrame:
    """Return random walks with steps of standard deviation 1, and a positive wait between their events."""
    generator = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "sequenceId": np.repeat(np.arange(n_sequences), n_events),
            "itemPosition": np.tile(np.arange(n_events), n_sequences),
            "level": 50 + generator.normal(size=(n_sequences, n_events)).cumsum(axis=1).ravel(),
            "wait": generator.lognormal(0.5, 0.7, n_sequences * n_events),
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model of walks, one of waits, and one of single values."""
    root = tmp_path_factory.mktemp("distributions")
    project = Project(root)
    project.run(project.write(walks(30, 30)), seq_length=6, split_method="between_sequence")
    train(root, "walk", ["level"], {"distribution": {"level": "quantiles"}}, window_normalization="last")
    train(root, "wait", ["wait"], {"distribution": {"wait": "lognormal_mixture"}}, export_pt=True)
    train(root, "point", ["wait"], {}, epochs=1)
    walks(1, 30, seed=9).write_csv(root / "new.csv")
    return root


def train(root: Path, name: str, columns: list[str], model: dict[str, Any], epochs: int = 2, **fields: Any) -> None:
    values = {
        "project_root": str(root),
        "metadata_config_path": "configs/metadata_configs/events.json",
        "model_name": name,
        "input_columns": columns,
        "target_columns": columns,
        "model_spec": {
            "dim_model": 8,
            "n_head": 2,
            "num_layers": 1,
            "dim_feedforward": 8,
            "positional_encoding": "rope",
            **model,
        },
        "training_spec": {
            "epochs": epochs,
            "evaluation_stride": 1,
            "batch_size": 32,
            "learning_rate": 0.02,
            "device": "cpu",
        },
    }
    api.train(TrainConfig.model_validate(values | fields), emit=quiet)


def infer(root: Path, name: str, suffix: str = "onnx", **fields: Any) -> tuple[Inference, pl.DataFrame]:
    path = next((root / "models").glob(f"sequifier-{name}-last-*.{suffix}"))
    values = {"project_root": str(root), "model_path": str(path), "device": "cpu"}
    found = api.infer(InferConfig.model_validate(values | fields), log=quiet)[0]
    return found, pl.read_csv(found.predictions)


@pytest.mark.parametrize(("name", "suffix"), [("walk", "onnx"), ("wait", "onnx"), ("wait", "pt")])
def test_predictions_have_the_median_and_its_quantiles_and_the_metrics_of_training(
    root: Path, name: str, suffix: str
) -> None:
    target = {"walk": "level", "wait": "wait"}[name]
    found, table = infer(
        root, name, suffix, data_path=str(root / "data" / "events-split1.parquet"), evaluation_context="full"
    )
    assert table.columns == ["sequenceId", "itemPosition", target, *(f"{target}_{level}" for level in LEVELS)]
    quantiles = table.select(f"{target}_{level}" for level in LEVELS).to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert table[target].to_list() == table[f"{target}_q50"].to_list()
    log = next(path for path in (root / "logs").rglob("metrics.jsonl") if path.parts[-3] == name)
    last = json.loads(log.read_text().splitlines()[-1])
    measured = found.evaluation[target]
    for metric in ("mae", "rmse", "mase", "crps", "coverage_80", *(["nll"] if name == "wait" else [])):
        assert measured[metric] == pytest.approx(last[f"val_{target}_{metric}"], rel=1e-4), metric


def test_raw_events_get_an_interval_in_original_units(root: Path) -> None:
    _, table = infer(root, "walk", data_path=str(root / "new.csv"), read_format="raw", quantiles=[0.1, 0.9])
    assert table.columns[2:] == ["level", "level_q10", "level_q90"]
    last = walks(1, 30, seed=9)["level"][-1]
    middle, low, high = table.row(0)[2:]
    # the steps have a standard deviation of 1
    assert low == pytest.approx(last - 1.28, abs=0.5)
    assert middle == pytest.approx(last, abs=0.4)
    assert high == pytest.approx(last + 1.28, abs=0.5)


def test_a_thousand_scenarios_in_one_call_have_bands_that_widen_like_a_random_walk(root: Path) -> None:
    rollout: dict[str, Any] = {
        "data_path": str(root / "new.csv"),
        "read_format": "raw",
        "autoregression": True,
        "autoregression_extra_steps": 16,
        "sampler": {"temperature": 1.0},
    }
    _, table = infer(root, "walk", **rollout, n_scenarios=1000)
    assert table.columns == ["sequenceId", "scenario", "itemPosition", "level"]
    assert table["scenario"].unique().sort().to_list() == [*range(1000)]
    spread = table.group_by("itemPosition").agg(pl.col("level").std()).sort("itemPosition")["level"].to_numpy()
    assert spread[0] == pytest.approx(1.0, rel=0.25)
    np.testing.assert_allclose(spread / spread[0], np.arange(1, 17) ** 0.5, rtol=0.25)
    # the first scenario is the rollout without scenarios
    _, alone = infer(root, "walk", **rollout)
    first = table.filter(pl.col("scenario") == 0)["level"]
    np.testing.assert_allclose(alone["level"], first, atol=1e-4)


def test_samples_are_distributed_like_the_predictions(root: Path) -> None:
    arguments = {"data_path": str(root / "data" / "events-split0.parquet"), "evaluation_context": "full"}
    _, table = infer(root, "wait", sampler={"temperature": 1.0}, **arguments)
    below = [(table["wait"] <= table[f"wait_{level}"]).mean() for level in LEVELS]
    np.testing.assert_allclose(below, np.arange(1, 20) / 20, atol=0.1)
    _, greedy = infer(root, "wait", sampler={"temperature": 0.0}, **arguments)
    assert greedy["wait"].to_list() == greedy["wait_q50"].to_list()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "quantiles of a point": ({"quantiles": [0.1]}, "predicts one value of wait, no distribution"),
    "scenarios of nothing": ({"n_scenarios": 3}, "nothing is generated"),
    "equal scenarios": (
        {"n_scenarios": 3, "autoregression": True, "autoregression_extra_steps": 2},
        "nothing is sampled",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_one_clear_error(root: Path, name: str) -> None:
    fields, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        infer(root, "point", **fields)


def test_other_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.12 is not one of the predicted levels"):
        InferConfig.model_validate({"model_path": "m.onnx", "quantiles": [0.12]})


def test_each_step_of_a_forecast_has_its_quantiles(root: Path) -> None:
    train(root, "ahead", ["level"], {"distribution": {"level": "quantiles"}}, epochs=1, prediction_horizon=3)
    _, table = infer(root, "ahead", data_path=str(root / "new.csv"), read_format="raw", quantiles=[0.1, 0.9])
    assert table[STEP].to_list() == [1, 2, 3]
    assert table.columns[-3:] == ["level", "level_q10", "level_q90"]
    assert (table["level_q10"] < table["level"]).all() and (table["level"] < table["level_q90"]).all()
    data = str(root / "data" / "events-split1.parquet")
    measured = infer(root, "ahead", data_path=data)[0].evaluation["level"]
    log = next(path for path in (root / "logs").rglob("metrics.jsonl") if path.parts[-3] == "ahead")
    last = json.loads(log.read_text().splitlines()[-1])
    for metric in ("crps", "coverage_80_step_1", "crps_step_3", "mae_standardised", "mase", "mase_step_2"):
        assert measured[metric] == pytest.approx(last[f"val_level_{metric}"], rel=1e-4), metric


def test_a_target_with_the_name_of_a_quantile_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.run(project.write(walks(30, 12).rename({"wait": "level_q10"})), split_method="between_sequence")
    train(tmp_path, "two", ["level", "level_q10"], {"distribution": {"level": "quantiles"}}, epochs=1)
    with pytest.raises(ConfigError, match="target `level_q10` has the name of the column of `level` with its quantile"):
        infer(tmp_path, "two")
    _, table = infer(tmp_path, "two", quantiles=[0.9], data_path=str(tmp_path / "data" / "events-split1.parquet"))
    assert table.columns[-3:] == ["level", "level_q90", "level_q10"]
