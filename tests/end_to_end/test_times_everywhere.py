"""Each time feature is the same in training's encoder, in `infer` on raw rows, and in the graph that takes dates."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from zoneinfo import ZoneInfo

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
from sequifier.export.raw_columns import NO_INTEGER
from sequifier.preprocess.pipeline import preprocess
from tests.support.exported import export_both
from tests.support.node import install_onnxruntime_node, run_outside
from tests.support.quiet import quiet
from tests.support.shapes import small

L = 4
ZONES = [None, "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"]
FEATURES = {"when": ["gap", "since_first", "hour", "weekday", "day", "month"], "due": ["until", "hour", "month"]}
SPANS = ("time_gap", "time_since_first", "due_until")
CALENDAR = {"time_hour": 24, "time_weekday": 7, "time_day": 31, "time_month": 12, "due_hour": 24, "due_month": 12}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Sequences = list[list[tuple[datetime, datetime | None]]]
Windows = dict[str, np.ndarray[Any, Any]]


@st.composite
def moments(draw: st.DrawFn, zone: str | None) -> datetime:
    """A moment, often within hours of a change of clocks."""
    at = draw(st.datetimes(datetime(1905, 1, 1), datetime(2095, 1, 1), timezones=st.just(UTC)))
    if zone is not None and draw(st.booleans()):
        low, high = at, at + timedelta(days=370)
        local = ZoneInfo(zone)
        for _ in range(40):  # between two moments with different offsets there is a change
            middle = low + (high - low) / 2
            same = middle.astimezone(local).utcoffset() == low.astimezone(local).utcoffset()
            low, high = (middle, high) if same else (low, middle)
        at = high.replace(microsecond=0) + timedelta(minutes=draw(st.integers(-200, 200)))
    return at


@st.composite
def histories(draw: st.DrawFn, zone: str | None) -> Sequences:
    """Sequences shorter and longer than a window, whose other dates may be missing."""
    sequences = usual()[:1]  # a split needs a sequence of two events
    for n_events in draw(st.lists(st.integers(1, 2 * L), min_size=2, max_size=5)):
        at, events = draw(moments(zone)), []
        for _ in range(n_events):
            due = at + draw(st.timedeltas(timedelta(days=-400), timedelta(days=400)))
            events.append((at, None if draw(st.integers(0, 3)) == 0 else due))
            at += timedelta(microseconds=draw(st.integers(1, 10 ** draw(st.integers(1, 13)))))
        sequences.append(events)
    return sequences


def usual() -> Sequences:
    """The training data: gaps from minutes to months."""
    start = datetime(2023, 1, 1, tzinfo=UTC)
    starts = [start + timedelta(days=40 * number) for number in range(6)]
    return [[(at + timedelta(hours=step**4), at + timedelta(days=3 * step - 9)) for step in range(9)] for at in starts]


def write(path: Path, sequences: Sequences) -> None:
    rows = [
        (number, when, due, "ab"[(number + step) % 2])
        for number, sequence in enumerate(sequences)
        for step, (when, due) in enumerate(sequence)
    ]
    instant = pl.Datetime("us", "UTC")
    schema = {"who": pl.Int64, "when": instant, "due": instant, "kind": pl.String}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(path)


@dataclass
class Project:
    """A folder with an untrained model that reads every time feature, and whose weights all show in its predictions."""

    root: Path
    zone: str | None

    def __post_init__(self) -> None:
        write(self.root / "old.parquet", usual())
        fills = dict.fromkeys(("due_hour", "due_month"), "unknown") | {"due_until": "mean"}
        self.metadata = self.encode("old", time_features=FEATURES, time_zone=self.zone, fill_null=fills)
        gap, hour = Target("time_gap", "real", 0), Target("time_hour", "categorical", 25)
        targets = (Target("kind", "categorical", 3), gap, hour)
        shape = small(
            categorical=(("kind", 3), *((name, size + 1) for name, size in CALENDAR.items())),
            real=SPANS,
            embedding_widths=(4, 2, 1, 2, 1, 2, 1, 1, 1, 1),
            targets=targets,
            seq_length=L,
        )
        self.plain, self.raw = export_both(self.root / "models", shape, self.metadata)

    def encode(self, name: str, **values: Any) -> Metadata:
        base = {"data_path": str(self.root / f"{name}.parquet"), "read_format": "parquet", "time_unit": "hours"}
        keys = {"sequence_column": "who", "position_column": "when", "seq_length": L, "split_ratios": [1.0]}
        settings = {"project_root": str(self.root), **base, **keys, **values}
        return read_metadata(preprocess(PreprocessConfig.model_validate(settings), log=quiet))

    def by_training(self, sequences: Sequences) -> Windows:
        """The windows as `preprocess` encodes them with the metadata of the training data."""
        metadata = self.encode("new", metadata_config_path=str(self.root / "configs/metadata_configs/old.json"))
        names = ["kind", *CALENDAR, *SPANS]
        events = read_events(self.root / metadata.split_paths[0], names, expected_hashes=None)
        kinds = dict.fromkeys(names, np.int64) | dict.fromkeys(SPANS, np.float32)
        feed: Windows = {name: np.zeros((len(sequences), L), kind) for name, kind in kinds.items()}
        for number, end in enumerate(events.offsets[1:].tolist()):
            n_events = min(L, len(sequences[number]))
            for name in names:
                feed[name][number, L - n_events :] = events.columns[name][end - n_events : end]
        return run(self.plain, feed | counts(sequences))

    def by_infer(self) -> pl.DataFrame:
        """What `infer` makes of the raw table."""
        values = {"project_root": str(self.root), "model_path": "models/plain.onnx", "data_path": "new.parquet"}
        options = {"read_format": "raw", "write_format": "parquet", "device": "cpu"}
        (result,) = api.infer(InferConfig.model_validate(values | options), log=quiet)
        return pl.read_parquet(result.predictions).sort("sequenceId")


def run(path: Path, feed: Windows) -> Windows:
    session = open_session(path.read_bytes())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def counts(sequences: Sequences) -> Windows:
    return {"n_events": np.array([min(L, len(sequence)) for sequence in sequences])}


def dates_of(sequences: Sequences) -> Windows:
    """The inputs of the graph as a caller without Sequifier makes them; unused places hold anything."""
    junk = np.random.default_rng(len(sequences)).integers(NO_INTEGER, -NO_INTEGER - 1, (4, len(sequences), L))
    positions, due = junk[0], junk[1]
    kinds = np.full((len(sequences), L), "?", object)
    previous, first = junk[2][:, 0], junk[3][:, 0]
    for number, sequence in enumerate(sequences):
        window = sequence[-L:]
        start = L - len(window)
        positions[number, start:] = [micros(when) for when, _ in window]
        due[number, start:] = [NO_INTEGER if each is None else micros(each) for _, each in window]
        shift = len(sequence) - len(window)
        kinds[number, start:] = ["ab"[(number + step + shift) % 2] for step in range(len(window))]
        if len(window) == L:  # the window's first event where it holds the whole history
            previous[number] = micros(sequence[max(len(sequence) - L - 1, 0)][0])
            first[number] = micros(sequence[0][0])
    return {
        "kind": kinds,
        "position": positions,
        "due": due,
        "previous_position": previous,
        "first_position": first,
        **counts(sequences),
    }


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def assert_same(ours: Windows, theirs: Windows, scale: Any) -> None:
    """Compare the outputs of a raw graph and of the graph of numbers."""
    # float32 through two layers, and rows of one batch in another order of additions.
    for name in ("kind_probabilities", "time_hour_probabilities"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5)
    expected = np.maximum(scale.mean + theirs["time_gap_value"].astype(np.float64) * scale.std, 0)
    ours_of_log = np.log1p(ours["time_gap_value"].astype(np.float64) * 3600)
    np.testing.assert_allclose(ours_of_log, expected, rtol=1e-4, atol=1e-4 * scale.std)


def compare(root: Path, zone: str | None, data: st.DataObject) -> tuple[Project, Sequences, Windows]:
    project = Project(root, zone)
    sequences = data.draw(histories(zone))
    write(root / "new.parquet", sequences)
    expected, scale = project.by_training(sequences), project.metadata.scale("time_gap")
    dates = dates_of(sequences)
    ours = run(project.raw, dates)
    last = {name: values[:, -1] for name, values in expected.items()}
    assert_same({name: values[:, -1] for name, values in ours.items()}, last, scale)
    theirs = project.by_infer()
    gap = np.log1p(theirs["time_gap"].to_numpy() * 3600)
    z = np.maximum(scale.mean + last["time_gap_value"].astype(np.float64) * scale.std, 0)
    np.testing.assert_allclose(gap, z, rtol=1e-4, atol=1e-4 * scale.std)
    probabilities = np.sort(last["time_hour_probabilities"], axis=1)
    clear = probabilities[:, -1] - probabilities[:, -2] > 1e-4  # of nearly equal ones either may be the largest
    hours = last["time_hour_id"] - 1
    assert theirs["time_hour"].to_numpy()[clear].tolist() == hours[clear].tolist()
    assert ours["time_hour_label"][:, -1][clear].tolist() == hours[clear].tolist()
    return project, sequences, ours


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(ZONES), st.data())
def test_training_raw_rows_and_the_graph_of_dates_agree(zone: str | None, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        compare(Path(folder), zone, data)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ZONES), st.data())
def test_training_raw_rows_and_the_graph_of_dates_agree_on_many_tables(zone: str | None, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        compare(Path(folder), zone, data)


NODE = """
import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-node";
const cases = JSON.parse(readFileSync("cases.json", "utf8"));
const results = [];
for (const { model, inputs } of cases) {
  const session = await ort.InferenceSession.create(model);
  const feed = {};
  for (const [name, { type, dims, data }] of Object.entries(inputs))
    feed[name] = new ort.Tensor(type, type === "int64" ? BigInt64Array.from(data, BigInt) : data, dims);
  const outputs = await session.run(feed);
  const names = ["kind_probabilities", "time_hour_probabilities", "time_gap_value"];
  results.push(Object.fromEntries(names.map((name) => [name, Array.from(outputs[name].data)])));
}
writeFileSync("results.json", JSON.stringify(results));
"""


@pytest.mark.slow
def test_onnxruntime_node_computes_the_same(tmp_path: Path) -> None:
    install_onnxruntime_node(tmp_path)
    cases, expected = [], []

    @settings(max_examples=12, deadline=None, database=None)
    @given(st.sampled_from(ZONES), st.data())
    def collect(zone: str | None, data: st.DataObject) -> None:
        root = mkdtemp(dir=tmp_path)  # a new one also after an example that hypothesis has given up
        project, sequences, ours = compare(Path(root), zone, data)
        inputs = {
            name: {
                "type": "string" if values.dtype == object else "int64",
                "dims": list(values.shape),
                "data": [str(value) for value in values.ravel().tolist()],
            }
            for name, values in dates_of(sequences).items()
        }
        cases.append({"model": str(project.raw), "inputs": inputs})
        expected.append(ours)

    collect()
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    (tmp_path / "run.mjs").write_text(NODE)
    done = run_outside("node", "run.mjs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for theirs, ours in zip(json.loads((tmp_path / "results.json").read_text()), expected, strict=True):
        for name, values in theirs.items():
            np.testing.assert_allclose(np.array(values), ours[name].ravel(), rtol=1e-4, atol=1e-5)
