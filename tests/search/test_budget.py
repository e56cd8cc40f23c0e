"""The hours and epochs that a ledger has used."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.ledger import Record
from sequifier.search.budget import Budget
from tests.support.searches import FINGERPRINT, search

START = datetime(2026, 1, 1, tzinfo=UTC)


def record(end_minutes: float, minutes: float, *, run: int = 0, n_epochs: int = 1) -> Record:
    return Record(
        run=run,
        name=f"run-{run}",
        identity=str(run),
        data=FINGERPRINT,
        state="finished",
        batch_size=1,
        seed=1,
        curve=[1.0] * n_epochs,
        seconds={"total": 60 * minutes},
        time=(START + timedelta(minutes=end_minutes)).isoformat(),
    )


def test_runs_that_train_at_the_same_time_share_their_hours() -> None:
    budget = Budget(search(max_hours=1.0))
    budget.add(record(30, 30))
    budget.add(record(40, 40, run=1))
    assert not budget.used_up(), "40 minutes in which something trained"
    budget.add(record(600, 19, run=2))
    assert not budget.used_up(), "nothing trained for hours: another start"
    budget.add(record(601, 2, run=3))
    assert budget.used_up() == "max_hours: 1.00 hours of 1"


def test_a_clock_that_is_set_back_hides_the_run_in_which_that_happened_and_no_other() -> None:
    budget = Budget(search(max_hours=0.8))
    for run, end in enumerate((10, 20, 30, 10, 20, 30)):  # set back by half an hour in the fourth run
        assert not budget.used_up()
        budget.add(record(end, 10, run=run))
    assert budget.used_up() == "max_hours: 0.83 hours of 0.8"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)), max_size=20))
def test_busy_minutes_are_the_union_of_all_runs(runs: list[tuple[int, int]]) -> None:
    busy = {minute for end, length in runs for minute in range(end - length, end)}
    for limit, is_used_up in ((len(busy), True), (len(busy) + 1, False)):
        if limit:
            budget = Budget(search(max_hours=(limit - 0.01) / 60))
            for number, (end, length) in enumerate(sorted(runs)):
                budget.add(record(end, length, run=number))
            assert bool(budget.used_up()) is is_used_up


def test_epochs_are_counted_once_for_each_run() -> None:
    budget = Budget(search(max_epochs_total=5))
    for n_epochs in (1, 3, 4):
        budget.add(record(1, 0, n_epochs=n_epochs))
    assert not budget.used_up()
    budget.add(record(1, 0, run=1))
    assert budget.used_up() == "max_epochs_total: 5 epochs of 5"


@pytest.mark.parametrize("limits", [{}, {"max_hours": 1.0}, {"max_epochs_total": 1}])
def test_nothing_is_used_up_at_the_start(limits: dict[str, float]) -> None:
    assert Budget(search(**limits)).used_up() == ""
