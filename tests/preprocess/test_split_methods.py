"""Each split method against plain Python: which events each split has, and which come before them as context."""

from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sequifier.errors import DataError
from sequifier.preprocess.split import cut_points
from tests.preprocess.test_bounded_memory import table as shuffled_table
from tests.support.small_project import Project

Sequences = dict[Any, list[Any]]
"""Sequence -> its positions, in order."""

Rows = dict[Any, tuple[list[Any], list[Any]]]
"""Sequence -> positions of its context rows and of its own rows in one split."""

small_tables = st.dictionaries(
    st.integers(0, 30), st.sets(st.integers(-5, 25), min_size=1, max_size=9).map(sorted), min_size=1, max_size=7
)


def write(project: Project, sequences: Sequences) -> Path:
    """Write the events one after another; a feature repeats the position."""
    rows = [(sequence, position) for sequence, positions in sequences.items() for position in positions]
    frame = pl.DataFrame(rows, schema=["sequenceId", "itemPosition"], orient="row")
    return project.write(frame.with_columns(kind=pl.col("itemPosition").cast(pl.String)))


def stored(project: Project) -> list[Rows]:
    """Return the rows of each split, as written."""
    return [
        {
            sequence: tuple(rows.filter(isContext=is_context)["itemPosition"].to_list() for is_context in (True, False))
            for (sequence,), rows in project.split(number).group_by("sequenceId")
        }
        for number in range(len(project.metadata.split_paths))
    ]


def with_context(sequences: Sequences, own: list[Sequences], n_most: int) -> list[Rows]:
    """Return the rows of each split from its own ones: in front are the last earlier rows of the sequence."""
    return [
        {
            sequence: ([each for each in sequences[sequence] if each < positions[0]][::-1][:n_most][::-1], positions)
            for sequence, positions in split.items()
            if positions
        }
        for split in own
    ]


def n_targets(splits: list[Rows]) -> list[int]:
    """Return the number of own rows of each split that follow another row of their sequence."""
    return [sum(len(own) - (not context) for context, own in split.values()) for split in splits]


def check(sequences: Sequences, own: list[Sequences], *, n_context: int = 512, **fields: Any) -> None:
    """Check that the splits are these; without a target in one of them, there must be an error that says which."""
    expected = with_context(sequences, own, n_context)
    with TemporaryDirectory() as folder:
        project = Project(Path(folder))
        path = write(project, sequences)
        without = [number for number, targets in enumerate(n_targets(expected)) if targets == 0]
        if without:
            with pytest.raises(DataError, match=rf"split {without[0]} has no event to predict|no sequence is long"):
                project.run(path, **fields)
            assert project.files() == set()
            return
        metadata = project.run(path, **fields)
        assert stored(project) == expected
        assert metadata.sequifier.rows == [sum(map(len, split.values())) for split in own]
        assert metadata.sequifier.sequences == [sum(map(bool, split.values())) for split in own]


@given(small_tables, st.lists(st.integers(1, 3), min_size=1, max_size=2))
@settings(max_examples=40, deadline=None)
def test_last_events_are_for_the_later_splits(sequences: Sequences, split_events: list[int]) -> None:
    own: list[Sequences] = [{} for _ in range(len(split_events) + 1)]
    for sequence, positions in sequences.items():
        left = list(positions)
        if len(positions) > sum(split_events):
            for number in range(len(split_events), 0, -1):
                n = split_events[number - 1]
                own[number][sequence] = left[-n:]
                left = left[:-n]
        own[0][sequence] = left
    check(sequences, own, n_context=1000, split_method="last_events", split_events=split_events)


def test_last_events_store_the_whole_history_and_say_so(project: Project) -> None:
    path = write(project, {"long": list(range(700)), "short": [0, 1]})

    metadata = project.run(path, split_method="last_events")

    test = project.split(2)
    assert test["itemPosition"].to_list() == list(range(700))
    assert test["isContext"].to_list() == [True] * 699 + [False]
    about = metadata.sequifier
    assert (about.split_method, about.split_ratios, about.split_seed) == ("last_events", None, None)
    assert about.split_options == {"split_events": [1, 1]}
    assert about.context_events == 699
    assert about.stride_by_split == [4, 4, 4]
    assert about.rows == [698 + 2, 1, 1]
    assert "last_events: 1 of 2 sequences have fewer than 3 events: they train only" in project.lines


