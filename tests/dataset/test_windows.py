"""Windows against the rules written out by hand, event by event."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.dataset import windows as windows_module
from sequifier.dataset.windows import evaluation_windows, training_windows, window_starts
from sequifier.errors import DataError

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def offsets_of(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@given(n=st.integers(1, 200), seq_length=st.integers(1, 30), stride=st.integers(1, 40))
def test_distributed_starts_cover_the_slice_and_end_on_its_last_event(n: int, seq_length: int, stride: int) -> None:
    starts = window_starts(n, seq_length, stride, "distribute")
    if n < seq_length + 1:
        assert starts.tolist() == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == n - (seq_length + 1)
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= stride).all()


def test_distributed_starts_follow_the_rule() -> None:
    # last = 20 - 6 = 14, count = len(arange(0, 14 + 5, 5)) = 4, floor(linspace(0, 14, 4)) = 0, 4, 9, 14
    assert window_starts(20, 5, 5, "distribute").tolist() == [0, 4, 9, 14]


def test_exact_starts_need_a_stride_that_fits() -> None:
    assert window_starts(16, 5, 5, "exact").tolist() == [0, 5, 10]
    with pytest.raises(DataError, match="17 events cannot be cut"):
        window_starts(17, 5, 5, "exact")


@given(sizes=lengths, seq_length=st.integers(1, 12), stride=st.integers(1, 12), context=st.integers(0, 5))
def test_training_windows_match_each_slice(sizes: list[int], seq_length: int, stride: int, context: int) -> None:
    offsets = offsets_of(sizes)
    n_context = np.minimum(context, np.array(sizes) - 1)
    windows = training_windows(offsets, n_context, seq_length=seq_length, stride=stride)
    expected = []
    for begin, size, skipped in zip(offsets, sizes, n_context, strict=False):
        own = size - skipped
        if own < 2:
            continue  # one event has no next one
        for start in window_starts(int(own), seq_length, stride, "distribute"):
            first = begin + skipped
            last = first + min(start + seq_length, own - 1)
            expected.append((last, first, max(last - seq_length + 1, first + 1)))
    assert list(zip(windows.last, windows.first, windows.counted, strict=True)) == expected


@given(sizes=lengths, seq_length=st.integers(1, 12), stride=st.integers(1, 12), context=st.integers(0, 20))
def test_evaluation_predicts_every_event_once_with_enough_history(
    sizes: list[int], seq_length: int, stride: int, context: int
) -> None:
    stride = min(stride, seq_length)
    offsets = offsets_of(sizes)
    n_context = np.minimum(context, np.array(sizes) - 1)
    windows = evaluation_windows(offsets, n_context, seq_length=seq_length, stride=stride)
    predicted = [
        row for last, first in zip(windows.last, windows.counted, strict=True) for row in range(first, last + 1)
    ]
    expected = [
        row
        for begin, size, skipped in zip(offsets, sizes, n_context, strict=False)
        for row in range(begin + max(skipped, 1), begin + size)
    ]
    assert predicted == expected, "each own event that has a predecessor, once, in order"
    for last, first, counted in zip(windows.last, windows.first, windows.counted, strict=True):
        assert counted > last - seq_length, "a counted target's input lies inside the window"
        history = counted - max(last - seq_length, first)  # events that the least informed target of the window sees
        assert history >= min(seq_length - stride + 1, counted - first)


@given(sizes=lengths, context=st.integers(0, 20))
def test_the_set_of_targets_does_not_depend_on_the_window(sizes: list[int], context: int) -> None:
    offsets = offsets_of(sizes)
    n_context = np.minimum(context, np.array(sizes) - 1)
    counts = {
        evaluation_windows(offsets, n_context, seq_length=length, stride=stride).n_targets
        for length, stride in [(4, 2), (24, 12), (48, 24), (7, 7), (1, 1)]
    }
    assert len(counts) == 1


def test_a_split_without_targets_has_no_windows() -> None:
    offsets, none = offsets_of([1, 1]), np.zeros(2, dtype=np.int64)
    assert len(training_windows(offsets, none, seq_length=4, stride=4)) == 0
    assert len(evaluation_windows(offsets, none, seq_length=4, stride=2)) == 0


def test_an_index_is_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets, none = offsets_of([9, 30, 9, 1, 9, 17, 30]), np.zeros(7, dtype=np.int64)
    whole = training_windows(offsets, none, seq_length=4, stride=3)
    monkeypatch.setattr(windows_module, "_WINDOWS", 2)
    parts = training_windows(offsets, none, seq_length=4, stride=3)
    for name in ("last", "first", "counted"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_row_numbers_of_training_windows_are_as_narrow_as_the_split_allows() -> None:
    none = np.zeros(1, dtype=np.int64)
    small = training_windows(offsets_of([100]), none, seq_length=4, stride=4)
    large = training_windows(offsets_of([2**33 + 1]), none, seq_length=4, stride=2**31)
    assert small.last.dtype == np.int32
    assert large.last.tolist() == [4, 2**31 + 3, 2**32 + 2, 3 * 2**31 + 1, 2**33]
    assert small.in_int64().last.dtype == np.int64
    assert small.in_int64().last.tolist() == small.last.tolist()
