"""Gathered batches against a loop over windows and steps."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.events import Events
from sequifier.dataset.batches import Split
from sequifier.dataset.order import epoch_order, split_evenly
from sequifier.dataset.windows import WindowIndex, evaluation_windows, training_windows


def events_of(sizes: list[int], n_context: list[int], seed: int = 0) -> Events:
    generator = np.random.default_rng(seed)
    n_rows = sum(sizes)
    return Events(
        sequence_ids=np.arange(len(sizes)),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        n_context=np.array(n_context, dtype=np.int64),
        positions=np.arange(n_rows),
        columns={
            "kind": generator.integers(0, 5, n_rows).astype(np.int32),  # 0: unknown
            "size": generator.normal(size=n_rows).astype(np.float32),
        },
    )


def split_of(events: Events, windows: WindowIndex, seq_length: int) -> Split:
    return Split(
        events,
        windows,
        categorical=["kind"],
        real=["size"],
        targets=["kind", "size"],
        seq_length=seq_length,
        device=torch.device("cpu"),
    )


@given(
    sizes=st.lists(st.integers(2, 15), min_size=1, max_size=4), seq_length=st.integers(1, 8), evaluation=st.booleans()
)
def test_a_batch_holds_what_its_windows_show(sizes: list[int], seq_length: int, evaluation: bool) -> None:
    events = events_of(sizes, [min(1, size - 1) for size in sizes])
    if evaluation:
        windows = evaluation_windows(
            events.offsets, events.n_context, seq_length=seq_length, stride=1 + seq_length // 2
        )
    else:
        windows = training_windows(events.offsets, events.n_context, seq_length=seq_length, stride=seq_length)
    split = split_of(events, windows, seq_length)
    chosen = np.arange(len(windows))[::-1].copy()
    if len(chosen) == 0:
        return
    batch = split.batch(chosen)
    targets: list[int] = []
    owners: list[int] = []
    for place, window in enumerate(chosen):
        last, first, counted = windows.last[window], windows.first[window], windows.counted[window]
        for step in range(seq_length):
            row = last - seq_length + step
            is_event = row >= first
            assert batch.categories[place, step, 0] == (events.columns["kind"][row] if is_event else 0)
            assert batch.reals[place, step, 0] == (events.columns["size"][row] if is_event else 0)
            assert batch.is_event is None or bool(batch.is_event[place, step]) == is_event
            assert batch.is_event is not None or is_event
            if row + 1 >= counted:
                targets.append(row + 1)
                owners.append(place)
    assert batch.targets["kind"].tolist() == events.columns["kind"][targets].tolist()
    assert batch.targets["size"].tolist() == events.columns["size"][targets].tolist()
    assert split.target_window(chosen).tolist() == owners
    known = (events.columns["kind"][targets] != 0).sum()
    assert split.n_known_targets("kind", chosen).sum() == known
    assert split.n_known_targets("size").sum() == len(targets)
    assert batch.all_known == {"kind": known == len(targets), "size": True}


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = epoch_order(100, seed=3, epoch=1)
    assert sorted(first) == list(range(100))
    assert (first == epoch_order(100, seed=3, epoch=1)).all()
    assert (first != epoch_order(100, seed=3, epoch=2)).any()
    assert (first != epoch_order(100, seed=4, epoch=1)).any()


@given(n=st.integers(1, 300), parts=st.integers(1, 40))
def test_parts_are_nearly_equal_and_complete(n: int, parts: int) -> None:
    sizes = split_evenly(n, parts)
    assert sum(sizes) == n
    assert len(sizes) == min(n, parts)
    assert max(sizes) - min(sizes) <= 1


def test_a_batch_of_25_in_two_parts() -> None:
    assert split_evenly(25, 2) == [13, 12]
