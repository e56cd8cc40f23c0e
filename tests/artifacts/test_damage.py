"""Whatever is done to a file that one stage wrote: the reader gives one error with the file, or does without it."""

import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sequifier.artifacts.arrow_file import NotMappableError
from sequifier.artifacts.checkpoint import read_checkpoint, write_checkpoint
from sequifier.artifacts.events import Events, FileFormat
from sequifier.artifacts.ledger import LEDGER_FILE, Record, read_ledger
from sequifier.artifacts.mapped import map_events
from sequifier.artifacts.metadata import Metadata, data_fingerprint, read_metadata, write_metadata
from sequifier.artifacts.sampler_results import read_search_results
from sequifier.artifacts.sequence_losses import ONE_MODEL, Units, read_unit_sums, write_unit_sums
from sequifier.artifacts.shard_folder import Shard, ShardIndex, read_index, write_index
from sequifier.artifacts.split_file import n_rows_of, read_events, write_events
from sequifier.artifacts.torch_model_file import read_torch_model
from sequifier.errors import DataError, ModelError, SequifierError
from sequifier.experiment.record import read_record
from sequifier.report.exports.trackers import read_evaluations
from sequifier.results.find import direction_of
from sequifier.results.run_files import read_document
from sequifier.results.samplers import is_sampler_ledger
from sequifier.results.training import read_curves
from sequifier.search.folder import SearchFolder
from tests.support.data_section import data_section
from tests.support.events import make_events


class Program:
    """Runs when it is loaded by something that should not."""

    def __reduce__(self) -> Any:
        return os.system, ("touch EXECUTED",)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut to half": lambda content: content[: len(content) // 2],
    "cut by one byte": lambda content: content[:-1],
    "garbage": lambda content: b"\0\xff{{{" * 20,
    "zeros": lambda content: bytes(len(content)),
    "too deep": lambda content: b"[" * 100_000,
    "a deep key": lambda content: b'{"a":' * 100_000,
    "null": lambda content: b"null\n",
    "a list": lambda content: b"[1]\n",
    "a number": lambda content: b"1e400\n",
    "a long number": lambda content: b"9" * 5000 + b"\n",
    "a string": lambda content: b'"\\ud800"\n',
    "an empty object": lambda content: b"{}\n",
    "an object of nulls": lambda content: json.dumps(dict.fromkeys(_keys(content))).encode() + b"\n",
    "an object of lists": lambda content: json.dumps({key: [[]] for key in _keys(content)}).encode() + b"\n",
    "UTF-16": lambda content: content.decode("latin-1").encode("utf-16"),
    "a pickle": lambda content: pickle.dumps(Program(), 2),
    "an empty zip": lambda content: _zip({}),
    "a zip with a pickle": lambda content: _zip(
        {"archive/data.pkl": pickle.dumps(Program(), 2), "archive/version": b"3"}
    ),
    "a zip with an array of objects": lambda content: _zip(
        {f"{name}.npy": _objects() for name in ("loss", "targets", "index")}
    ),
}


def _keys(content: bytes) -> list[str]:
    try:
        values = json.loads(content.splitlines()[0] if content else b"{}")
    except ValueError:
        return ["epoch", "step"]
    return list(values) if isinstance(values, dict) else []


def _zip(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    return file.getvalue()


def _objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Program()], dtype=object))
    return file.getvalue()


def metadata() -> Metadata:
    statistics: Any = {"price": {"std": 1.0, "mean": 0.0}}
    ids = {"word": {"a": 1, "b": 2}}
    hashes = [{"word": "0" * 16}]
    return Metadata(
        n_classes={"word": 3},
        id_maps=ids,
        split_paths=["data/x-split0.parquet"],
        column_types={"word": "String", "price": "Float64"},
        selected_columns_statistics=statistics,
        sequifier=data_section(
            ["word", "price"],
            column_hashes=hashes,
            fingerprint=data_fingerprint(["word", "price"], ids, statistics, hashes),
        ),
    )


