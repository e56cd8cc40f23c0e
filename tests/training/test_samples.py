"""Samples of a model in training, as text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.config.architecture import architecture
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.model.build import build_model
from sequifier.model.transformer import Transformer
from sequifier.preprocess.pipeline import preprocess
from sequifier.training.samples import check_sampling, sample_text
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged


def tiny(metadata: Metadata, **values: Any) -> tuple[Transformer, TrainConfig]:
    config = TrainConfig.model_validate(merged(TINY_RUN, {"seq_length": 5} | values))
    return build_model(architecture(config, metadata), torch.Generator().manual_seed(1)), config


@pytest.fixture
def shop_metadata(shop: Path) -> Metadata:
    return read_metadata(shop / "configs/metadata_configs/shop.json")


@pytest.fixture
def text_metadata(tmp_path: Path) -> Metadata:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "words.txt").write_text("to be or not to be " * 40)
    values = {"project_root": str(tmp_path), "data_path": "data/words.txt", "read_format": "text", "seq_length": 5}
    return read_metadata(preprocess(PreprocessConfig.model_validate(values), log=quiet))


SAMPLED: dict[str, Any] = {"temperature": 1.0, "max_length": 12, "seed": 3}


def test_characters_are_joined_and_labels_are_not(text_metadata: Metadata, shop_metadata: Metadata) -> None:
    model, config = tiny(text_metadata, target_columns=["char"])
    text = sample_text(model, text_metadata, config, prompt="to be", **SAMPLED)
    assert text.startswith("to be")
    assert len(text) == 17
    assert set(text) <= set("to be or not")
    assert len(sample_text(model, text_metadata, config, prompt=None, **SAMPLED)) == 12

    model, config = tiny(shop_metadata, input_columns=["item"], target_columns=["item"])
    labels = sample_text(model, shop_metadata, config, prompt="item1 item2", **SAMPLED).split(" ")
    assert labels[:2] == ["item1", "item2"]
    assert len(labels) == 14
    assert sample_text(model, shop_metadata, config, prompt=["item1", "item2"], **SAMPLED).split(" ") == labels

    model, config = tiny(shop_metadata, target_columns=["item", "price"])
    prompt = [{"item": "item1", "price": 10.25}, {"price": "11", "item": "item2"}]
    events = sample_text(model, shop_metadata, config, prompt=prompt, **SAMPLED).split(" ")
    assert events[:2] == ["item1,10.25", "item2,11"]
    assert len(events) == 14
    assert all(0 < float(event.split(",")[1]) < 30 for event in events)


def most_likely(model: Transformer, first: int, *, price: float | None) -> list[int]:
    """The first item and the nine most likely ones after it; the model may read a price, which stays the same."""
    ids = [first]
    model.eval()
    for _ in range(9):
        seen = torch.tensor([ids[-5:]])
        is_event = torch.arange(5, 0, -1)[None] <= seen.shape[1]
        padded = torch.nn.functional.pad(seen, (5 - seen.shape[1], 0))[..., None]
        reals = torch.zeros(1, 5, 0) if price is None else is_event[..., None] * price
        hidden = model(padded, reals, is_event)
        ids.append(int(model.predict(hidden[:, -1])["item"].argmax()) + 1)
    return ids


def test_the_most_likely_sample_equals_a_plain_loop(shop_metadata: Metadata) -> None:
    model, config = tiny(shop_metadata, input_columns=["item"], target_columns=["item"])
    names = shop_metadata.categories("item")
    expected = most_likely(model, names.index("item4") + 1, price=None)
    found = sample_text(model, shop_metadata, config, prompt="item4", temperature=0.0, max_length=9, seed=0)
    assert found.split(" ") == [names[id - 1] for id in expected]


def test_columns_of_the_whole_sequence_keep_their_value(shop_metadata: Metadata) -> None:
    about = shop_metadata.sequifier.model_copy(update={"sequence_columns": ["price"]})
    metadata = shop_metadata.model_copy(update={"sequifier": about})
    model, config = tiny(metadata, target_columns=["item"])
    names, scale = metadata.categories("item"), metadata.selected_columns_statistics["price"]
    prompt = [{"item": "item4", "price": scale["mean"] + 2 * scale["std"]}]
    found = sample_text(model, metadata, config, prompt=prompt, temperature=0.0, max_length=9, seed=0)
    assert found.split(" ") == [names[id - 1] for id in most_likely(model, names.index("item4") + 1, price=2.0)]


def test_model_and_random_generator_stay_as_they_were(shop_metadata: Metadata) -> None:
    model, config = tiny(shop_metadata, training_spec={"dropout": 0.5})
    state = torch.get_rng_state()
    first = sample_text(model.train(), shop_metadata, config, prompt=None, **SAMPLED)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert sample_text(model.eval(), shop_metadata, config, prompt=None, **SAMPLED) == first, "dropout is off in both"
    assert not model.training
    assert sample_text(model, shop_metadata, config, prompt=None, **SAMPLED | {"seed": 4}) != first


@pytest.mark.parametrize(
    ("values", "prompt", "expected"),
    [
        ({"target_columns": ["item"]}, None, "input column `price` is not a target"),
        ({}, "item1", "cannot prompt 2 input columns"),
        ({}, [{"item": "item1"}], "one entry for each of item, price"),
        ({}, [{"item": "item1", "price": "cheap"}], r"'cheap' is not a number \(column `price` is real\)"),
        ({}, [{"item": "iten1", "price": 1}], "did you mean `item1`"),
        ({"input_columns": ["item"]}, "item1 thing", "no category 'thing'"),
        ({"input_columns": ["item"]}, [["item1"]], r"no category \['item1'\]"),
    ],
)
def test_what_cannot_be_sampled_is_reported(
    shop_metadata: Metadata, values: dict[str, Any], prompt: Any, expected: str
) -> None:
    _, config = tiny(shop_metadata, **values)
    with pytest.raises(ConfigError, match=expected):
        check_sampling(shop_metadata, config, prompt)


def test_an_unknown_character_is_reported(text_metadata: Metadata) -> None:
    _, config = tiny(text_metadata, target_columns=["char"])
    check_sampling(text_metadata, config, "to be")
    with pytest.raises(ConfigError, match="no category 'z'"):
        check_sampling(text_metadata, config, "to be zen")


def test_a_prompt_longer_than_the_window_counts_with_its_end(shop_metadata: Metadata) -> None:
    model, config = tiny(shop_metadata, input_columns=["item"], target_columns=["item"])
    labels = np.array([f"item{number % 6}" for number in range(11)])
    long = sample_text(model, shop_metadata, config, prompt=" ".join(labels), **SAMPLED).split(" ")
    short = sample_text(model, shop_metadata, config, prompt=" ".join(labels[-5:]), **SAMPLED).split(" ")
    assert long[-12:] == short[-12:]
