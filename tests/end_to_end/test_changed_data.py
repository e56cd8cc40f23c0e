"""Data that change under a search, or under a run of it: nothing is trained on, scored on or ranked with other data."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sequifier import api
from sequifier.artifacts.ledger import read_ledger
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.split_file import read_events, write_events
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, DataError, RunError, SequifierError
from sequifier.run import run
from sequifier.score import score
from sequifier.training.shared import Shared
from tests.support.command_line import sequifier
from tests.support.quiet import quiet
from tests.support.runs import latest
from tests.support.shop import WriteConfig, preprocess_shop, shop_rows, write_shop

METADATA = Path("configs/metadata_configs/shop.json")
SPLITS = [Path(f"data/shop-split{number}.parquet") for number in range(3)]


def other_data(shop: Path) -> Path:
    """Another shop with as many rows, preprocessed in a folder beside the project."""
    root = shop.parent / "other"
    if not root.exists():
        write_shop(root / "data/shop.csv", shop_rows(seed=1))
        preprocess_shop(root)
    return root


def replace(shop: Path, *paths: Path) -> None:
    for path in paths:
        shutil.copy(other_data(shop) / path, shop / path)


def fingerprint(shop: Path) -> str:
    return read_metadata(shop / METADATA).fingerprint


def test_a_run_refuses_other_data_than_it_was_planned_on_and_writes_nothing(
    shop: Path, train_config: WriteConfig
) -> None:
    config = load(TrainConfig, train_config()).config
    planned = fingerprint(shop)
    replace(shop, METADATA, *SPLITS)
    with pytest.raises(DataError, match=f"planned with fingerprint {planned}, now") as caught:
        run(config, emit=quiet, data=planned)
    assert caught.value.is_shared
    assert not (shop / "logs").exists()
    assert not (shop / "models").exists()
    with pytest.raises(DataError, match="planned with fingerprint"):
        score(config, shop / "models/none.onnx", str(SPLITS[2]), data=planned)


@pytest.mark.parametrize("replaced", [SPLITS[:1], SPLITS[1:2], [METADATA]], ids=["training", "validation", "metadata"])
def test_a_warm_process_notices_that_a_part_of_its_data_was_replaced(
    shop: Path, train_config: WriteConfig, replaced: list[Path]
) -> None:
    shared, planned = Shared(), fingerprint(shop)
    config = load(TrainConfig, train_config(training_spec={"epochs": 1})).config
    run(config, emit=quiet, shared=shared, data=planned)
    replace(shop, *replaced)
    with pytest.raises(DataError) as caught:
        run(config, emit=quiet, shared=shared, data=planned)
    assert caught.value.is_shared


def test_a_file_written_into_while_it_is_mapped_ends_the_run_before_a_checkpoint(
    shop: Path, train_config: WriteConfig
) -> None:
    for split in SPLITS[:2]:
        columns = ["item", "price"]
        events = read_events(shop / split, columns, expected_hashes=None)
        write_events((shop / split).with_suffix(".arrow"), [events], "arrow")
    paths = {
        f"{key}_data_path": str(path.with_suffix(".arrow"))
        for key, path in zip(("training", "validation"), SPLITS[:2], strict=True)
    }
    spec = {"load_full_data_to_ram": False, "epochs": 2}
    config = load(TrainConfig, train_config(**paths, training_spec=spec)).config

    def spoil(event: str, **fields: Any) -> None:
        if event == "stage" and fields["stage"] == "validation":
            with SPLITS[0].with_suffix(".arrow").open("r+b") as file:
                file.seek(-64, os.SEEK_END)
                file.write(b"\0")

    with pytest.raises(DataError, match="was changed while it was in use") as caught:
        run(config, emit=spoil)
    assert caught.value.is_shared
    assert not [*(shop / "checkpoints").glob("*.pt")]


def test_splits_that_the_metadata_do_not_describe_are_distinguished_by_their_content(
    shop: Path, train_config: WriteConfig
) -> None:
    own = shop / "data/own.parquet"
    shutil.copy(shop / SPLITS[0], own)
    config = load(TrainConfig, train_config(training_data_path="data/own.parquet", training_spec={"epochs": 1})).config
    shared = Shared()
    first = run(config, emit=quiet, shared=shared)
    assert first.inputs.keys() == {"training_data_path", "subsequence_start_mode"}
    events = read_events(own, ["item", "price"], expected_hashes=None)
    events.columns["item"] = np.sort(events.columns["item"])
    write_events(own, [events], "parquet")
    second = run(config, emit=quiet, shared=shared)
    assert second.inputs != first.inputs
    assert second.baselines != first.baselines, "nor are baselines of other data kept"


HOOK = """
import shutil
from pathlib import Path

def swap(experiment, **context):
    for path in {paths!r}:
        shutil.copy(Path({other!r}) / path, path)
