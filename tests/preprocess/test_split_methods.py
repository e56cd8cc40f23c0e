"""Each split method against plain Python: which events each split has, and which come before them as context."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.errors import DataError
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
            sequence: ([each for each in sequences[sequence] if each < positions[0]][-n_most:], positions)
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


@pytest.mark.parametrize("fields", [{"split_method": "last_events", "split_events": [2]}])
def test_parts_change_nothing(project: Project, fields: dict[str, Any]) -> None:
    path = project.write(shuffled_table(text_ids=True), "events.csv")
    fields = fields | {"fill_null": {"price": "mean"}}
    project.run(path, **fields)
    at_once = {name: (project.root / name).read_bytes() for name in project.files()}
    lines = project.lines

    project.run(path, **fields, memory_bytes=4000)

    assert {name: (project.root / name).read_bytes() for name in project.files()} == at_once
    assert project.lines == lines


def test_metadata_of_splits_by_ratios_have_no_new_key(project: Project) -> None:
    project.run(write(project, {s: list(range(9)) for s in range(9)}), split_method="between_sequence")
    assert '"split_ratios": [' in project.metadata_path.read_text()
    assert "split_options" not in project.metadata_path.read_text()