def events() -> Events:
    columns = {"kind": np.arange(5, dtype=np.int32)}
    return make_events([3, 2], columns, n_context=[0, 1], sequence_ids=np.array([3, 5]))


FORMATS: dict[str, FileFormat] = {".parquet": "parquet", ".arrow": "arrow"}
RECORD = Record(
    run=1, name="s-run-1", identity="i", data="d", state="finished", batch_size=2, seed=1, best_val_loss=1.0
)
ENTRY = {"epoch": 1, "step": 3, "val_loss": 1.5, "train_loss": 2.5, "seconds": {"training": 1.0, "validation": 0.5}}


def write_json(value: Any) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps(value) + "\n") and None


def write_shards(path: Path) -> None:
    write_index(
        path.parent, ShardIndex(format="pt", column_types={}, shards=[Shard(path="x-0.pt", rows=1, sequences=1)])
    )


REQUIRED: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], Any]]] = {
    "metadata": ("x.json", lambda path: write_metadata(metadata(), path), read_metadata),
    "parquet split": (
        "x.parquet",
        lambda path: write_events(path, [events()], FORMATS[path.suffix]),
        lambda path: read_events(path, ["kind"], expected_hashes=None),
    ),
    "arrow split": (
        "x.arrow",
        lambda path: write_events(path, [events()], FORMATS[path.suffix]),
        lambda path: read_events(path, ["kind"], expected_hashes=None),
    ),
    "rows of a split": ("x.parquet", lambda path: write_events(path, [events()], FORMATS[path.suffix]), n_rows_of),
    "mapped split": (
        "x.arrow",
        lambda path: write_events(path, [events()], FORMATS[path.suffix]),
        lambda path: map_events(path, ["kind"], expected_hashes=None),
    ),
    "index of shards": ("metadata.json", write_shards, lambda path: read_index(path.parent)),
    "ledger": (LEDGER_FILE, write_json(RECORD.model_dump()), lambda path: read_ledger(path.parent)),
    "checkpoint": ("m.pt", lambda path: write_checkpoint(path, {"model": torch.arange(9.0)}), read_checkpoint),
    "torch model": (
        "m.pt",
        lambda path: torch.save({"sequifier_version": "1", "weights": {"w": torch.arange(9.0)}}, path),
        read_torch_model,
    ),
    "sampler results": (
        "hyper_search_x.json",
        write_json({"search_metadata": {}, "best_configuration": {}, "all_results": []}),
        read_search_results,
    ),
    "record of a run": (
        "experiment_meta.json",
        write_json({"status": "completed"}),
        lambda path: read_record(path.parent, path.name),
    ),
}
"""What a stage cannot do without: damage is an error. name, writer, reader."""


@pytest.mark.parametrize("artifact", REQUIRED)
def test_damage_is_one_error_with_the_file(artifact: str, tmp_path: Path) -> None:
    name, write, read = REQUIRED[artifact]
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    read(path)
    for damage, apply in DAMAGES.items():
        path.write_bytes(apply(whole))
        _is_refused_or_read(read, path, damage)
    assert not Path("EXECUTED").exists()
    path.unlink()
    path.mkdir()
    _is_refused_or_read(read, path, "a folder")
    path.rmdir()
    os.mkfifo(path)
    _is_refused_or_read(read, path, "a pipe")
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    _is_refused_or_read(read, path, "a dangling link")


def _is_refused_or_read(read: Callable[[Path], Any], path: Path, damage: str) -> None:
    """Some damage leaves a file that may be read: a JSON object is a record, a ledger may lack its last line."""
    try:
        read(path)
    except SequifierError as error:
        assert path.name in str(error), damage
        assert error.fix, damage
    except NotMappableError:
        pass  # read as any other file then
    except BaseException as error:
        pytest.fail(f"{damage}: {type(error).__name__}: {error}")


