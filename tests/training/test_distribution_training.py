"""Targets with a distribution, from the config to the exported model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.architecture import architecture, architecture_from_json
from sequifier.config.resolve import resolve
from sequifier.config.size import parameter_count
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.model.build import build_model
from sequifier.prepare import prepare
from sequifier.training.losses import DistributionLoss
from sequifier.training.shared import Shared
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged
from tests.support.small_project import Project

METADATA = "configs/metadata_configs/events.json"
BOTH = {"price": "quantiles", "wait": "lognormal_mixture"}


def frame(lowest: float = 0.0) -> pl.DataFrame:
    """Return sequences with a price that wanders around 10 and a positive wait; the smallest wait is `lowest`."""
    generator = np.random.default_rng(0)
    price = np.zeros((30, 20))
    for step in range(1, 20):
        price[:, step] = 0.95 * price[:, step - 1] + generator.normal(size=30)
    rows = {
        "sequenceId": np.repeat(np.arange(30), 20),
        "itemPosition": np.tile(np.arange(20), 30),
        "price": (10 + price).ravel().round(3),
        "wait": generator.lognormal(1, 0.8, 600).round(3) + 0.001,
    }
    rows["wait"][45] = lowest
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("distributions")
    project = Project(root)
    project.run(project.write(frame()), seq_length=6, split_method="between_sequence")
    return root


def config(root: Path, **values: Any) -> TrainConfig:
    base = {
        "project_root": str(root),
        "metadata_config_path": METADATA,
        "target_columns": ["price", "wait"],
        "model_spec": {"distribution": BOTH},
        "export_end_to_end": True,
    }
    return TrainConfig.model_validate(merged(merged(TINY_RUN, base), values))


@pytest.fixture(scope="module")
def trained(root: Path) -> Iterator[dict[str, Any]]:
    """Train a model with both distributions; returns the entries of its log."""
    api.train(config(root, training_spec={"epochs": 4, "dropout": 0.0}), emit=quiet)
    path = next((root / "logs").rglob("metrics.jsonl"))
    yield {"entries": [json.loads(line) for line in path.read_text().splitlines()]}


def test_losses_fall_and_metrics_are_those_of_the_distribution(root: Path, trained: dict[str, Any]) -> None:
    first, last = (trained["entries"][place] for place in (0, -1))
    for target in BOTH:
        assert last[f"val_{target}_loss"] < first[f"val_{target}_loss"]
        assert 0.6 < last[f"val_{target}_coverage_80"] < 0.95
        assert last[f"val_{target}_crps"] < last[f"val_{target}_mae"], "a distribution beats its median"
    assert last["val_wait_nll"] == last["val_wait_loss"]
    assert "val_price_nll" not in last
    std = read_metadata(root / METADATA).scale("price").std
    assert last["val_price_crps"] == pytest.approx(last["val_price_loss"] * 2 * std), "twice the pinball loss"


def test_exported_models_have_quantiles_beside_the_median(root: Path, trained: dict[str, Any]) -> None:
    plain = read_model_file(next((root / "models").glob("sequifier-tiny-best-[0-9]*.onnx")))
    assert plain.outputs == (
        *("price_value", "price_quantiles"),
        *("wait_value", "wait_quantiles", "wait_parameters"),
    )
    assert [target.distribution for target in plain.architecture.targets] == ["quantiles", "lognormal_mixture"]
    assert plain.parity["largest_difference"] < 1e-4
    whole = read_model_file(next((root / "models").glob("sequifier-tiny-best-end-to-end*.onnx")))
    assert whole.outputs == ("price_value", "price_quantiles", "wait_value", "wait_quantiles")


def test_the_card_names_the_distributions(root: Path, trained: dict[str, Any]) -> None:
    api.export("tiny", project_root=str(root), card=True, log=quiet)
    card = (root / "models" / "tiny-card.md").read_text()
    assert "Of `price` it predicts a distribution (quantiles): the median, and quantiles of 5 % to 95 %." in card
    assert "Of `wait` it predicts a distribution (lognormal mixture)" in card
    assert "| `val_price_crps` |" in card


def test_a_checkpoint_has_the_statistics_of_the_mixture(root: Path, trained: dict[str, Any]) -> None:
    ready = prepare(config(root), Shared(), quiet)
    statistics = ready.state.model.state_dict()["heads.linear.1.statistics"]
    logs = np.log(frame()["wait"].to_numpy()[frame()["wait"].to_numpy() > 0])
    np.testing.assert_allclose(statistics[:2].numpy(), [logs.mean(), logs.std()], rtol=0.1)
    assert "heads.linear.0.statistics" not in ready.state.model.state_dict()
    loss = ready.objective.losses["wait"]
    assert isinstance(loss, DistributionLoss)
    smallest = frame()["wait"].filter(frame()["wait"] > 0).min()
    assert loss.resolution == pytest.approx(float(statistics[2]))
    assert loss.resolution >= smallest, "of the training split"  # type: ignore[operator]
    metrics = {name: found.metrics for name, found in ready.baselines.items()}
    assert "baseline: marginal distribution" in metrics
    assert metrics["baseline: marginal distribution"]["val_wait_nll"] < 3


def test_the_size_of_the_head_is_counted(root: Path) -> None:
    metadata = read_metadata(root / METADATA)
    shape = architecture(resolve(config(root), metadata), metadata)
    model = build_model(shape, torch.Generator())
    assert parameter_count(shape) == sum(parameter.numel() for parameter in model.parameters())
    assert architecture_from_json(json.loads(json.dumps(shape.as_json()))) == shape
    point = architecture(
        resolve(config(root, model_spec={"distribution": dict.fromkeys(BOTH, "point")}), metadata), metadata
    )
    assert "distribution" not in json.dumps(point.as_json()), "earlier releases can read the model"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "categorical": (
        {"target_columns": ["kind"], "model_spec": {"distribution": {"kind": "quantiles"}}},
        "`kind` is categorical",
    ),
    "no target": ({"model_spec": {"distribution": {"prise": "quantiles"}}}, "did you mean `price`"),
    "criterion": ({"training_spec": {"criterion": {"price": "L1Loss"}}}, "the loss of `price` follows"),
    "normalized windows": ({"window_normalization": "last"}, "lognormal_mixture describes `wait` itself"),
    "coverage": ({"metric": "val_price_coverage_80"}, "val_price_crps"),
    "nll of quantiles": ({"metric": "val_price_nll"}, "there is no metric `val_price_nll`"),
    "crps of a point": (
        {"metric": "val_price_crps", "model_spec": {"distribution": {"price": "point"}}},
        "there is no metric `val_price_crps`",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_one_clear_error(name: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    table = frame().with_columns(kind=pl.col("itemPosition") % 3)
    metadata = project.run(project.write(table), column_types={"kind": "categorical"})
    values, message = WRONG[name]
    given = config(tmp_path, **values)
    with pytest.raises(ConfigError, match=message):
        resolve(given, metadata)


def test_a_mixture_refuses_negative_values_with_their_row(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.run(project.write(frame(lowest=-2.5)), seq_length=6, split_method="between_sequence")
    with pytest.raises(
        ConfigError, match=r"`wait` has negative values, down to -2.5 \(first: sequenceId=2 itemPosition=5\)"
    ):
        prepare(config(tmp_path), Shared())


def test_a_zero_that_was_rounded_is_no_smallest_value(tmp_path: Path) -> None:
    """The logarithm of amounts far above 0 is standardised to float32, which leaves about 1e-7 of a 0."""
    names, generator = [f"amount{number}" for number in range(6)], np.random.default_rng(0)
    rows = frame().select("sequenceId", "itemPosition")
    amounts = {name: generator.lognormal(4 + 0.7 * number, 0.5, 600) for number, name in enumerate(names)}
    for values in amounts.values():
        values[::7] = 0
    project = Project(tmp_path)
    project.run(
        project.write(rows.with_columns(pl.Series(name, values) for name, values in amounts.items())),
        split_method="between_sequence",
        transforms=dict.fromkeys(names, "log1p"),
    )
    mixtures = dict.fromkeys(names, "lognormal_mixture")
    spec = {"dim_model": 8, "initial_embedding_dim": 8, "distribution": mixtures}
    given = config(tmp_path, target_columns=names).model_dump(exclude_unset=True)
    ready = prepare(TrainConfig.model_validate(given | {"model_spec": merged(TINY_RUN["model_spec"], spec)}), Shared())
    for name in names:
        loss = ready.objective.losses[name]
        assert isinstance(loss, DistributionLoss)
        assert loss.resolution > 1, "the smallest amount above 0"
