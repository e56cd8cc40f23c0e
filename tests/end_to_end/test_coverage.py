"""The intervals of forecasts hold 80 % of the values of a stationary series: of every sequence, at every step."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.config.catalogue.distributions import LEVELS
from sequifier.config.inference import InferConfig
from sequifier.config.train import TrainConfig
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged
from tests.support.small_project import Project

H = 4
NORMAL = NormalDist()


def series(n_sequences: int, n_events: int) -> pl.DataFrame:
    """Return a wave of 12 steps with autocorrelated noise, whose variance is the same everywhere."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(n_sequences, n_events))
    for step in range(1, n_events):
        noise[:, step] += 0.6 * noise[:, step - 1]
    steps = np.arange(n_events)
    load = 50 + 3 * np.sin(steps * np.pi / 6 + np.arange(n_sequences)[:, None]) + noise
    return pl.DataFrame(
        {
            "station": np.repeat([f"s{number}" for number in range(n_sequences)], n_events),
            "hour": np.tile(steps, n_sequences),
            "load": load.ravel(),
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize(("normalization", "epochs"), [("none", 30), ("last", 3)])
def test_intervals_hold_what_they_promise_at_every_step_of_every_series(
    tmp_path: Path, normalization: str, epochs: int
) -> None:
    """Standard errors of a step are 0.4 % (14,400 targets, correlated), of a sequence at all steps 0.6 %."""
    project = Project(tmp_path)
    project.run(
        project.write(series(4, 12_000)),
        sequence_column="station",
        position_column="hour",
        seq_length=16,
        split_method="within_sequence",
        split_ratios=[0.6, 0.1, 0.3],
    )
    values = {
        "project_root": str(tmp_path),
        "metadata_config_path": "configs/metadata_configs/events.json",
        "model_name": "wave",
        "target_columns": ["load"],
        "prediction_horizon": H,
        "window_normalization": normalization,
        "metric": "val_load_crps",
        "model_spec": {"dim_model": 16, "dim_feedforward": 32, "distribution": {"load": "quantiles"}},
        "training_spec": {
            "epochs": epochs,
            "batch_size": 64,
            "dropout": 0.0,
            "scheduler": {"name": "CosineAnnealingLR", "T_max": "auto"},
        },
    }
    api.train(TrainConfig.model_validate(merged(TINY_RUN, values)), emit=quiet)
    (model,) = (tmp_path / "models").glob("sequifier-wave-best-*.onnx")
    by_station = {"project_root": str(tmp_path), "model_path": str(model), "evaluate_by": "station"}
    (found,) = api.infer(InferConfig.model_validate(by_station), log=quiet)
    assert found.evaluation_table is not None
    table = pl.read_csv(found.evaluation_table)
    whole, by_value = table.filter(pl.col("column").is_null()), table.filter(pl.col("column") == "station")
    assert whole["n"].to_list() == [4 * (3600 - H + 1) * H] + [4 * (3600 - H + 1)] * H
    assert len(by_value) == 4 * (H + 1)
    assert 0.78 < whole["coverage_80"][0] < 0.82
    assert whole["coverage_80"].is_between(0.77, 0.83).all()
    assert by_value.filter(pl.col("step").is_null())["coverage_80"].is_between(0.78, 0.82).all()
    best = 2 * np.mean([NORMAL.pdf(NORMAL.inv_cdf(level)) for level in LEVELS])
    for step, crps in zip(range(1, H + 1), whole["crps"].to_list()[1:], strict=True):
        deviation = sum(0.6 ** (2 * lag) for lag in range(step)) ** 0.5  # of the noise since the origin
        assert best * deviation * 0.97 < crps < best * deviation * 1.2
