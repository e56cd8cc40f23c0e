"""XES logs: what the table holds, against a reader that is written on another one, and what is refused."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.dom import minidom
from xml.sax.saxutils import quoteattr

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.errors import ConfigError, DataError
from sequifier.preprocess import pipeline, xes, xes_table
from sequifier.preprocess.xes import write_log
from sequifier.preprocess.xes_table import EVENT_NUMBER, TRACE_NAME
from tests.support.event_log import claims, log_of
from tests.support.small_project import Project

KEYS = {"sequence_column": TRACE_NAME, "position_column": EVENT_NUMBER}
FEATURES = ["concept:name", "lifecycle:transition", "cost", "case:amount"]


def read(text: str | bytes, folder: Path, name: str = "log.xes") -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table of a log, and the notes."""
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    notes = write_log(file, folder / "table.parquet")
    assert sorted(item.name for item in folder.iterdir()) == sorted([name, "table.parquet"])
    return pl.read_parquet(folder / "table.parquet"), notes


def event(*attributes: str) -> str:
    return f"<event>{''.join(attributes)}</event>"


def attribute(kind: str, key: str, value: str) -> str:
    return f"<{kind} key={quoteattr(key)} value={quoteattr(value)}/>"


def name(value: str) -> str:
    return attribute("string", "concept:name", value)


def trace(*parts: str) -> str:
    return f"<trace>{''.join(parts)}</trace>"


def log(*parts: str) -> str:
    """A log with each part on a line of its own; the first part is on line 2."""
    return "\n".join(["<log>", *parts, "</log>"])


GOOD = trace(name("A"), event(name("a")), event(name("b")))


def test_attributes_become_typed_columns(tmp_path: Path) -> None:
    table, notes = read(
        log(
            '<global scope="event">' + attribute("string", "org:role", "nobody") + "</global>",
            trace(
                name("A"),
                attribute("int", "amount", "7"),
                event(
                    name("a"),
                    attribute("date", "time:timestamp", "2024-03-01T00:30:00.25+01:00"),
                    attribute("boolean", "done", "false"),
                    attribute("int", "cost", "5"),
                ),
                event(
                    name("b"),
                    attribute("date", "time:timestamp", "2024-03-01T02:30:00Z"),
                    attribute("string", "org:role", "clerk"),
                    attribute("id", "identity:id", "f81d4fae"),
                    attribute("float", "cost", "2.5"),
                ),
            ),
            trace(event(name("a")), name("B")),
        ),
        tmp_path,
    )
    assert table.to_dicts() == [
        {
            "case:concept:name": "A",
            "eventNumber": 0,
            "concept:name": "a",
            "cost": 5.0,
            "done": False,
            "identity:id": None,
            "org:role": "nobody",
            "time:timestamp": datetime(2024, 2, 29, 23, 30, 0, 250_000, UTC),
            "case:amount": 7,
        },
        {
            "case:concept:name": "A",
            "eventNumber": 1,
            "concept:name": "b",
            "cost": 2.5,
            "done": None,
            "identity:id": "f81d4fae",
            "org:role": "clerk",
            "time:timestamp": datetime(2024, 3, 1, 2, 30, tzinfo=UTC),
            "case:amount": 7,
        },
        {
            "case:concept:name": "B",
            "eventNumber": 0,
            "concept:name": "a",
            "cost": None,
            "done": None,
            "identity:id": None,
            "org:role": "nobody",
            "time:timestamp": None,
            "case:amount": None,
        },
    ]
    assert table.schema["case:amount"] == pl.Int64
    assert notes == ("log.xes: `org:role` is missing in 2 of 3 events; the log's default `nobody` is used",)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    parts = '<list key="parts"><values><string key="x" value="1"/></values></list>'
    nested = '<string key="org:resource" value="R"><int key="age" value="3"/></string>'
    date = attribute("date", "time:timestamp", "2024-03-01T00:30:00")
    table, notes = read(
        log(
            trace(name("A"), parts, event(name("a"), parts, nested, date), event(name("b"), nested, parts)),
            trace(name("empty")),
            event(name("loose")),
        ),
        tmp_path,
    )
    assert table.columns == [TRACE_NAME, EVENT_NUMBER, "concept:name", "org:resource", "time:timestamp"]
    assert table["time:timestamp"].to_list() == [datetime(2024, 3, 1, 0, 30, tzinfo=UTC), None]
    assert notes == (
        "log.xes: 3 attributes with several values are left out: list `parts`",
        "log.xes: 2 attributes of attributes are left out",
        "log.xes: 1 events outside of traces are left out",
        "log.xes: 1 traces without events are left out",
        "log.xes: the dates of `time:timestamp` have no offset from UTC and are read as UTC",
    )


