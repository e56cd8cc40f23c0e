"""Histories in random order, against a loop over targets."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.dataset.shuffled import ShuffledSplit
from sequifier.dataset.windows import label_windows
from tests.support.events import kinds_and_sizes, make_events, make_split, make_windows

CPU = torch.device("cpu")


def shuffled(events: Any, windows: Any, seq_length: int, **options: Any) -> ShuffledSplit:
    given: dict[str, Any] = {"categorical": ["kind"], "real": ["size"], "targets": ["kind", "size"], "seed": 1}
    given |= {"keeps_last": False, "seq_length": seq_length, "device": CPU}
    return ShuffledSplit(events, windows, **(given | options))


def histories(split: ShuffledSplit, numbers: Any) -> list[list[tuple[int, float]]]:
    """The events of each row of a batch, without padding."""
    batch = split.batch(split.choose(np.asarray(numbers)))
    found = []
    for row in range(len(batch.categories)):
        is_event = slice(None) if batch.is_event is None else batch.is_event[row]
        kinds, sizes = batch.categories[row, is_event, 0].tolist(), batch.reals[row, is_event, 0].tolist()
        found.append(list(zip(kinds, sizes, strict=True)))
    return found


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(2, 15), min_size=1, max_size=4),
    seq_length=st.integers(1, 8),
    evaluation=st.booleans(),
    keeps_last=st.booleans(),
)
def test_each_target_has_the_events_that_its_window_shows_before_it(
    sizes: list[int], seq_length: int, evaluation: bool, keeps_last: bool
) -> None:
    events = make_events(sizes, kinds_and_sizes(sum(sizes)), n_context=1)
    windows = make_windows(events, seq_length, 1 + seq_length // 2 if evaluation else seq_length, evaluation=evaluation)
    if not len(windows):
        return
    split, plain = shuffled(events, windows, seq_length, keeps_last=keeps_last), make_split(events, windows, seq_length)
    numbers = np.arange(len(windows))[::-1].copy()
    batch, expected = split.batch(split.choose(numbers)), plain.batch(plain.choose(numbers))
    for target in ("kind", "size"):
        assert batch.targets[target].tolist() == expected.targets[target].tolist(), "the same targets, in order"
        assert (batch.known[target] is None) == (expected.known[target] is None)
        known = batch.known[target], expected.known[target]
        assert known[0] is None or known[1] is None or known[0].tolist() == known[1].tolist()
    assert (
        split.target_unit(split.choose(numbers), batch).tolist()
        == plain.target_unit(plain.choose(numbers), expected).tolist()
    )
    values = list(zip(events.columns["kind"].tolist(), events.columns["size"].tolist(), strict=True))
    found, place = histories(split, numbers), 0
    for window in numbers:
        last, first, counted = (int(rows[window]) for rows in (windows.last, windows.first, windows.counted))
        for target in range(counted, last + 1):
            before = values[max(first, last - seq_length) : target]
            assert Counter(found[place]) == Counter(before), "whole events"
            assert not keeps_last or found[place][-1] == before[-1]
            place += 1
    assert place == len(found)
    assert batch.is_event is None or bool((batch.is_event[:, -1]).all()), "padding is on the left"
    assert batch.is_event is None or bool((batch.is_event.int().diff(dim=1) >= 0).all())


def one_sequence(n: int) -> Any:
    columns = {"kind": np.arange(1, n + 1, dtype=np.int32), "size": np.arange(n, dtype=np.float32)}
    return make_events([n], columns)


@pytest.mark.parametrize("keeps_last", [False, True])
def test_every_order_is_as_frequent_as_any_other(keeps_last: bool) -> None:
    events, n_epochs = one_sequence(5), 4800
    windows = make_windows(events, 4, 4, evaluation=False)
    split = shuffled(events, windows, 4, keeps_last=keeps_last)
    orders = Counter(
        tuple(kind for kind, _ in histories(split.in_epoch(epoch), [0])[-1]) for epoch in range(1, n_epochs + 1)
    )
    n_orders = 6 if keeps_last else 24
    assert len(orders) == n_orders
    mean = n_epochs / n_orders
    assert max(abs(count - mean) for count in orders.values()) < 5 * mean**0.5, "five standard deviations"


def test_orders_depend_on_epoch_seed_and_target_and_on_nothing_else() -> None:
    events = one_sequence(41)
    windows = make_windows(events, 20, 20, evaluation=False)
    split = shuffled(events, windows, 20)
    both, apart = histories(split, [0, 1]), [*histories(split, [0]), *histories(split, [1])]
    assert both == apart, "not on the batch"
    assert histories(split.in_epoch(3), [1]) == histories(split.in_epoch(3), [1])
    assert histories(split.in_epoch(3), [1]) != histories(split.in_epoch(4), [1])
    other = shuffled(events, windows, 20, seed=2)
    assert histories(split.in_epoch(3), [1]) != histories(other.in_epoch(3), [1])
    assert histories(split, [1]) == histories(other, [1]), "evaluation is the same in all runs"
    changes = [after[: len(before)] != before for before, after in pairwise(both)]
    assert sum(changes[3:]) > 30, "each target has an order of its own"


def test_a_window_takes_as_many_rows_as_it_has_targets() -> None:
    events = one_sequence(41)
    windows = make_windows(events, 20, 20, evaluation=False)
    assert shuffled(events, windows, 20).rows_per_window == 20
    assert make_split(events, windows, 20).rows_per_window == 1
    short = make_events([4, 4, 7], kinds_and_sizes(15))
    assert shuffled(short, make_windows(short, 20, 20, evaluation=False), 20).rows_per_window == 4, "3, 3 and 6 targets"


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("keeps_last", [False, True])
def test_the_label_of_a_sequence_has_its_last_event_in_its_history(every: bool, keeps_last: bool) -> None:
    sizes = [1, 4, 9]
    columns: dict[str, Any] = kinds_and_sizes(sum(sizes)) | {"outcome": np.repeat([1, 2, 0], sizes).astype(np.int32)}
    events = make_events(sizes, columns)
    windows = label_windows(events, "outcome", every=every)
    split = shuffled(events, windows, 4, targets=["outcome"], keeps_last=keeps_last)
    found = histories(split, np.arange(len(windows)))
    assert split.rows_per_window == 1
    values = list(zip(columns["kind"].tolist(), columns["size"].tolist(), strict=True))
    for history, last, first in zip(found, windows.last.tolist(), windows.first.tolist(), strict=True):
        expected = values[max(first, last - 3) : last + 1]
        assert Counter(history) == Counter(expected)
        assert not keeps_last or history[-1] == expected[-1]
    batch = split.batch(split.choose(np.arange(len(windows))))
    assert batch.targets["outcome"].tolist() == columns["outcome"][windows.last].tolist()
    known = batch.known["outcome"]
    assert known is not None and known.tolist() == (columns["outcome"][windows.last] != 0).tolist()
    others = shuffled(events, make_windows(events, 4, 4, evaluation=False), 4, others=[split])
    again = others.in_epoch(7).parts[1]
    assert isinstance(again, ShuffledSplit)
    if every:
        assert histories(again, np.arange(len(windows))) != found, "all parts are in the epoch"
        assert histories(split, np.arange(len(windows))) == found
