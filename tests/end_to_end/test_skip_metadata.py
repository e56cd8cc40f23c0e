"""`--skip-metadata`: the config says what the metadata file would."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.cli.options import load_with_metadata
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, TINY_SEARCH, merged, preprocess_shop, shop_rows, write_shop


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the metadata of the shop say, as keys of a config; the file itself is gone."""
    monkeypatch.chdir(tmp_path)
    write_shop(tmp_path / "data" / "shop.csv", shop_rows(n_customers=8))
    path = preprocess_shop(tmp_path)
    metadata = json.loads(path.read_text())
    path.unlink()
    return {
        "column_types": {"item": "Int64", "price": "Float64"},
        "n_classes": metadata["n_classes"],
        "id_maps": metadata["id_maps"],
        "training_data_path": metadata["split_paths"][0],
        "validation_data_path": metadata["split_paths"][1],
        "seq_length": 8,
    }


def write(path: str, values: dict[str, Any]) -> Path:
    place = Path("configs") / path
    place.write_text(yaml.safe_dump(values))
    return place


def skipping(model: Any, path: Path) -> Any:
    return load_with_metadata(model, path, skip=True, section=None, defines=(), flags={})


def test_a_run_trains_from_what_its_config_says(given: dict[str, Any], tmp_path: Path) -> None:
    config = merged(TINY_RUN, given | {"training_spec": {"epochs": 1}})
    del config["metadata_config_path"]
    loaded = skipping(TrainConfig, write("train.yaml", config))
    metadata = read_metadata(tmp_path / loaded.config.metadata_config_path)
    assert (metadata.n_classes, metadata.column_types["price"]) == (given["n_classes"], "Float64")
    assert dict(metadata.id_maps["item"]) == given["id_maps"]["item"]
    result = api.train(loaded.config, emit=quiet)
    assert result.ended == "finished" and result.best_val_loss is not None
    assert any(path.endswith(".onnx") for path in result.files.values())


def test_a_search_plans_from_what_its_config_says(given: dict[str, Any]) -> None:
    search = merged(TINY_SEARCH, given | {"column_types": [given["column_types"]], "seq_length": [4, 8]})
    search = {key: value for key, value in search.items() if key != "metadata_config_path"}
    loaded = skipping(SearchConfig, write("search.yaml", search))
    result = api.search(loaded.config, dry_run=True, emit=quiet)
    assert result.plan.runs
    assert {run.config.metadata_config_path for run in result.plan.runs} == {loaded.config.metadata_config_path}


def test_what_is_missing_or_does_not_fit_is_said_at_once(given: dict[str, Any]) -> None:
    bare = {key: value for key, value in TINY_RUN.items() if key != "metadata_config_path"}
    with pytest.raises(ConfigError) as caught:
        skipping(TrainConfig, write("bare.yaml", bare))
    assert {problem.key for problem in caught.value.problems} == {"training_data_path", "seq_length", "column_types"}
    for change, message in (
        ({"n_classes": {"item": 10**9}, "id_maps": None}, "1,000,000,000 classes without an id map"),
        ({"n_classes": {"item": 99}}, "is 99, but id_maps has 6 classes"),
        ({"n_classes": {"item": 3}, "id_maps": None}, "is 3, but the splits have the id 6"),
        ({"n_classes": None}, "has no number of classes of `item`"),
    ):
        config = {**bare, **given, **change}
        with pytest.raises(ConfigError, match=message):
            skipping(
                TrainConfig, write("wrong.yaml", {key: value for key, value in config.items() if value is not None})
            )