def test_names_may_have_a_prefix_and_the_file_another_encoding(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + log(trace(name("Müller"), event(name("a"))))
    prefixed = (
        text.replace("</", "</xes:").replace("<log", "<xes:log").replace("<tr", "<xes:tr").replace("<ev", "<xes:ev")
    )
    table, _ = read(prefixed.replace("<string", "<xes:string").encode("latin-1"), tmp_path)
    assert table.rows() == [("Müller", 0, "a")]


@pytest.mark.parametrize("ending", ["log.xes.gz", "log.xes"])
def test_a_compressed_log_is_recognised_by_its_content(tmp_path: Path, ending: str) -> None:
    expected, _ = read(log_of(claims()), tmp_path)
    (tmp_path / "log.xes").unlink()
    table, _ = read(gzip.compress(log_of(claims()).encode()), tmp_path, ending)
    assert table.equals(expected)


VALUES: dict[str, st.SearchStrategy[str]] = {
    "string": st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=5),
    "id": st.uuids().map(str),
    "int": st.integers(-(2**63), 2**63 - 1).map(str),
    "float": st.floats(allow_nan=False).map(lambda value: str(value).replace("inf", "INF")),
    "boolean": st.sampled_from(["true", "false"]),
    "date": st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(datetime.isoformat),
}
COLUMNS = {"concept:name": "string", "x": "string", "i": "int", "f": "float", "b": "boolean", "d": "date", "u": "id"}


@st.composite
def logs(draw: st.DrawFn) -> str:
    """Any log with names: attributes in any order, missing ones, defaults, empty traces, attributes after events."""

    def attributes(named: bool) -> str:
        keys = draw(
            st.permutations([key for key in COLUMNS if (key == "concept:name" and named) or draw(st.booleans())])
        )
        return "".join(attribute(COLUMNS[key], key, draw(VALUES[COLUMNS[key]])) for key in keys)

    parts = []
    for scope in draw(st.lists(st.sampled_from(["trace", "event"]), unique=True)):
        parts.append(f'<global scope="{scope}">{attributes(named=False)}</global>')
    for number in range(draw(st.integers(1, 5))):
        others = [attribute("int", "n", "1")] * draw(st.integers(0, 1))
        events = [event(attributes(named=True)) for _ in range(draw(st.integers(int(number == 0), 4)))]
        own = name(f"trace {number}")
        parts.append(trace(own, *others, *events) if draw(st.booleans()) else trace(*others, own, *events))
    return log(*parts)


def by_minidom(text: str) -> list[dict[str, Any]]:
    """The rows of a log without missing values, by the whole tree and Python's own types."""
    types: dict[str, Any] = {
        "string": str,
        "id": str,
        "int": int,
        "float": float,
        "boolean": lambda value: value == "true",
        "date": datetime.fromisoformat,
    }

    def values(element: Any) -> dict[str, Any]:
        found = [child for child in element.childNodes if child.nodeName in types]
        return {child.getAttribute("key"): types[child.nodeName](child.getAttribute("value")) for child in found}

    root = minidom.parseString(text.encode()).documentElement
    assert root is not None
    defaults: dict[str, dict[str, Any]] = {"trace": {}, "event": {}}
    for element in root.getElementsByTagName("global"):
        defaults[element.getAttribute("scope")] |= values(element)
    rows = []
    for element in root.getElementsByTagName("trace"):
        case = {f"case:{key}": value for key, value in (defaults["trace"] | values(element)).items()}
        for number, child in enumerate(element.getElementsByTagName("event")):
            rows.append({**case, EVENT_NUMBER: number, **defaults["event"], **values(child)})
    return rows


