"""The same rows give the same numbers in training's encoder, in `infer` on raw rows, and in both exported graphs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier import api
from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.artifacts.split_file import read_events
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.config.preprocess import PreprocessConfig
from sequifier.export.parity import open_session
from sequifier.export.raw_columns import NO_INTEGER, raw_columns
from sequifier.preprocess.pipeline import preprocess
from tests.support.exported import export_both
from tests.support.quiet import quiet
from tests.support.shapes import small

L = 4
KNOWN: dict[str, list[Any]] = {
    "kind": ["a", "b b", "ß"],
    "code": [-3, 7, 2**53 + 1],
    "flag": [False, True],
    "load": [-2.5, 0.125, 40.0],
    "amount": [0.0, 3.5, 2e6],
    "clock": [1.7e9, 1.7e9 + 8],
}
RULES: dict[str, list[Any]] = {
    "kind": [None, "unknown", "forward"],
    "code": [None, "unknown", "forward", 7, 99],
    "flag": [None, "unknown", "forward"],
    "load": [None, "mean", "forward", 0, 3.25],
    "amount": [None, "mean", "forward", 0, 70],
    "clock": [None, "mean", "forward", 1.7e9],
}
TRANSFORMS = {"load": ["none", "asinh"], "amount": ["none", "asinh", "log1p"]}
FORWARD: dict[str, Callable[[Any], Any]] = {"none": np.positive, "asinh": np.arcsinh, "log1p": np.log1p}
REALS = ("load", "amount", "clock")
TYPES = {"kind": pl.String, "code": pl.Int64, "flag": pl.Boolean, **dict.fromkeys(REALS, pl.Float64)}
NAMES = list(KNOWN)
Windows = dict[str, np.ndarray[Any, Any]]


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    chosen = {name: draw(st.sampled_from(of_column)) for name, of_column in RULES.items()}
    return {name: rule for name, rule in chosen.items() if rule is not None}


@st.composite
def transforms(draw: st.DrawFn) -> dict[str, str]:
    return {name: draw(st.sampled_from(of_column)) for name, of_column in TRANSFORMS.items()}


@st.composite
def histories(draw: st.DrawFn, fills: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Sequences with missing values where a rule allows them, and labels that are in no vocabulary."""
    new = {"kind": st.text(min_size=1, max_size=3), "code": st.integers(-(2**63) + 1, 2**63 - 1)}
    fresh = new | {"flag": st.booleans(), "load": st.integers(-800, 800).map(lambda n: n / 8)}
    fresh |= {"clock": st.integers(0, 30).map(lambda n: 1.7e9 + n), "amount": st.floats(0, 1e9, width=32)}
    empty = {name: [None, math.nan, math.inf, -math.inf] if TYPES[name] == pl.Float64 else [None] for name in NAMES}
    values = {name: st.sampled_from(KNOWN[name]) | fresh[name] for name in NAMES}
    missing = {name: st.sampled_from(empty[name]) if name in fills else st.nothing() for name in NAMES}
    usual = [{name: of_column[step % 2] for name, of_column in KNOWN.items()} for step in range(2)]
    sequences = [usual]  # a split needs a sequence of two events
    for n_events in draw(st.lists(st.integers(1, L + 3), min_size=3, max_size=6)):
        first = max(0, n_events - L)  # of the window: known, as is the sequence's first, where it is carried forward
        sequences.append(
            [
                {
                    name: draw(
                        values[name]
                        if fills.get(name) == "forward" and step in (0, first)
                        else values[name] | missing[name]
                    )
                    for name in NAMES
                }
                for step in range(n_events)
            ]
        )
    return sequences


def write(path: Path, sequences: list[list[dict[str, Any]]]) -> None:
    rows = [
        {"sequenceId": number, "itemPosition": step, **event}
        for number, sequence in enumerate(sequences)
        for step, event in enumerate(sequence)
    ]
    schema = {"sequenceId": pl.Int64, "itemPosition": pl.Int64, **TYPES}
    pl.DataFrame(rows, schema=schema, strict=False).write_parquet(path)


def encode(root: Path, name: str, **values: Any) -> Metadata:
    config = {"project_root": str(root), "data_path": str(root / f"{name}.parquet"), "read_format": "parquet"}
    settings = config | {"seq_length": L, "split_ratios": [1.0]} | values
    return read_metadata(preprocess(PreprocessConfig.model_validate(settings), log=quiet))


