"""Windows and batches with a horizon, against a loop over events: which are predicted from where."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.sequence_losses import BLOCKS
from sequifier.dataset.shuffled import ShuffledSplit
from sequifier.dataset.units import unit_index
from tests.dataset.test_batches import assert_same
from tests.support.events import kinds_and_sizes, make_events, make_split, make_windows

sizes_of_sequences = st.lists(st.integers(2, 15), min_size=1, max_size=4)
horizons, lengths, contexts = st.integers(2, 5), st.integers(1, 8), st.integers(0, 4)


@given(sizes=sizes_of_sequences, seq_length=lengths, stride=st.integers(1, 8), context=contexts, horizon=horizons)
def test_each_event_with_enough_events_after_it_in_its_split_is_an_origin_once(
    sizes: list[int], seq_length: int, stride: int, context: int, horizon: int
) -> None:
    events = make_events(sizes, kinds_and_sizes(sum(sizes)), n_context=context)
    windows = make_windows(events, seq_length, min(stride, seq_length), evaluation=True, horizon=horizon)
    found = [
        row
        for last, counted in zip(windows.last, windows.counted, strict=True)
        for row in range(counted, last + 1)  # the first step of an origin
    ]
    expected = [
        row
        for begin, end, n_context in zip(events.offsets, events.offsets[1:], events.n_context, strict=False)
        for row in range(begin + max(n_context, 1), end)
        if row + horizon <= end
    ]
    assert found == expected
    assert (windows.horizon, windows.room) == (horizon, horizon)


@given(sizes=sizes_of_sequences, seq_length=lengths, stride=st.integers(1, 8), context=contexts, horizon=horizons)
def test_training_windows_are_those_of_sequences_without_their_last_events(
    sizes: list[int], seq_length: int, stride: int, context: int, horizon: int
) -> None:
    events = make_events(sizes, kinds_and_sizes(sum(sizes)), n_context=context)
    windows = make_windows(events, seq_length, stride, evaluation=False, horizon=horizon)
    shorter = events.offsets[1:] - horizon + 1
    expected = []
    for begin, end, n_context in zip(events.offsets, shorter, events.n_context, strict=False):
        if end - begin - n_context >= 2:
            alone = make_events([end - begin], {}, n_context=n_context)
            of_one = make_windows(alone, seq_length, stride, evaluation=False)
            expected += [
                (begin + last, begin + counted) for last, counted in zip(of_one.last, of_one.counted, strict=True)
            ]
    assert list(zip(windows.last, windows.counted, strict=True)) == expected


@given(sizes=sizes_of_sequences, seq_length=lengths, evaluation=st.booleans(), horizon=horizons, unknown=st.booleans())
def test_the_targets_of_a_position_are_its_row_and_those_after_it(
    sizes: list[int], seq_length: int, evaluation: bool, horizon: int, unknown: bool
) -> None:
    events = make_events(sizes, kinds_and_sizes(sum(sizes)), n_context=1)
    if not unknown:
        events.columns["kind"][:] += 1
    stride = 1 + seq_length // 2 if evaluation else seq_length
    windows = make_windows(events, seq_length, stride, evaluation=evaluation, horizon=horizon)
    if len(windows) == 0:
        return
    numbers = np.arange(len(windows))[::-1].copy()
    splits = [make_split(events, windows, seq_length, picks=picks) for picks in (True, False)]
    picked, masked = (split.batch(split.choose(numbers)) for split in splits)
    rows = [
        row + step
        for number in numbers
        for row in range(windows.counted[number], windows.last[number] + 1)
        for step in range(horizon)
    ]
    known = {"kind": events.columns["kind"][rows] > 0, "size": np.ones(len(rows), bool)}
    for target in ("kind", "size"):
        truth = events.columns[target][rows]
        assert picked.targets[target].tolist() == truth.tolist()
        is_known = masked.known[target]
        there = masked.targets[target] if is_known is None else masked.targets[target][is_known]
        assert there.tolist() == truth[known[target]].tolist()
        assert splits[0].n_known_targets(target).sum() == known[target].sum()
        by_window = splits[0].n_known_targets(target, numbers)
        assert by_window.sum() == known[target].sum()
        owners = np.repeat(numbers, (windows.last - windows.counted + 1)[numbers] * horizon)
        assert by_window.tolist() == [known[target][owners == number].sum() for number in numbers]
    first_steps = known["kind"].reshape(-1, horizon)[:, 0]
    assert splits[0].n_known_at_first_step("kind") == first_steps.sum()
    unknown_by_step = splits[0].n_unknown_targets("kind").sum(axis=0)
    assert unknown_by_step.tolist() == (~known["kind"]).reshape(-1, horizon).sum(axis=0).tolist()
    assert splits[0].unit_targets.sum() == len(rows)
    counts = np.bincount(np.unique(np.sort(rows)) * 0 + events.columns["kind"][np.unique(rows)], minlength=7)
    assert splits[0].n_targets_of_class("kind", 7).tolist() == counts.tolist()


def test_windows_gathered_by_their_rows_have_the_targets_of_those_gathered_in_runs() -> None:
    """A padded window is read row by row; one more window, of a longer sequence, makes no difference to the others."""
    events = make_events([30, 5], kinds_and_sizes(35))
    windows = make_windows(events, 6, 3, evaluation=True, horizon=3)
    split = make_split(events, windows, 6, picks=False)
    whole = np.flatnonzero(windows.last - 6 >= windows.first)
    alone = split.batch(split.choose(whole))
    assert alone.is_event is None
    beside = split.batch(split.choose(np.append(whole, len(windows) - 1)))
    assert beside.is_event is not None
    n_positions = len(whole) * alone.n_steps * 3
    assert beside.n_steps == alone.n_steps
    assert beside.targets["size"][:n_positions].tolist() == alone.targets["size"].tolist()


def test_shuffled_histories_keep_the_targets_of_the_horizon() -> None:
    events = make_events([12, 9], kinds_and_sizes(21))
    windows = make_windows(events, 4, 2, evaluation=True, horizon=3)
    ordered = make_split(events, windows, 4)
    shuffled = ShuffledSplit(
        events,
        windows,
        categorical=["kind"],
        real=["size"],
        targets=["kind", "size"],
        seq_length=4,
        device=ordered.device,
        seed=0,
        keeps_last=False,
    )
    numbers = np.arange(len(windows))
    found, expected = (split.batch(split.choose(numbers)) for split in (shuffled, ordered))
    for target in ("kind", "size"):
        assert found.targets[target].tolist() == expected.targets[target].tolist()


def test_without_a_horizon_nothing_changes() -> None:
    events = make_events([12, 9], kinds_and_sizes(21), n_context=2)
    windows = make_windows(events, 4, 2, evaluation=True)
    one = replace(windows, horizon=1)
    numbers = np.arange(len(windows))
    batches = []
    for index in (windows, one):
        split = make_split(events, index, 4)
        batches.append(split.batch(split.choose(numbers)))
    assert_same(*batches)


def test_blocks_have_as_many_origins_as_the_horizon_has_steps() -> None:
    for n_events, by in ((BLOCKS * 24 + 24, "blocks"), (BLOCKS * 24 + 23, "sequences")):
        events = make_events([n_events], kinds_and_sizes(n_events))
        windows = make_windows(events, 8, 4, evaluation=True, horizon=24)
        assert unit_index(replace(windows, horizon=1)).by == by, "runs of every horizon have the same units"