@given(text=logs(), batch=st.integers(1, 6), chunk=st.integers(1, 200))
def test_a_log_is_read_as_by_another_parser(
    text: str, batch: int, chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(xes_table, "BATCH_EVENTS", batch)
        patched.setattr(xes, "_CHUNK_BYTES", chunk)
        table, _ = read(text, tmp_path_factory.mktemp("log"))
    rows = [{key: value for key, value in row.items() if value is not None} for row in table.to_dicts()]
    assert rows == by_minidom(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["the file is not valid XML", "line 1", "give a log in the XES format"]),
        ("case,activity\n1,a\n", ["the file is not valid XML: syntax error", "line 1"]),
        ("<html><body>not found</body></html>", ["not an XES log: its root is <html>", "line 1"]),
        (log(GOOD)[:-10], ["the log is cut: the file ends within it, after 2 events", "line 2"]),
        (log(GOOD) + "<log/>", ["the file is not valid XML: junk after document element", "line 3"]),
        (log(GOOD.replace("</event>", "</trace>", 1)), ["not valid XML: mismatched tag", "line 2"]),
        (
            '<!DOCTYPE log [<!ENTITY a "b">]>\n' + log(GOOD),
            ["document type declaration", "line 1", "remove the declar"],
        ),
        (
            log(GOOD, trace(event(name("a"))), trace(attribute("string", "concept:name", ""), event(name("a")))),
            ["traces without `concept:name`: 2 of 3, first trace number 2", "line 3", "give each trace a name"],
        ),
        (
            log(GOOD, GOOD, GOOD),
            ["traces with the name of an earlier one: 2 of 3, first `A`, which the trace in line 2 has too", "line 3"],
        ),
        (
            log(GOOD, GOOD).replace("\n", ""),
            ["traces with the name of an earlier one: 1 of 2, first `A`, which the trace in line 1 has too", "line 1"],
        ),
        (
            log(GOOD, trace(name("B"), "\n", event(), event(name("a")), event(attribute("int", "cost", "1")))),
            ["events without `concept:name`: 2 of 5, first `eventNumber` 0 of trace `B`", "line 4"],
        ),
        (
            log(
                trace(name("A"), event(name("a"), attribute("int", "cost", "1"))),
                trace(name("B"), event(name("a"), attribute("string", "cost", "1"))),
            ),
            ["the event attribute `cost` is of type string here, and int in line 2", "line 3"],
        ),
        (
            log(GOOD, trace(name("B"), event(name("a"), attribute("int", "cost", "1,5")))),
            ["the event attribute `cost` of type int has the value `1,5`", "line 3", "integer"],
        ),
        (
            log(GOOD, trace(name("B"), attribute("date", "end", "1/2/2024"), event(name("a")))),
            ["the trace attribute `end` of type date has the value `1/2/2024`", "line 3", "2013-01-31T17:05:00"],
        ),
        (
            log(
                *(
                    trace(
                        name(key), event(name("a"), attribute("date", "time:timestamp", f"2024-03-01T10:00:00{zone}"))
                    )
                    for key, zone in (("A", "Z"), ("B", ""))
                )
            ),
            ["`2024-03-01T10:00:00` of the event attribute `time:timestamp` has no offset", "line 3"],
        ),
        (log(trace(name("A"))), ["the log has no events"]),
        (
            log(trace(name("A"), event(name("a"), name("b")))),
            ["the event has the attribute `concept:name` twice", "line 2"],
        ),
        (log(trace(name("A"), event(name("a"), '<string value="b"/>'))), ["<string> has no key", "line 2"]),
        (
            log(trace(name("A"), event(name("a"), attribute("string", TRACE_NAME, "B")))),
            ["`case:concept:name` has the name of the column of an attribute of traces", "line 2"],
        ),
        (
            log(trace(name("A"), event(name("a"), attribute("int", EVENT_NUMBER, "1")))),
            ["the column of the number of an event"],
        ),
    ],
)
@pytest.mark.parametrize("batch", [1, xes_table.BATCH_EVENTS])
def test_a_log_that_cannot_be_used(
    text: str, parts: list[str], batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xes_table, "BATCH_EVENTS", batch)
    with pytest.raises(DataError) as raised:
        read(text, tmp_path)
    assert [part for part in [str(tmp_path / "log.xes"), *parts] if part not in str(raised.value)] == []
    assert [item.name for item in tmp_path.iterdir()] == ["log.xes"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda packed: packed[:-200], "the compressed file is cut"),
        (lambda packed: packed[:40] + b"xxxx" + packed[44:], "the compressed file is damaged"),
    ],
)
def test_a_damaged_compressed_log(change: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=what):
        read(change(gzip.compress(log_of(claims()).encode())), tmp_path, "log.xes.gz")


