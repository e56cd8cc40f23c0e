"""Columns that are known at the steps to come in batches, against a loop over origins and steps."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sequifier.dataset.shuffled import ShuffledSplit
from tests.support.events import kinds_and_sizes, make_events, make_split, make_windows


@given(
    sizes=st.lists(st.integers(2, 15), min_size=1, max_size=4),
    seq_length=st.integers(1, 8),
    evaluation=st.booleans(),
    horizon=st.integers(2, 5),
    only_last=st.booleans(),
    known=st.sampled_from([["kind"], ["size"], ["kind", "size"]]),
)
def test_the_known_columns_of_a_position_are_those_of_the_rows_that_it_predicts(
    sizes: list[int], seq_length: int, evaluation: bool, horizon: int, only_last: bool, known: list[str]
) -> None:
    events = make_events(sizes, kinds_and_sizes(sum(sizes)), n_context=1)
    stride = 1 + seq_length // 2 if evaluation else seq_length
    windows = make_windows(events, seq_length, stride, evaluation=evaluation, only_last=only_last, horizon=horizon)
    if len(windows) == 0:
        return
    numbers = np.arange(len(windows))[::-1].copy()
    counted = [(number, row) for number in numbers for row in range(windows.counted[number], windows.last[number] + 1)]
    rows = np.array([[row + step for step in range(horizon)] for _, row in counted])
    for picks in (True, False):
        split = make_split(events, windows, seq_length, picks=picks, known_future=known)
        batch = split.batch(split.choose(numbers))
        assert batch.future is not None
        kind, size = batch.future
        assert (kind.dtype, size.dtype, kind.shape[1]) == (torch.int32, torch.float32, horizon)
        places: list[int] = [*range(len(rows))]
        if not picks:  # the last steps of all windows, some of which do not count
            place = {number: index for index, number in enumerate(numbers)}
            places = [
                place[number] * batch.n_steps + batch.n_steps - 1 - int(windows.last[number] - row)
                for number, row in counted
            ]
        for name, found in (("kind", kind), ("size", size)):
            assert found.shape[2] == (name in known)
            if name in known:
                assert found[places, :, 0].tolist() == events.columns[name][rows].tolist()


def test_shuffled_histories_keep_what_is_known_of_the_steps_to_come() -> None:
    events = make_events([12, 9], kinds_and_sizes(21))
    windows = make_windows(events, 4, 2, evaluation=True, horizon=3)
    ordered = make_split(events, windows, 4, known_future=["size"])
    shuffled = ShuffledSplit(
        events,
        windows,
        categorical=["kind"],
        real=["size"],
        targets=["kind", "size"],
        seq_length=4,
        device=ordered.device,
        known_future=["size"],
        seed=0,
        keeps_last=False,
    )
    numbers = np.arange(len(windows))
    found, expected = (split.batch(split.choose(numbers)).future for split in (shuffled, ordered))
    assert found is not None and expected is not None
    for one, other in zip(found, expected, strict=True):
        assert one.tolist() == other.tolist()


def test_without_known_columns_nothing_is_gathered() -> None:
    events = make_events([12], kinds_and_sizes(12))
    windows = make_windows(events, 4, 2, evaluation=True, horizon=3)
    split = make_split(events, windows, 4)
    assert split.batch(split.choose(np.arange(len(windows)))).future is None
