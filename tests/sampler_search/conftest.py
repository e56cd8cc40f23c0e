"""Small models to sample from: a text of characters, and a shop with items and prices."""

import random
import shutil
from pathlib import Path

import pytest

from tests.support.shop import working_copy
from tests.support.trained_shop import train
from tests.support.trained_text import train_text, write_search


@pytest.fixture(scope="session")
def _text_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts") / "text"
    draw = random.Random(0)
    nouns, verbs = ["the cat", "a dog", "the old man", "my bird"], ["sees", "likes", "hears"]
    sentences = (f"{draw.choice(nouns)} {draw.choice(verbs)} {draw.choice(nouns)}. " for _ in range(700))
    train_text(root, "".join(sentences))
    return root


@pytest.fixture
def text_project(_text_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a language model of characters, models/text.onnx and .pt, and its held-out text."""
    root = working_copy(_text_project, tmp_path, monkeypatch)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write_search(root)
    return root


@pytest.fixture(scope="session")
def _shop_models(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shops") / "shop"
    shutil.copytree(_shop, root)
    for name, values in {
        "both": {},
        "item": {"target_columns": ["item"]},  # reads prices too, which it does not predict
        "price": {"target_columns": ["price"], "input_columns": ["price"]},
        "ahead": {"target_columns": ["item"], "input_columns": ["item"], "prediction_horizon": 2},
    }.items():
        train(root, model_name=name, **values)
        shutil.copy(root / "models" / f"sequifier-{name}-best-1.onnx", root / "models" / f"{name}.onnx")
    return root


@pytest.fixture
def shop_models(_shop_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: models/both.onnx, item.onnx, price.onnx and ahead.onnx, named after what they predict."""
    return working_copy(_shop_models, tmp_path, monkeypatch)
