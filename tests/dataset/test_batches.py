"""Gathered batches against a loop over windows and steps."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.artifacts import split_file
from sequifier.artifacts.mapped import map_events
from sequifier.artifacts.split_file import write_events
from sequifier.dataset.batches import Batch, in_batches
from sequifier.dataset.order import epoch_order, split_evenly
from tests.support.events import kinds_and_sizes, make_events, make_split, make_windows


@given(
    sizes=st.lists(st.integers(2, 15), min_size=1, max_size=4),
    seq_length=st.integers(1, 8),
    evaluation=st.booleans(),
    only_last=st.booleans(),
    some_unknown=st.booleans(),
)
def test_a_batch_holds_what_its_windows_show(
    sizes: list[int], seq_length: int, evaluation: bool, only_last: bool, some_unknown: bool
) -> None:
    events = make_events(sizes, kinds_and_sizes(sum(sizes)), n_context=1)
    if not some_unknown:
        events.columns["kind"][:] += 1
    stride = 1 + seq_length // 2 if evaluation else seq_length
    windows = make_windows(events, seq_length, stride, evaluation=evaluation, only_last=only_last)
    split = make_split(events, windows, seq_length)
    numbers = np.arange(len(windows))[::-1].copy()
    if len(numbers) == 0:
        return
    chosen = split.choose(numbers)
    batch = split.batch(chosen)
    targets: list[int] = []
    owners: list[int] = []
    for place, window in enumerate(numbers):
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
    firsts = windows.first[numbers][owners]
    unit = split.target_unit(chosen, batch)
    expected_units = np.searchsorted(np.unique(windows.first), firsts).tolist()
    assert (split.units.by, unit.tolist()) == ("sequences", expected_units)
    assert split.unit_targets.tolist() == np.bincount(expected_units).tolist()
    known = events.columns["kind"][targets] != 0
    assert split.n_known_targets("kind", numbers).sum() == known.sum()
    assert split.n_known_targets("size").sum() == len(targets)
    assert batch.known["size"] is None
    assert (batch.known["kind"] is None) == known.all()
    assert batch.known["kind"] is None or batch.known["kind"].tolist() == known.tolist()


@given(
    sizes=st.lists(st.integers(2, 15), min_size=1, max_size=4),
    seq_length=st.integers(1, 8),
    evaluation=st.booleans(),
    batch_size=st.integers(1, 9),
)
def test_masked_positions_have_the_same_targets_as_those_picked_out(
    sizes: list[int], seq_length: int, evaluation: bool, batch_size: int
) -> None:
    events = make_events(sizes, kinds_and_sizes(sum(sizes)), n_context=1)
    windows = make_windows(events, seq_length, 1 + seq_length // 2 if evaluation else seq_length, evaluation=evaluation)
    picked, masked = (make_split(events, windows, seq_length, picks=picks) for picks in (True, False))
    hidden = torch.arange(batch_size * seq_length, dtype=torch.float32).view(batch_size, seq_length, 1)
    order = np.random.default_rng(2).permutation(len(windows))
    for pair in zip(*(in_batches(split.choose(order), batch_size) for split in (picked, masked)), strict=True):
        found = []
        for split, chosen in zip((picked, masked), pair, strict=True):
            batch = split.batch(chosen)
            steps, unit = batch.at_targets(hidden[: len(chosen)]), split.target_unit(chosen, batch)
            for target in ("kind", "size"):
                known, rows = batch.at_known(target, steps, unit)
                assert known is None or not split.picks
                found.append([row if known is None else row[known] for row in rows])
        for a, b in zip(found[:2], found[2:], strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_has_only_as_many_steps_with_targets_as_a_window_needs() -> None:
    events = make_events([30], kinds_and_sizes(30))
    split = make_split(events, make_windows(events, 8, 3, evaluation=True), 8, picks=False)
    counts = split.n_targets()
    assert sorted(set(counts)) == [3, 8]  # 8 in the first window alone
    for n_steps in (3, 8):
        batch = split.batch(split.choose(np.flatnonzero(counts <= n_steps)))
        assert batch.at_targets(torch.zeros(len(batch.categories), 8, 5)).shape == (len(batch.categories) * n_steps, 5)


def assert_same(found: Batch, expected: Batch) -> None:
    """Equal in every bit and in layout, on which the last digits of what follows may depend."""
    for field in dataclasses.fields(Batch):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(a, torch.Tensor):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert a.stride() == b.stride() or a.numel() == 0
            assert torch.equal(a, b)
        elif isinstance(a, dict):
            assert list(a) == list(b)
            for name in a:
                assert (a[name] is None) == (b[name] is None)
                assert a[name] is None or (a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]))
        else:
            assert a == b


@given(
    sizes=st.lists(st.integers(2, 15), min_size=1, max_size=4),
    seq_length=st.integers(1, 8),
    evaluation=st.booleans(),
    rows_per_batch=st.integers(1, 20),
)
@settings(deadline=None)
def test_mapped_files_and_devices_give_the_batches_of_memory(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seq_length: int, evaluation: bool, rows_per_batch: int
) -> None:
    events = make_events(sizes, kinds_and_sizes(sum(sizes)), n_context=1)
    path = tmp_path_factory.mktemp("mapped") / "x.arrow"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_file, "ROWS_PER_GROUP", rows_per_batch)
        write_events(path, [events], "arrow")
    mapped = map_events(path, ["kind", "size"], expected_hashes=None)
    windows = make_windows(events, seq_length, 1 + seq_length // 2 if evaluation else seq_length, evaluation=evaluation)
    if len(windows) == 0:
        return
    order = np.random.default_rng(2).permutation(len(windows))
    split, of_mapped = make_split(events, windows, seq_length), make_split(mapped, windows, seq_length)
    assert_same(of_mapped.batch(split.choose(order)), split.batch(split.choose(order)))
    np.testing.assert_array_equal(of_mapped.n_known_targets("kind"), split.n_known_targets("kind"))

    of_device, of_host = (make_split(some, windows, seq_length, picks=False) for some in (events, mapped))
    is_full = windows.last[order] - seq_length >= windows.first[order]
    for numbers in (order, order[is_full]):
        if len(numbers):
            chosen = of_device.choose(numbers)
            batch = of_device.batch(chosen)
            assert_same(of_host.batch(chosen), batch)
            assert torch.equal(of_host.target_unit(chosen, batch), of_device.target_unit(chosen, batch))


def test_a_split_without_reals_or_without_categories() -> None:
    events = make_events([9, 7], kinds_and_sizes(16))
    windows = make_windows(events, 4, 4, evaluation=False)
    for categorical, real in ((["kind"], []), ([], ["size"])):
        split = make_split(events, windows, 4, categorical=categorical, real=real, targets=["size", "kind"])
        batch = split.batch(split.choose(np.arange(len(windows))))
        assert batch.categories.shape == (len(windows), 4, len(categorical))
        assert batch.reals.shape == (len(windows), 4, len(real))
        assert list(batch.targets) == ["size", "kind"]
        on_device = make_split(
            events, windows, 4, categorical=categorical, real=real, targets=["size", "kind"], picks=False
        )
        found = on_device.batch(on_device.choose(np.arange(len(windows))))
        assert_same(found, dataclasses.replace(batch, picks=False))


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