OPTIONAL: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], Any]]] = {
    "baselines": (
        "baselines.json",
        write_json({"mean": {"val_loss": 1.0}}),
        lambda path: SearchFolder(path.parent).baselines,
    ),
    "test score": (
        "test.json",
        write_json({"run": 1, "metrics": {"val_loss": 1.0}}),
        lambda path: SearchFolder(path.parent).test,
    ),
    "sequence losses": (
        "sequence_losses.npz",
        lambda path: write_unit_sums(path, {ONE_MODEL: {"val_loss": Units(np.ones(9), np.ones(9), "sequences")}}),
        read_unit_sums,
    ),
    "curves": ("metrics.jsonl", write_json(ENTRY), lambda path: read_curves(path.parent)),
    "evaluations": ("metrics.jsonl", write_json(ENTRY), lambda path: read_evaluations(path.parent, 0.0)),
    "kind of a ledger": (LEDGER_FILE, write_json({"sampler_type": "x"}), lambda path: is_sampler_ledger(path.parent)),
    "config of a search": (
        "search.yaml",
        lambda path: path.write_text("metric: val_x\nevaluation_script: {metrics: {a: maximize}}\n"),
        lambda path: direction_of("a", read_document(path)),
    ),
}
"""What is computed anew, or left out of a report."""


@pytest.mark.parametrize("artifact", OPTIONAL)
def test_what_can_be_done_without_is_left_out_when_damaged(artifact: str, tmp_path: Path) -> None:
    name, write, read = OPTIONAL[artifact]
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    nothing = read(path.parent / "gone" / name)
    assert read(path) != nothing, "the test's own file is read"
    for damage in ("empty", "garbage", "zeros", "too deep", "null", "a list", "a pickle"):
        path.write_bytes(DAMAGES[damage](whole))
        assert read(path) == nothing, damage
    for apply in DAMAGES.values():
        path.write_bytes(apply(whole))
        read(path)  # whatever it is: no exception
    path.unlink()
    path.mkdir()
    assert read(path) == nothing
    path.rmdir()
    os.mkfifo(path)
    assert read(path) == nothing
    assert not Path("EXECUTED").exists()


def test_no_flipped_bit_of_a_torch_file_gives_other_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    weights = torch.linspace(-1, 1, 500)
    write_checkpoint(path, {"model": weights, "progress": {"epoch": 3}, "note": "x"})
    whole = path.read_bytes()
    refused = 0
    for place in random.Random(1).sample(range(8 * len(whole)), 300):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            content = read_checkpoint(path)
        except ModelError as error:
            assert "m.pt" in str(error)
            refused += 1
            continue
        assert torch.equal(content["model"], weights), f"bit {place}"
        assert (content["progress"], content["note"]) == ({"epoch": 3}, "x"), f"bit {place}"
    assert refused > 150  # the others are between the entries, where nothing is read


def test_a_checkpoint_that_could_run_code_is_refused_without_advice_to_run_it(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"format_version": 1, "x": Program()}, path)
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path)
    assert "could run code" in str(caught.value)
    assert "system" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("weights_only", "safe_globals", "trust", "re-running"))


@pytest.mark.parametrize("version", [99, 0, None, "one", 1.5])
def test_another_format_is_refused(version: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"format_version": version, "model": {}}, path)
    with pytest.raises(ModelError, match="has format"):
        read_checkpoint(path)
    write_shards(tmp_path / "metadata.json")
    index = json.loads((tmp_path / "metadata.json").read_text())
    (tmp_path / "metadata.json").write_text(json.dumps({**index, "format_version": version}))
    with pytest.raises(DataError, match=r"metadata\.json"):
        read_index(tmp_path)


def test_a_shard_outside_its_folder_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "metadata.json")
    index = json.loads((tmp_path / "metadata.json").read_text())
    for path in ("../x-0.pt", "/etc/passwd", "a/b.pt"):
        (tmp_path / "metadata.json").write_text(
            json.dumps({**index, "shards": [{"path": path, "rows": 1, "sequences": 1}]})
        )
        with pytest.raises(DataError, match="not in the folder"):
            read_index(tmp_path)