@dataclass
class Project:
    """A folder with an untrained model whose weights all show in what it predicts.

    Attributes:
        root: the folder.
        plain: the graph of numbers.
        raw: the graph of raw values.
        files: the model files.
    """

    root: Path
    metadata: Metadata
    seed: int = 0

    def __post_init__(self) -> None:
        ids = tuple((name, self.metadata.n_classes[name]) for name in ("kind", "code", "flag"))
        targets = (Target("kind", "categorical", ids[0][1]), *(Target(name, "real", 0) for name in TRANSFORMS))
        widths = (4, 4, 2, 4, 1, 1)
        shape = small(categorical=ids, real=REALS, embedding_widths=widths, targets=targets, seq_length=L)
        self.columns = raw_columns(shape, self.metadata)
        self.plain, self.raw = export_both(self.root / "models", shape, self.metadata, seed=self.seed)

    def run(self, path: Path, feed: Windows) -> Windows:
        session = open_session(path.read_bytes())
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feed), strict=True))

    def by_training(self, sequences: list[list[dict[str, Any]]], padding: Windows) -> Windows:
        """The windows as `preprocess` encodes them with the metadata of the training data."""
        metadata = encode(self.root, "new", metadata_config_path=str(self.root / "configs/metadata_configs/old.json"))
        events = read_events(self.root / metadata.split_paths[0], NAMES, expected_hashes=None)
        feed = {name: array.copy() for name, array in padding.items()}
        for number, end in enumerate(events.offsets[1:].tolist()):
            n_events = min(L, len(sequences[number]))
            for name in NAMES:
                feed[name][number, L - n_events :] = events.columns[name][end - n_events : end]
        return self.run(self.plain, feed | counts(sequences))

    def by_raw_graph(self, sequences: list[list[dict[str, Any]]], padding: Windows) -> Windows:
        """The windows as a caller without Sequifier has them."""
        feed = {name: array.copy() for name, array in padding.items()}
        for number, sequence in enumerate(sequences):
            n_events = min(L, len(sequence))
            for name in NAMES:
                values = [self._given(name, event[name]) for event in sequence[-n_events:]]
                feed[name][number, L - n_events :] = np.array(values, feed[name].dtype)
        return self.run(self.raw, feed | counts(sequences))

    def _given(self, name: str, value: Any) -> Any:
        if name == "flag" and self.columns[name].input_kind is np.str_:
            return "" if value is None else str(value).lower()
        return {"kind": "", "code": NO_INTEGER}.get(name, math.nan) if value is None else value

    def by_infer(self) -> Windows:
        """What `infer` makes of the raw table."""
        values = {"project_root": str(self.root), "model_path": "models/plain.onnx", "data_path": "new.parquet"}
        options = {"read_format": "raw", "output_probabilities": True, "write_format": "parquet", "device": "cpu"}
        (result,) = api.infer(InferConfig.model_validate(values | options), log=quiet)
        predictions, probabilities = pl.read_parquet(result.predictions), pl.read_parquet(result.probabilities[0])
        assert predictions["sequenceId"].to_list() == sorted(predictions["sequenceId"])
        return {
            "label": np.array(predictions["kind"].to_list(), object),
            "probabilities": probabilities[:, 2:].to_numpy(),
            **{name: predictions[name].to_numpy() for name in TRANSFORMS},
        }


def counts(sequences: list[list[dict[str, Any]]]) -> Windows:
    return {"n_events": np.array([min(L, len(sequence)) for sequence in sequences])}


def paddings(n_windows: int, draw: np.random.Generator, types: dict[str, type[np.generic]]) -> Windows:
    """Windows full of what may stand in padding: anything."""
    numbers = [math.nan, math.inf, -math.inf, 0.0, 1e38]
    ids = [-(2**63), -1, 0, 1, 99, 2**63 - 1]
    anything = {np.float32: numbers, np.float64: numbers, np.int64: ids, np.object_: ["", "a", "?", "\0"]}
    anything[np.bool_] = [True, False]
    return {
        name: np.array(
            [anything[kind][draw.integers(len(anything[kind]))] for _ in range(n_windows * L)], kind
        ).reshape(n_windows, L)
        for name, kind in types.items()
    }


def compare(root: Path, fills: dict[str, Any], transforms: dict[str, str], data: st.DataObject) -> None:
    training = [[{name: values[step % len(values)] for name, values in KNOWN.items()} for step in range(7)]] * 2
    write(root / "old.parquet", training)
    metadata = encode(root, "old", fill_null=fills, transforms=transforms, vocabulary_from="all")
    assert metadata.sequifier.reading.fill_null == fills
    project = Project(root, metadata)
    sequences = data.draw(histories(fills))
    write(root / "new.parquet", sequences)
    numbers = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    categorical = dict.fromkeys(("kind", "code", "flag"), np.int64)
    plain = categorical | dict.fromkeys(REALS, np.float32)
    raw = {name: column.numpy_type for name, column in project.columns.items()}
    expected = project.by_training(sequences, paddings(len(sequences), numbers, plain))
    probabilities = expected["kind_probabilities"][:, -1]
    label = [metadata.categories("kind")[number - 1] for number in expected["kind_id"][:, -1]]
    # float32 through two layers, and rows of one batch in another order of additions.
    close: dict[str, float] = {"rtol": 1e-4, "atol": 1e-5}
    ours = project.by_raw_graph(sequences, paddings(len(sequences), numbers, raw))
    np.testing.assert_allclose(ours["kind_probabilities"][:, -1], probabilities, **close)
    theirs = project.by_infer()
    np.testing.assert_allclose(theirs["probabilities"], probabilities, **close)
    for name, transform in transforms.items():
        mean, std = (metadata.selected_columns_statistics[name][key] for key in ("mean", "std"))
        z = expected[f"{name}_value"][:, -1].astype(np.float64)
        value, forward = z * std + mean, FORWARD[transform]
        if transform == "log1p":
            value = np.maximum(value, 0)  # an amount of less than 0 is one of 0
        np.testing.assert_allclose(forward(ours[f"{name}_value"][:, -1]), value, rtol=1e-4, atol=1e-4 * std)
        np.testing.assert_allclose(forward(theirs[name]), value, rtol=1e-4, atol=1e-4 * std)
    gap = np.sort(probabilities, axis=1)
    clear = gap[:, -1] - gap[:, -2] > 1e-4  # of nearly equal ones either may be the largest
    assert [str(found) for found in ours["kind_label"][clear, -1]] == [label[row] for row in np.flatnonzero(clear)]
    assert theirs["label"][clear].tolist() == [label[row] for row in np.flatnonzero(clear)]


@settings(max_examples=6, deadline=None)
@given(rules(), transforms(), st.data())
def test_training_raw_rows_and_both_graphs_agree(
    fills: dict[str, Any], transforms: dict[str, str], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        compare(Path(folder), fills, transforms, data)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(rules(), transforms(), st.data())
def test_training_raw_rows_and_both_graphs_agree_on_many_tables(
    fills: dict[str, Any], transforms: dict[str, str], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        compare(Path(folder), fills, transforms, data)