"""


def test_a_search_ends_when_its_data_change_and_resumes_when_they_are_back(
    shop: Path, search_config: WriteConfig
) -> None:
    planned = fingerprint(shop)
    kept = shutil.copytree(shop / "data", shop.parent / "kept")
    metadata = (shop / METADATA).read_bytes()
    other = other_data(shop)
    changed = [str(path) for path in (METADATA, *SPLITS)]
    (shop / "swapping.py").write_text(HOOK.format(paths=changed, other=str(other)))
    path = search_config(hooks={"after_training": ["swapping:swap"]})
    done = sequifier("hyperparameter-search", "--config-path", path)
    assert done.returncode == 1, done.stderr
    assert f"planned with fingerprint {planned}, now {fingerprint(other)}" in done.stderr
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    records = latest(shop)
    assert [(record.state, record.data) for record in records.values()] == [("finished", planned)], "one is planned"
    assert not [*(shop / "models").glob("*run-1*")]

    (shop / "swapping.py").write_text("def swap(experiment, **context):\n    pass\n")
    (shop / METADATA).write_bytes(metadata)
    shutil.copytree(kept, shop / "data", dirs_exist_ok=True)
    done = sequifier("hyperparameter-search", "--config-path", path)
    assert done.returncode == 0, done.stderr
    records = latest(shop)
    assert [record.state for record in records.values()] == ["finished", "finished"]

    # The same project serves for what `train` does under the names of these runs.
    file = shop / "configs/hp_search/tune-run-0.yaml"
    config = load(TrainConfig, file).config
    models = {path.name: path.read_bytes() for path in (shop / "models").iterdir()}
    spec = config.training_spec.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(RunError, match=r"tune-run-0.*learning_rate 0\.01 -> 0\.5.*would replace its model"):
        api.train(config.model_copy(update={"training_spec": spec}), config_path=file, emit=quiet)
    assert {path.name: path.read_bytes() for path in (shop / "models").iterdir()} == models
    again = api.train(config, config_path=file, emit=quiet)
    assert again.best_val_loss == records[0].best_val_loss

    replace(shop, METADATA, *SPLITS)
    with pytest.raises(RunError, match=f"data {planned} -> {fingerprint(other)}"):
        api.train(config, config_path=file, emit=quiet)
    lines: list[str] = []
    renamed = config.model_copy(update={"model_name": "mine"})
    api.train(renamed, config_path=file, emit=lambda event, **fields: lines.append(fields.get("line", "")))
    assert f"warning: this run was planned on data {planned}, the metadata describe data {fingerprint(other)}" in lines


def test_data_that_change_before_the_evaluation_script_ran_end_the_search(
    shop: Path, search_config: WriteConfig
) -> None:
    (shop / "measure.py").write_text(
        f"import shutil\nshutil.copy({str(other_data(shop) / METADATA)!r}, {str(METADATA)!r})\n"
        "print('{\"worth\": 1.0}')\n"
    )
    script = {"command": f"{sys.executable} measure.py", "metrics": {"worth": "maximize"}}
    config = load(SearchConfig, search_config(evaluation_script=script)).config
    with pytest.raises(RunError, match="the data have changed"):
        api.search(config, emit=quiet)
    assert [record.state for record in latest(shop).values()] == ["interrupted"]


@pytest.mark.parametrize("missing", [SPLITS[1], METADATA], ids=["split", "metadata"])
def test_a_file_that_vanishes_ends_a_run_as_an_input_of_all(
    shop: Path, train_config: WriteConfig, missing: Path
) -> None:
    config = load(TrainConfig, train_config()).config
    (shop / missing).unlink()
    with pytest.raises(SequifierError) as caught:
        run(config, emit=quiet, data="0" * 16)
    assert caught.value.is_shared
    assert json.dumps(caught.value.in_one_line())


def test_what_no_run_could_do_without_is_missed_before_the_first_one(shop: Path, search_config: WriteConfig) -> None:
    script = {"command": f"{sys.executable} measure.py", "metrics": {"worth": "maximize"}}
    path = search_config(evaluation_script=script)
    for options in ({}, {"dry_run": True}):
        with pytest.raises(ConfigError, match=r"measure\.py does not exist"):
            api.search(load(SearchConfig, path).config, emit=quiet, **options)
    with pytest.raises(ConfigError, match=r"measure\.py does not exist"):
        api.check_config(load(SearchConfig, path).config)
    (shop / "hook.py").write_text("import no_such_library\n\ndef f(experiment, **context):\n    pass\n")
    hooked = load(SearchConfig, search_config(hooks={"after_epoch": ["hook:f"]})).config
    with pytest.raises(ConfigError, match=r"hook\.py:1 imports `no_such_library`, which is not installed"):
        api.search(hooked, emit=quiet)
    for split in SPLITS:
        (shop / split).rename(shop / "away")
        with pytest.raises(DataError, match=f"the split {split} in the metadata does not exist\n.*\n.*preprocess"):
            api.search(load(SearchConfig, search_config()).config, emit=quiet)
        (shop / "away").rename(shop / split)
    assert not read_ledger(shop / "logs/tune")
