"""Runs whose items have one table, for input and output: trained, resumed, exported, searched."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from sequifier.artifacts.model_file import load_model
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.run import run
from tests.support.command_line import sequifier
from tests.support.quiet import quiet
from tests.support.runs import latest, train
from tests.support.shop import WriteConfig

ITEMS_ALONE = {"input_columns": ["item"], "target_columns": ["item"]}
WITH_PRICES = {"joint_embedding_dim": 8, "tie_weights": ["item"]}


def test_a_tied_model_learns_and_its_file_has_one_table(shop: Path, train_config: WriteConfig) -> None:
    path = train_config(**ITEMS_ALONE, model_spec={"tie_weights": "item"}, training_spec={"epochs": 10}, export_pt=True)
    result = train(path)
    assert result.best_val_loss is not None
    assert result.best_val_loss < 1.1 * min(scores["val_loss"] for scores in result.baselines.values())
    graph, _ = load_model(shop / "models" / "sequifier-tiny-best-10.onnx")
    in_file = {weight.name: weight.dims for weight in graph.graph.initializer}
    weights = torch.load(shop / "models" / "sequifier-tiny-best-10.pt", weights_only=True)["weights"]
    assert in_file.keys() == weights.keys()
    assert [name for name, dims in in_file.items() if 7 in dims] == ["embedding.categorical.0.weight"]
    assert not any(name.startswith("heads.") for name in in_file)


def test_raw_values_give_what_encoded_ones_give(shop: Path, train_config: WriteConfig) -> None:
    train(train_config(model_spec=WITH_PRICES, export_end_to_end=True))
    metadata = json.loads((shop / "configs" / "metadata_configs" / "shop.json").read_text())
    of_price = metadata["selected_columns_statistics"]["price"]
    ids = np.array([[1, 2, 3, 4, 5, 6, 1, 2]])
    labels = {number: label for label, number in metadata["id_maps"]["item"].items()}
    prices = np.linspace(9, 16, 8, dtype=np.float32)[None]
    n_events = np.array([8])
    encoded = {
        "item": ids,
        "price": ((prices.astype(np.float64) - of_price["mean"]) / of_price["std"]).astype(np.float32),
    }
    raw = {"item": np.vectorize(labels.__getitem__)(ids).astype(object), "price": prices}
    session, end_to_end = (
        onnxruntime.InferenceSession(shop / "models" / f"sequifier-tiny-best{kind}-3.onnx")
        for kind in ("", "-end-to-end")
    )
    (expected,) = session.run(["item_probabilities"], {**encoded, "n_events": n_events})
    (found,) = end_to_end.run(["item_probabilities"], {**raw, "n_events": n_events})
    # The price is rounded to float32 in two ways: a few units of 1e-7, through one layer.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_tied_run_resumes_to_the_last_digit(shop: Path, train_config: WriteConfig) -> None:
    whole = train(train_config(model_name="whole", model_spec=WITH_PRICES))
    path = train_config(model_spec=WITH_PRICES)
    run(load(TrainConfig, path).config, emit=quiet, should_stop=(shop / "checkpoints" / "tiny-epoch-2.pt").exists)
    assert train(path).best_val_loss == whole.best_val_loss


def test_a_search_compares_tables_and_losses(shop: Path, search_config: WriteConfig) -> None:
    sampling = {"dim_model": [8], "n_head": [2], "tie_weights": [[], ["item"]]}
    training = {"epochs": 1, "softmax": [{}, {"item": {"sampled": 2}}]}
    path = search_config(
        input_columns=["item"], model_hyperparameter_sampling=sampling, training_hyperparameter_sampling=training
    )
    done = sequifier("hyperparameter-search", "--config-path", path)
    assert done.returncode == 0, done.stderr
    records = latest(shop).values()
    assert [record.state for record in records] == ["finished"] * 4
    assert len({record.best_val_loss for record in records}) == 4
    sizes = {tuple(record.setting("model_spec.tie_weights")): record.n_parameters or 0 for record in records}
    assert sizes[()] - sizes[("item",)] == 8 * 6 + 6  # an output matrix and its bias


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "the embedding of `item` has width 4, its decoder dim_model: 8(.|\n)*joint_embedding_dim: 8"),
        ({"input_columns": ["price"]}, "`item` is not an input column(.|\n)*add `item` to input_columns"),
        ({"target_columns": ["price"]}, "`item` is not a target(.|\n)*price"),
        ({"model_spec": {"tie_weights": ["price"]}}, "`price` is real"),
    ],
)
def test_a_table_that_cannot_be_shared_is_refused(
    train_config: WriteConfig, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(train_config(**{"model_spec": {"tie_weights": ["item"]}} | fields))