def test_an_attribute_of_a_trace_after_many_of_its_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xes_table, "BATCH_EVENTS", 2)
    late = trace(name("A"), event(name("a")), event(name("b")), attribute("int", "amount", "1"))
    with pytest.raises(DataError, match="an attribute of a trace is after 2 of its events"):
        read(log(late), tmp_path)


def test_preprocess_reads_a_log_as_its_table(project: Project, tmp_path: Path) -> None:
    log_path = project.write_text(log_of(claims()), "claims.xes")
    table, _ = read(log_path.read_bytes(), tmp_path / "raw", "claims.xes")
    project.run(log_path, read_format="xes", **KEYS, selected_columns=FEATURES)
    splits = [project.split(number) for number in range(3)]
    expected = project.metadata
    project.run(project.write(table, "claims.parquet"), read_format="parquet", **KEYS, selected_columns=FEATURES)
    assert [project.split(number).equals(split) for number, split in enumerate(splits)] == [True] * 3
    assert project.metadata == expected


def test_a_log_is_parsed_once_and_in_parts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.write_text(log_of(claims(80)), "claims.xes.gz")
    settings: dict[str, Any] = {"read_format": "xes", **KEYS, "selected_columns": FEATURES}
    project.run(path, **settings)
    at_once = {name: (project.root / name).read_bytes() for name in project.files()}
    assert "data/claims-split0.parquet" in at_once
    parsed = []
    read_log = xes._Reader.read
    monkeypatch.setattr(xes._Reader, "read", lambda reader: (parsed.append(reader.file), read_log(reader)))
    project.run(path, **settings, memory_bytes=8000)
    assert {name: (project.root / name).read_bytes() for name in project.files()} == at_once
    assert parsed == [path]


def test_an_interrupted_run_does_not_parse_the_log_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.write_text(log_of(claims()), "claims.xes")
    settings: dict[str, Any] = {"read_format": "xes", **KEYS, "selected_columns": FEATURES}
    project.run(path, **settings)
    expected = {name: (project.root / name).read_bytes() for name in project.files()}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pipeline, "encode_table", interrupted)
        project.run(path, **settings, continue_preprocessing=True)
    monkeypatch.setattr(xes._Reader, "read", interrupted)
    project.run(path, **settings, continue_preprocessing=True)
    assert {name: (project.root / name).read_bytes() for name in project.files()} == expected


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_folder_of_logs_is_one_table(project: Project) -> None:
    project.write_text(log_of(claims()[:20]), "many/1.xes")
    project.write_text(log_of(claims()[20:]), "many/2.xes")
    metadata = project.run(
        project.root / "raw" / "many", read_format="xes", **KEYS, selected_columns=FEATURES, split_ratios=[1.0]
    )
    assert metadata.sequifier.sequences == [40]


def test_errors_of_preprocess_name_the_log(project: Project) -> None:
    missing = log_of(claims()).replace('<float key="cost" value="1.5"/>', "", 1)
    path = project.write_text(missing, "claims.xes")
    settings: dict[str, Any] = {"read_format": "xes", **KEYS, "selected_columns": FEATURES}
    with pytest.raises(
        DataError, match=r"column `cost`: 1 of \d+ values is missing, first at case:concept:name=claim 0"
    ):
        project.run(path, **settings)
    with pytest.raises(DataError, match="read_format: xes"):
        project.run(path, **(settings | {"read_format": "parquet"}))
    with pytest.raises(DataError, match=r"`sequenceId` \(sequence_column\) is missing in claims.xes"):
        project.run(path, read_format="xes")
    with pytest.raises(ConfigError):
        project.run(path.with_name("claim.xes"), **settings)
