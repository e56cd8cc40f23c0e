"""A shop with trained models, made once and copied for each test."""

import shutil
from pathlib import Path

import pytest

from tests.support.shop import working_copy
from tests.support.trained_shop import train


@pytest.fixture(scope="session")
def _trained(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained") / "shop"
    shutil.copytree(_shop, root)
    train(root, model_name="one", export_embedding_model=True, export_pt=True)
    train(root, model_name="three", model_spec={"prediction_length": 3})
    train(root, model_name="items", input_columns=["item"], target_columns=["item"])
    train(root, model_name="mixed", target_columns=["item"])
    return root


@pytest.fixture
def trained(_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with models.

    one: predicts the next event; also as .pt and as embedding model. three: the next three. items: reads and predicts
    items only. mixed: reads items and prices, predicts items.
    """
    return working_copy(_trained, tmp_path, monkeypatch)