def test_last_events_of_sequences_that_are_all_too_short(project: Project) -> None:
    path = write(project, {1: [0, 1], 2: [5]})
    with pytest.raises(DataError) as raised:
        project.run(path, split_method="last_events")
    assert "the longest of 2 has 2 events, and 3 are needed" in str(raised.value)
    assert "split_events: [1, 1]" in str(raised.value)


BY_START = {"split_method": "between_sequence", "split_order": "by_start", "split_overlap": "cut"}
IN_FILE_ORDER = {"split_method": "between_sequence", "split_order": "file", "split_overlap": "drop"}
GIVEN = {"split_method": "given", "split_column": "part", "validation_fraction": 0.3}
CUTOFF = {"split_method": "cutoff", "split_at": [30, 50, 70]}


@pytest.mark.parametrize(
    "fields", [{"split_method": "last_events", "split_events": [2]}, BY_START, IN_FILE_ORDER, CUTOFF, GIVEN]
)
def test_parts_change_nothing(project: Project, fields: dict[str, Any]) -> None:
    table = shuffled_table(text_ids=True)
    shifted = pl.col("itemPosition") + pl.col("sequenceId").str.slice(1).cast(pl.Int64)  # they start one after another
    table = table.with_columns(itemPosition=shifted)
    if fields == GIVEN:
        is_test = pl.col("sequenceId").str.ends_with("7")
        table = table.with_columns(part=pl.when(is_test).then(pl.lit("test")).otherwise(pl.lit("train")))
    path = project.write(table, "events.csv")
    fields = fields | {"fill_null": {"price": "mean"}}
    project.run(path, **fields)
    at_once = {name: (project.root / name).read_bytes() for name in project.files()}
    lines = project.lines

    project.run(path, **fields, memory_bytes=16_000)

    assert {name: (project.root / name).read_bytes() for name in project.files()} == at_once
    assert project.lines == lines


def test_metadata_of_splits_by_ratios_have_no_new_key(project: Project) -> None:
    project.run(write(project, {s: list(range(9)) for s in range(9)}), split_method="between_sequence")
    assert '"split_ratios": [' in project.metadata_path.read_text()
    assert "split_options" not in project.metadata_path.read_text()


@given(
    small_tables,
    st.sampled_from([[0.5, 0.5], [0.4, 0.3, 0.3]]),
    st.sampled_from(["file", "by_start"]),
    st.sampled_from(["keep", "cut", "drop"]),
)
@settings(max_examples=60, deadline=None)
def test_whole_sequences_in_order_without_overlap(
    sequences: Sequences, ratios: list[float], split_order: str, split_overlap: str
) -> None:
    starts = {positions[0] for positions in sequences.values()}
    assume(split_order == "file" or len(sequences) == 1 or len(starts) > 1)
    names = list(sequences)  # `write` keeps this order
    if split_order == "by_start":
        names.sort(key=lambda name: (sequences[name][0], name))
    cuts = cut_points(np.array([len(names)]), ratios)[:, 0].tolist()
    own: list[Sequences] = [{name: sequences[name] for name in names[a:b]} for a, b in pairwise(cuts)]
    begin = min((positions[0] for positions in own[1].values()), default=None)
    if begin is not None and split_overlap == "cut":
        own[0] = {name: [each for each in positions if each < begin] for name, positions in own[0].items()}
    if begin is not None and split_overlap == "drop":
        own[0] = {name: positions for name, positions in own[0].items() if positions[-1] < begin}
    fields = {"split_ratios": ratios, "split_order": split_order, "split_overlap": split_overlap}
    check(sequences, own, split_method="between_sequence", **fields)


