"""Batches after memory ran out: how one is cut, and with which one later runs start."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.ledger import DONE, Record, State
from sequifier.search.make_plan import make_plan
from sequifier.search.out_of_memory import Batch, FittingBatches, cut, halved
from sequifier.search.plan import PlannedRun
from tests.support.searches import metadata, search

SMALL, MIDDLE, LARGE = 0, 1, 2


def planned(tmp_path: Path, batch_size: int = 128, **training: Any) -> dict[int, PlannedRun]:
    """Three runs, each needing more memory than the one before."""
    config = search(
        model={"dim_model": [8, 16, 32], "n_head": [2, 2, 2], "dim_feedforward": 32, "num_layers": 1},
        training={"batch_size": batch_size, **training},
        project_root=str(tmp_path),
    )
    runs = {run.number: run for run in make_plan(config, metadata()).runs}
    assert [runs[number].config.model_spec.dim_model for number in (SMALL, MIDDLE, LARGE)] == [8, 16, 32]
    return runs


def attempts(run: int, *sizes: int, ended: State = "finished") -> list[Record]:
    """The records of a run that was attempted with these batch sizes."""
    states: list[tuple[State, int]] = [*(("running", size) for size in sizes), (ended, sizes[-1])]
    return [
        Record(run=run, name=f"run-{run}", identity=str(run), data="d", state=state, batch_size=size, seed=0)
        for state, size in states
    ]


def start(run: int, records: list[Record], runs: dict[int, PlannedRun], *, keep_effective: bool = True) -> Batch | None:
    known = FittingBatches(runs)
    for record in records:
        known.add(record)
    return known.first(runs[run], keep_effective=keep_effective)


def test_nothing_is_known_at_first_and_nothing_is_concluded_from_what_fitted(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    assert start(LARGE, [], runs) is None
    assert start(LARGE, attempts(SMALL, 128), runs) is None


def test_a_run_that_needs_more_starts_from_the_size_that_fitted(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    records = attempts(SMALL, 128, 64, 32)
    assert start(MIDDLE, records, runs) == Batch(32, 4)
    assert start(LARGE, records, runs) == Batch(32, 4)
    assert start(LARGE, records, runs, keep_effective=False) == Batch(32, 1)


def test_a_run_that_needs_less_starts_as_planned(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    assert start(SMALL, attempts(LARGE, 128, 64), runs) is None


def test_of_several_the_smallest_size_counts(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    records = attempts(SMALL, 128, 64) + attempts(MIDDLE, 64, 32)
    assert start(LARGE, records, runs) == Batch(32, 4)


def test_a_batch_that_was_never_seen_to_fail_is_tried(tmp_path: Path) -> None:
    records = attempts(SMALL, 128, 64)
    assert start(LARGE, records, planned(tmp_path, 100)) is None
    assert start(LARGE, records, planned(tmp_path, 64)) is None
    assert start(LARGE, records, planned(tmp_path, 128)) == Batch(64, 2)
    assert start(LARGE, records, planned(tmp_path, 150)) == Batch(64, 3, 150)


def test_a_run_that_never_fitted_saves_the_next_one_its_attempts(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    assert start(LARGE, attempts(SMALL, 128, 64, 32, 16, ended="oom"), runs) == Batch(16, 8)


@pytest.mark.parametrize("ended", ["oom", "failed"])
def test_a_failure_that_no_batch_could_prevent_says_nothing_about_batches(tmp_path: Path, ended: State) -> None:
    runs = planned(tmp_path)
    assert start(LARGE, attempts(SMALL, 128, ended=ended), runs) is None


def test_what_fitted_for_a_larger_run_overrules(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    records = attempts(SMALL, 128, 64, 32) + attempts(LARGE, 64)
    assert start(MIDDLE, records, runs) == Batch(64, 2)
    assert start(MIDDLE, attempts(SMALL, 128, 64) + attempts(LARGE, 128), runs) is None


def test_runs_that_cannot_be_compared_say_nothing_about_each_other(tmp_path: Path) -> None:
    config = search(
        model={"dim_model": [8, 32], "n_head": [2, 2], "dim_feedforward": 32},
        training={"batch_size": 128},
        seq_length=[8, 4],
        project_root=str(tmp_path),
    )
    runs = {run.number: run for run in make_plan(config, metadata()).runs}
    shapes = {(run.config.seq_length, run.config.model_spec.dim_model): run.number for run in runs.values()}
    narrow_and_long, wide_and_short = shapes[8, 8], shapes[4, 32]
    assert start(wide_and_short, attempts(narrow_and_long, 128, 64), runs) is None
    assert start(narrow_and_long, attempts(wide_and_short, 128, 64), runs) is None


def test_records_of_runs_that_left_the_search_are_passed_over(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    assert start(LARGE, attempts(99, 128, 64), runs) is None


def test_a_planned_accumulation_is_kept(tmp_path: Path) -> None:
    runs = planned(tmp_path, 25, accumulation_steps=2)
    assert start(LARGE, attempts(SMALL, 25, 13), runs) == Batch(13, 4, 50)


def test_the_halvings_of_a_run_are_counted_over_all_its_attempts(tmp_path: Path) -> None:
    known = FittingBatches(planned(tmp_path))
    for record in attempts(SMALL, 128, 64, 64, 32, ended="failed") + attempts(SMALL, 32, 16) + attempts(99, 8, 4):
        known.add(record)
    assert [known.halvings(number) for number in (SMALL, MIDDLE, 99)] == [3, 0, 1]


def by_reading_all_records(run: PlannedRun, records: Sequence[Record], runs: Mapping[int, PlannedRun]) -> int:
    """The batch size with which a run starts, by the rule as it is written at the top of the module."""

    def needs(of: PlannedRun) -> tuple[int, ...]:
        return (
            of.n_parameters,
            of.config.seq_length or 0,
            of.config.model_spec.dim_model * of.config.model_spec.num_layers,
        )

    def covers(more: PlannedRun, less: PlannedRun) -> bool:
        return all(mine >= theirs for mine, theirs in zip(needs(more), needs(less), strict=True))

    size = run.config.training_spec.batch_size
    others = {each.run: [other for other in records if other.run == each.run] for each in records if each.run in runs}
    reached, fitted = [], 0
    for number, of_run in others.items():
        sizes = [each.batch_size for each in of_run]
        if covers(run, runs[number]):
            reached += [sizes[-1] for one, next_one in pairwise(sizes) if next_one < one and one <= size]
        if covers(runs[number], run):
            fitted = max([fitted, *(each.batch_size for each in of_run if each.state in DONE)])
    return min(max([min(reached, default=size), min(fitted, size)]), size)


@cache
def many_runs() -> dict[int, PlannedRun]:
    """Runs that need more or less memory than each other, and runs that cannot be compared."""
    config = search(
        model={"dim_model": [8, 16], "n_head": [2, 2], "dim_feedforward": [16, 64], "num_layers": [1, 2]},
        training={"batch_size": [32, 48, 64]},
        seq_length=[4, 8],
    )
    return {run.number: run for run in make_plan(config, metadata()).runs}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),  # some of 48 runs, so that others have no record; and some that left the search
            st.sampled_from([64, 48, 32, 16, 8]),
            st.sampled_from(["running", "finished", "finished", "oom"]),
        ),
        min_size=10,
        max_size=40,
    )
)
def test_record_by_record_a_run_starts_as_if_all_records_were_read(steps: list[tuple[int, int, State]]) -> None:
    runs = {number: run for number, run in many_runs().items() if number not in (3, 7)}
    known = FittingBatches(runs)
    records = [attempts(run, size, ended=state)[1] for run, size, state in steps]
    for record in records:
        known.add(record)
    for waiting in runs.keys() - {record.run for record in records}:
        found = known.first(runs[waiting], keep_effective=True)
        planned_size = runs[waiting].config.training_spec.batch_size
        assert (found.batch_size if found else planned_size) == by_reading_all_records(runs[waiting], records, runs)


@given(batch=st.integers(2, 5000), accumulation=st.integers(1, 8))
def test_halving_keeps_the_windows_of_a_step(batch: int, accumulation: int) -> None:
    before = Batch(batch, accumulation)
    after = halved(before, keep_effective=True)
    step = after.effective_batch_size or after.batch_size * after.accumulation_steps
    assert step == batch * accumulation
    assert after.batch_size == (batch + 1) // 2
    assert -(-step // after.accumulation_steps) <= after.batch_size, "no part is larger than the new batch"


def test_a_batch_of_25_becomes_two_of_13_and_12() -> None:
    assert halved(Batch(25, 1), keep_effective=True) == Batch(13, 2, 25)


def test_halving_alone_is_what_v1_did() -> None:
    assert halved(Batch(25, 2), keep_effective=False) == Batch(12, 2, None)


@given(planned=st.integers(2, 5000), accumulation=st.integers(1, 8), times=st.integers(1, 6))
def test_a_batch_is_cut_at_once_as_it_is_halved_step_by_step(planned: int, accumulation: int, times: int) -> None:
    batch = Batch(planned, accumulation)
    for _ in range(times):
        if batch.batch_size > 1:
            batch = halved(batch, keep_effective=True)
    assert cut(Batch(planned, accumulation), batch.batch_size, keep_effective=True) == batch
