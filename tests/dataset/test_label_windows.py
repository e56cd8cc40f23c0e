"""Windows of targets that belong to whole sequences, against loops over sequences and events."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.events import Events
from sequifier.dataset.batches import Chosen, Split, in_steps
from sequifier.dataset.windows import label_windows
from tests.support.events import make_events

SEQ_LENGTH = 4
EVERY = [False, True]


def labelled(sizes: list[int], context: list[int] | int = 0, seed: int = 0, ends: Sequence[int] = ()) -> Events:
    """Events whose `outcome` is constant in a sequence; the first sequence has an unknown one.

    Each sequence in `ends` has END as its last row, which has no outcome.
    """
    generator = np.random.default_rng(seed)
    outcome = generator.integers(1, 4, len(sizes))
    outcome[0] = 0
    columns = {
        "kind": generator.integers(0, 6, sum(sizes)).astype(np.int32),
        "size": generator.normal(size=sum(sizes)).astype(np.float32),
        "outcome": np.repeat(outcome, sizes).astype(np.int32),
    }
    columns["outcome"][np.cumsum(sizes)[list(ends)] - 1] = -1
    return make_events(sizes, columns, n_context=context)


def split_of(events: Events, *, every: bool, picks: bool) -> Split:
    return Split(
        events,
        label_windows(events, "outcome", every=every),
        categorical=["kind"],
        real=["size"],
        targets=["outcome"],
        seq_length=SEQ_LENGTH,
        device=torch.device("cpu"),
        picks=picks,
    )


@pytest.mark.parametrize("every", EVERY)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), context=st.integers(0, 9))
def test_each_sequence_or_each_of_its_own_events_ends_one_window(sizes: list[int], context: int, every: bool) -> None:
    events = labelled(sizes, context)
    expected = []
    for sequence, begin in enumerate(events.offsets[:-1]):
        own = range(begin + events.n_context[sequence], events.offsets[sequence + 1])
        expected += [(row, begin) for row in (own if every else own[-1:])]
    windows = label_windows(events, "outcome", every=every)
    assert list(zip(windows.last.tolist(), windows.first.tolist(), strict=True)) == expected
    assert (windows.counted == windows.last).all() and windows.n_targets == len(expected)


@pytest.mark.parametrize("every", EVERY)
def test_no_window_ends_with_the_end_of_a_sequence(every: bool) -> None:
    sizes = [3, 2, 4, 2]
    with_ends = label_windows(labelled(sizes, ends=[1, 2]), "outcome", every=every)
    assert with_ends.last.tolist() == ([0, 1, 2, 3, 5, 6, 7, 9, 10] if every else [2, 3, 7, 10])


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("picks", [True, False])
def test_a_batch_has_the_last_events_and_the_label_of_each_window(every: bool, picks: bool) -> None:
    events = labelled([1, 7, 3, 1, 4, 9])
    split = split_of(events, every=every, picks=picks)
    batch = split.batch(split.choose(np.arange(len(split))))
    is_event = torch.ones(len(split), SEQ_LENGTH, dtype=torch.bool) if batch.is_event is None else batch.is_event
    hidden = torch.arange(len(split) * SEQ_LENGTH).view(-1, SEQ_LENGTH, 1)
    assert batch.at_targets(hidden)[:, 0].tolist() == hidden[:, -1, 0].tolist(), "a label is read from the last step"
    known, (truth, number) = batch.at_known("outcome", torch.arange(len(split)))
    if known is not None:
        truth, number = truth[known], number[known]
    expected = []
    for window, (last, first) in enumerate(zip(split.windows.last, split.windows.first, strict=True)):
        rows = np.arange(max(first, last - SEQ_LENGTH + 1), last + 1)
        assert is_event[window].tolist() == [False] * (SEQ_LENGTH - len(rows)) + [True] * len(rows)
        kind, size = batch.categories[window, :, 0], batch.reals[window, :, 0]
        assert kind[is_event[window]].tolist() == events.columns["kind"][rows].tolist()
        assert size[is_event[window]].tolist() == events.columns["size"][rows].tolist()
        assert not kind[~is_event[window]].any()
        if events.columns["outcome"][last]:
            expected.append((window, events.columns["outcome"][last]))
    assert list(zip(number.tolist(), truth.tolist(), strict=True)) == expected
    assert split.n_known_targets("outcome").sum() == len(expected)
    assert split.n_events(np.arange(len(split))).tolist() == (split.windows.last - split.windows.first + 1).tolist()


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=3).filter(any), size=st.integers(1, 12))
def test_a_step_takes_the_same_fraction_of_all_parts(sizes: list[int], size: int) -> None:
    orders = [Chosen(np.arange(n), None) for n in sizes]
    steps = [[part.numbers.tolist() for part in step] for step in in_steps(orders, size)]
    total = sum(sizes)
    assert len(steps) == -(-total // size)
    for part, n in enumerate(sizes):
        assert [number for step in steps for number in step[part]] == list(range(n)), "each window once, in order"
        for step in steps[:-1]:
            assert abs(len(step[part]) - n * size / total) < 1
    assert all(abs(sum(map(len, step)) - size) < len(sizes) for step in steps[:-1])
    later = [[part.numbers.tolist() for part in step] for step in in_steps(orders, size, done=1)]
    assert later == steps[1:]
    if len(sizes) == 1:
        assert [len(step[0]) for step in steps[:-1]] == [size] * (len(steps) - 1)