def test_file_order_is_that_of_the_first_rows_over_all_files(project: Project) -> None:
    for name, ids in (("b.csv", [7, 1, 1]), ("a.csv", [4, 9, 4]), ("c.csv", [0, 0, 7, 9])):
        rows = "".join(f"{id},{ord(name[0])}{place},x\n" for place, id in enumerate(ids))
        project.write_text("sequenceId,itemPosition,kind\n" + rows, f"parts/{name}")
    fields = {"split_method": "between_sequence", "split_order": "file", "split_ratios": [0.6, 0.4]}

    metadata = project.run(project.root / "raw" / "parts", **fields)

    assert [sorted(split) for split in stored(project)] == [[4, 7, 9], [0, 1]]
    assert metadata.sequifier.split_options == {"split_order": "file"}
    assert metadata.sequifier.split_seed is None


def test_sequences_that_run_into_validation_are_counted(project: Project) -> None:
    dates = [date(2013, 1, day) for day in range(1, 29)]
    sequences = {f"s{start}": dates[start : start + 6] for start in range(0, 20, 2)}
    fields = {"split_method": "between_sequence", "split_order": "by_start", "split_ratios": [0.7, 0.3]}

    metadata = project.run(write(project, sequences), **fields, split_overlap="cut")

    # Validation starts with s14 on January 15; s10 has two events from then on, s12 four.
    line = "split_overlap: 2 of 7 training sequences still run at 2013-01-15: 6 events are left out"
    assert line in project.lines
    assert metadata.sequifier.rows == [7 * 6 - 6, 3 * 6]
    assert metadata.sequifier.split_options == {"split_order": "by_start", "split_overlap": "cut"}
    assert set(metadata.id_maps["kind"]) == {str(day) for day in dates[:24]}


def test_what_no_split_has_is_in_no_vocabulary(project: Project) -> None:
    sequences = {0: [0, 1, 2, 3, 99], 1: [1, 2, 3], 2: [10, 11, 12]}
    fields = {"split_method": "between_sequence", "split_order": "by_start", "split_ratios": [0.7, 0.3]}

    metadata = project.run(write(project, sequences), **fields, split_overlap="cut")

    assert "99" not in metadata.id_maps["kind"]
    assert not any("unknown" in line for line in project.lines)


def test_sequences_that_all_start_together_have_no_order_of_starts(project: Project) -> None:
    path = write(project, {s: list(range(9)) for s in range(9)})
    with pytest.raises(DataError, match="all 9 sequences start at itemPosition=0"):
        project.run(path, split_method="between_sequence", split_order="by_start")


