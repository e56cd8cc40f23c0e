"""Windows, splits and sizes that fit a table, for sequences of every length."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.errors import DataError
from sequifier.project.sizes import (
    FEWEST_STEPS,
    MOST_EPOCHS,
    REDUCTION,
    STEPS_OF_RUNG,
    choose_sizes,
    epochs_of_all,
)
from sequifier.project.split_choice import choose_seq_length, choose_split, choose_stride, n_windows
from sequifier.search.asha import rungs


@pytest.mark.parametrize(
    ("counts", "method", "seq_length"),
    [
        ([1, 2, 3] * 100, "between_sequence", 2),
        ([2] * 100, "between_sequence", 1),
        ([10] * 100, "between_sequence", 8),
        ([4] * 60 + [11] * 40, "between_sequence", 10),  # the longer ones decide: shorter ones are padded
        ([24] * 100, "within_sequence", 16),
        ([15, 24, 24, 900], "within_sequence", 16),  # one long sequence does not make windows long
        ([100] * 100, "within_sequence", 64),
        ([17_420], "within_sequence", 64),
        ([400_000], "within_sequence", 128),
        ([40], "within_sequence", 28),
    ],
)
def test_windows_are_no_longer_than_most_sequences(counts, method, seq_length) -> None:
    split = choose_split(pl.Series(counts))
    assert split.method == method
    assert choose_seq_length(pl.Series(counts), split) == seq_length


@pytest.mark.parametrize(
    ("counts", "n_items", "method", "seq_length"),
    [
        ([8] * 1000, 200, "last_events", 5),  # six events train: five inputs and a target
        ([9] * 1000, 200, "last_events", 6),
        ([5] * 1000, 200, "last_events", 2),
        ([5] * 800 + [30] * 200, 200, "last_events", 24),
        ([4] * 1000, 200, "between_sequence", 3),
        ([8] * 999, 200, "between_sequence", 7),
        ([8] * 1000, 199, "between_sequence", 7),
        ([100] * 1000, 5000, "last_events", 64),
    ],
)
def test_items_are_split_by_last_events(counts, n_items, method, seq_length) -> None:
    split = choose_split(pl.Series(counts), n_items=n_items)
    assert split.method == method
    assert choose_seq_length(pl.Series(counts), split) == seq_length


@pytest.mark.parametrize("counts", [[2], [1] * 50])
def test_too_few_events_are_an_error(counts) -> None:
    with pytest.raises(DataError, match="too few for training and validation"):
        choose_split(pl.Series(counts))


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60))
def test_every_table_gets_sizes_that_a_search_takes(counts) -> None:
    series = pl.Series(counts)
    try:
        split = choose_split(series)
    except DataError:
        return
    seq_length = choose_seq_length(series, split)
    stride = choose_stride(series, seq_length, split)
    sizes = choose_sizes(series, seq_length, stride, split, n_outputs=10)
    assert 1 <= stride <= seq_length <= max(2, series.quantile(0.9, interpolation="lower"))
    assert all(width % heads == 0 for width, heads in zip(sizes.dim_model, sizes.n_head, strict=True))
    # Enough steps to learn, unless there are hardly any windows; and patience for a tenth of them.
    assert sizes.epochs * sizes.steps_per_epoch >= FEWEST_STEPS or sizes.epochs == MOST_EPOCHS
    assert 3 <= sizes.patience <= max(3, sizes.epochs / 10)
    assert sizes.runs == 12 and sizes.rung is None, "small tables train all models to their end"
    assert sizes.minutes > 0


@pytest.mark.parametrize(
    ("counts", "n_outputs", "runs", "pruned"),
    [([8] * 300, 10, 12, False), ([8] * 30_000, 2_000, 12, True), ([8] * 30_000, 20_000, 6, True)],
)
def test_slow_models_are_fewer_and_compared_early_but_have_enough_steps(counts, n_outputs, runs, pruned) -> None:
    series = pl.Series(counts)
    split = choose_split(series, n_items=n_outputs)
    seq_length = choose_seq_length(series, split)
    sizes = choose_sizes(series, seq_length, choose_stride(series, seq_length, split), split, n_outputs)
    assert (sizes.runs, sizes.rung is not None) == (runs, pruned)
    assert sizes.epochs * sizes.steps_per_epoch >= FEWEST_STEPS
    if sizes.rung is not None:
        assert sizes.rung * sizes.steps_per_epoch >= STEPS_OF_RUNG
        assert sizes.epochs_of_all < sizes.runs * sizes.epochs


@pytest.mark.parametrize("wanted", [(12, None, 5), (12, 1, 5), (12, 2, 8), (6, 3, 20), (8, 2, 2), (6, 7, 5)])
def test_epochs_of_all_are_those_that_the_pruner_trains(wanted) -> None:
    """Counted by the pruner itself: each run reports the same curve, so that ranks are by number."""
    n_runs, rung, epochs = wanted
    trained = dict.fromkeys(range(n_runs), 0)
    if rung is None:
        expected = n_runs * epochs
    else:
        stops = [*rungs(epochs, reduction=REDUCTION, min_epochs=rung), epochs]
        left = n_runs
        for stop in stops:
            for run in range(left):
                trained[run] = stop
            left = max(left // REDUCTION, 1)
        expected = sum(trained.values())
    assert epochs_of_all(n_runs, rung, epochs) == expected


def test_few_windows_overlap_and_many_do_not() -> None:
    long, many = pl.Series([10_000]), pl.Series([100] * 2000)
    split = choose_split(long)
    assert choose_stride(long, 64, split) < 64
    assert n_windows(long, 64, choose_stride(long, 64, split), split) >= 1000
    assert choose_stride(many, 64, split) == 64


def test_sequences_no_longer_than_a_window_do_not_overlap() -> None:
    counts = pl.Series([24] * 20)
    assert choose_stride(counts, 16, choose_split(counts)) == 16


def test_large_tables_train_for_fewer_epochs() -> None:
    epochs = []
    for n in (100, 1000, 10_000, 100_000):
        counts = pl.Series([100] * n)
        split = choose_split(counts)
        epochs.append(choose_sizes(counts, 64, 64, split, n_outputs=10).epochs)
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] > epochs[-1]