@given(small_tables, st.lists(st.integers(-6, 26), min_size=1, max_size=3, unique=True).map(sorted), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_cutoffs_divide_all_sequences_at_the_same_positions(
    sequences: Sequences, split_at: list[int], context_events: int
) -> None:
    everything = [each for positions in sequences.values() for each in positions]
    ends = [-100, *split_at[:2], split_at[2] if len(split_at) > 2 else 100]
    own = [
        {name: [each for each in positions if a <= each < b] for name, positions in sequences.items()}
        for a, b in pairwise(ends)
    ]
    fields = {"split_method": "cutoff", "split_at": split_at, "context_events": context_events}
    if all(min(everything) < each <= max(everything) for each in split_at[:2]):
        check(sequences, own, n_context=context_events, **fields)
        return
    with TemporaryDirectory() as folder:
        project = Project(Path(folder))
        with pytest.raises(DataError, match="is outside the data: no event is"):
            project.run(write(project, sequences), **fields)


DAYS = [date(2013, 8, 1) + timedelta(days=20 * place) for place in range(6)]  # August 1 to November 9
NOONS = [datetime(day.year, day.month, day.day, 12) for day in DAYS]


@pytest.mark.parametrize(
    ("positions", "split_at", "n_rows"),
    [
        (DAYS, ["2013-09-10", "2013-10-20"], [2, 2, 2]),  # both are days of events
        (DAYS, ["2013-09-11", "2013-10-19"], [3, 1, 2]),
        (DAYS, ["10 Sep 2013"], [2, 4]),
        (NOONS, ["2013-09-10", "2013-09-10T12:00:00.000001"], [2, 1, 3]),
        (NOONS, ["2013-09-10 14:00+02:00", "2013-09-10 14:00:00+01:00"], [2, 1, 3]),
        (NOONS, ["2013-09-10", "2013-10-20", "2013-11-09T12:00:00"], [2, 2, 1]),
    ],
)
def test_cutoffs_of_dates_and_times(
    project: Project, positions: list[Any], split_at: list[str], n_rows: list[int]
) -> None:
    metadata = project.run(write(project, {1: positions}), split_method="cutoff", split_at=split_at)
    assert metadata.sequifier.rows == n_rows
    assert metadata.sequifier.split_options == {"split_at": split_at}
    left_out = len(positions) - sum(n_rows)
    assert (f"split_at: {left_out} events from 2013-11-09 12:00:00 on are left out" in project.lines) == bool(left_out)


def test_a_cutoff_may_have_the_format_of_the_column(project: Project) -> None:
    rows = "".join(f"1,{day.strftime('%d/%m/%Y')},x\n" for day in DAYS)
    path = project.write_text("sequenceId,itemPosition,kind\n" + rows)
    for value in ("10/09/2013", "2013-09-10"):
        metadata = project.run(path, split_method="cutoff", split_at=[value])
        assert metadata.sequifier.rows == [2, 4]


@pytest.mark.parametrize(
    ("positions", "split_at", "parts"),
    [
        (DAYS, [20130910], ["split_at has 20130910, but positions are Date", "split_at[0]", "2013-01-31"]),
        (DAYS, ["2013-09-10T12:00"], ["split_at has '2013-09-10T12:00'", "`itemPosition` needs a date"]),
        (DAYS, ["10/09/2013"], ["split_at has '10/09/2013'"]),  # September or October
        (NOONS, ["2013-03-31T02:30"], ["a local time that does not exist in Europe/Berlin", "split_at[0]"]),
        (DAYS, ["2013-09-31"], ["split_at has '2013-09-31'"]),
        (NOONS, ["soon"], ["needs a date or time"]),
        ([1, 2, 3], ["2"], ["split_at has '2', but positions are Int64", "write an integer"]),
        ([1, 2, 3, 4], [3, 2], ["split_at has 2 after 3, which is not earlier", "split_at[1]"]),
        ([1, 2, 3, 4], [2, 2], ["split_at has 2 after 2"]),
        ([1, 2, 3, 4], [1], ["split_at 1 is outside the data: no event is before", "from 1 to 4", "validation"]),
        ([1, 2, 3, 4], [3, 5], ["split_at 5 is outside the data: no event is from then on", "the start of test"]),
        (DAYS, ["2013-09-01", "2014-09-01"], ["2014-09-01 is outside", "from 2013-08-01 to 2013-11-09"]),
        ([1, 2, 3, 4], [3, 4, 5], ["split 1 has no event", "use other positions in split_at", "validation"]),
    ],
)
def test_a_cutoff_that_does_not_fit(
    project: Project, positions: list[Any], split_at: list[Any], parts: list[str]
) -> None:
    path = write(project, {1: positions})
    zone = "Europe/Berlin" if positions is NOONS else None
    with pytest.raises(DataError) as raised:
        project.run(path, split_method="cutoff", split_at=split_at, context_events=0, time_zone=zone)
    for part in parts:
        assert part in str(raised.value)
    assert project.files() == set()


PARTS = ("train", "validation", "test")


def write_given(project: Project, sequences: Sequences, part_of: dict[Any, str], name: str = "events.parquet") -> Path:
    rows = [(id, each, str(each), part_of[id]) for id, positions in sequences.items() for each in positions]
    return project.write(pl.DataFrame(rows, schema=["sequenceId", "itemPosition", "kind", "part"], orient="row"), name)


@given(small_tables, st.data())
@settings(max_examples=40, deadline=None)
def test_a_column_names_the_split_of_each_sequence(sequences: Sequences, data: st.DataObject) -> None:
    part_of = {name: data.draw(st.sampled_from(PARTS)) for name in sequences}
    assume({"train", "validation"} <= set(part_of.values()))
    own = [{name: sequences[name] for name in sequences if part_of[name] == part} for part in PARTS]
    own = own if own[2] else own[:2]
    with TemporaryDirectory() as folder:
        project = Project(Path(folder))
        path = write_given(project, sequences, part_of)
        fields = {"split_method": "given", "split_column": "part"}
        without = [number for number, targets in enumerate(n_targets(with_context(sequences, own, 1))) if not targets]
        if without:
            with pytest.raises(DataError, match=f"split {without[0]} has no event to predict"):
                project.run(path, **fields)
            return
        metadata = project.run(path, **fields)
        assert stored(project) == with_context(sequences, own, 1)
        assert metadata.columns == ["kind"]
        assert metadata.sequifier.split_options == {"split_column": "part"}
        assert metadata.sequifier.split_seed is None


def test_without_validation_some_training_sequences_are_drawn_for_it(project: Project) -> None:
    sequences = {f"s{number}": [0, 1, 2] for number in range(40)}
    part_of = {name: "test" if number < 10 else "train" for number, name in enumerate(sequences)}
    path = write_given(project, sequences, part_of, "events.csv")
    fields = {"split_method": "given", "split_column": "part", "validation_fraction": 0.2}

    metadata = project.run(path, **fields)

    splits = stored(project)
    assert [len(split) for split in splits] == [24, 6, 10]
    assert set(splits[2]) == {name for name in sequences if part_of[name] == "test"}
    assert set(splits[0]) | set(splits[1]) == {name for name in sequences if part_of[name] == "train"}
    assert metadata.sequifier.split_seed == 1010
    assert metadata.sequifier.split_options == {"split_column": "part", "validation_fraction": 0.2}
    assert any("6 of 30 training sequences are drawn for it" in line for line in project.lines)
    project.run(path, **fields, seed=3)
    assert stored(project)[2] == splits[2]
    assert stored(project)[1] != splits[1]

    part_of["s39"] = "validation"
    project.run(write_given(project, sequences, part_of, "events.csv"), **fields)
    assert [len(split) for split in stored(project)] == [29, 1, 10]
    assert "validation_fraction is not used: column `part` names the validation sequences" in project.lines


ROWS = "1,0,a,train\n1,1,b,train\n2,0,a,validation\n2,1,b,validation\n"


@pytest.mark.parametrize(
    ("rows", "fields", "parts"),
    [
        (
            ROWS + "7,0,a,train\n7,5,b,test\n7,6,b,train\n",
            {},
            ["sequenceId=7 is `train` and `test` in column `part`", "where: sequenceId=7 itemPosition=5"],
        ),
        (ROWS + "7,0,a,\n7,5,b,\n", {}, ["2 of 6 values are neither train nor validation nor test", "(empty)"]),
        (
            ROWS + "7,4,a,valid\n7,5,b,valid\n",
            {},
            ["sequenceId=7 itemPosition=4 (`valid`)", "did you mean `validation`"],
        ),
        (ROWS.replace("train", "test"), {}, ["names no sequence `train`"]),
        (ROWS, {"split_column": "prt"}, ["column `prt` (split_column) is missing", "did you mean `part`?"]),
        (ROWS, {"column_types": {"part": "String"}}, ["column_types names `part`, which is not among"]),
        (ROWS + "3,0,a,test\n", {}, ["split 2 has no event to predict", "split_column (split 2 is for test)"]),
        (ROWS, {"stride_by_split": [4, 4, 4]}, ["stride_by_split [4, 4, 4] has 3 entries, `part` makes 2 splits"]),
    ],
)
def test_a_column_of_splits_that_does_not_fit(
    project: Project, rows: str, fields: dict[str, Any], parts: list[str]
) -> None:
    path = project.write_text("sequenceId,itemPosition,kind,part\n" + rows)
    with pytest.raises(DataError) as raised:
        project.run(path, **({"split_method": "given", "split_column": "part"} | fields))
    for part in parts:
        assert part in str(raised.value)
    assert project.files() == set()
