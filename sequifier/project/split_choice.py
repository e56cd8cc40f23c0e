"""The split of a table and its windows, from the number and length of its sequences.

These are rules of thumb. The user can change the values in the configs.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sequifier.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 128)
"""Possible window lengths."""

UPPER = 0.9
"""Fraction of the sequences whose training part fits into one window; shorter ones are padded, which costs little."""

MANY_WINDOWS = 1000
"""Number of windows of 128 events that such a length needs; otherwise the longest is 64. Fewer windows overlap."""

WITHIN = 20
"""Median length from which each sequence is split by position; shorter sequences belong to one split as a whole."""

CATALOGUE = 200
"""Number of categories from which a target is an item of a catalogue, as recommenders predict it."""

MANY_SEQUENCES = 1000
"""Number of sequences from which the last event of each is enough to compare models."""

MOST_CUT = 0.5
"""Fraction of training sequences that may still run when validation starts; otherwise they are not split in time."""

FEWEST_EVENTS = 5
"""Median length from which the last two events of a sequence are for validation and test, as in 5-core data."""

SplitMethod = Literal["within_sequence", "between_sequence", "last_events"]


@dataclass(frozen=True)
class SplitChoice:
    """The split into training, validation and test events.

    Attributes:
        method: the method.
        ratios: fraction of each split; of last_events, which has no ratios, the approximate fraction of the events.
        why: the reason, for the config and the user.
        by_start: whether whole sequences are split in the order of their starts, and training ones cut at validation.
    """

    method: SplitMethod
    ratios: tuple[float, ...]
    why: str
    by_start: bool = False


def choose_split(
    counts: "pl.Series", *, n_items: int = 0, has_labels: bool = False, is_observed: bool = False
) -> SplitChoice:
    """Split each sequence by position where sequences are long, and whole sequences where there are many short ones.

    Items of a catalogue are split as recommenders are compared: the last two events of each sequence are held out.

    Args:
        counts: number of events of each sequence.
        n_items: number of categories of the only target; 0 where there are several targets, or a real one.
        has_labels: whether a target belongs to whole sequences, which must then not be cut.
        is_observed: whether sequences have a start or an end of observation, between which they are whole.

    Raises:
        DataError: there are too few events for training and validation.
    """
    import numpy as np

    from sequifier.preprocess.split import between_sequences, check_targets, within_sequences

    n_rows = counts.to_numpy().astype(np.int64)
    median = float(np.median(n_rows))
    stays_whole = has_labels or is_observed
    if not stays_whole and n_items >= CATALOGUE and len(counts) >= MANY_SEQUENCES and median >= FEWEST_EVENTS:
        held_out = len(counts) / int(n_rows.sum())
        why = (
            f"the target has {n_items:,} categories, as items of a catalogue: the last event of each sequence is for "
            "test, the one before it for validation (leave-one-out)"
        )
        return SplitChoice("last_events", (1 - 2 * held_out, held_out, held_out), why)
    is_long = median >= WITHIN
    methods: list[SplitMethod] = ["within_sequence", "between_sequence"]
    if stays_whole:
        methods = ["between_sequence"]
    elif not is_long and len(counts) >= WITHIN:
        methods.reverse()
    for ratios in ((0.8, 0.1, 0.1), (0.8, 0.2), (0.5, 0.5)):
        for method in methods:
            if method == "between_sequence":
                if len(counts) < len(ratios):
                    continue
                # The split depends on the names of sequences; a typical one shows whether there are enough.
                few = n_rows[:10_000]
                bounds = between_sequences(range(len(few)), few, ratios, 1010)
                context, why = 0, f"most sequences are shorter than {WITHIN} events, so each split has whole sequences"
                if is_observed:
                    why = "sequences are observed from their start to their end, so each split has whole sequences"
                if has_labels:
                    why = "a target has one value for each sequence, so each split has whole sequences"
            else:
                bounds = within_sequences(n_rows, ratios)
                context, why = 512, "each sequence is split in time: its last events are for validation and test"
            try:
                check_targets(bounds, context)
            except DataError:
                continue
            return SplitChoice(method, ratios, why)
    raise DataError(
        f"the table has {n_rows.sum():,} events in {len(n_rows):,} sequences: too few for training and validation",
        fix="give a table with more events",
    )


def split_in_time(split: SplitChoice, spans: "pl.DataFrame") -> SplitChoice:
    """Split whole sequences in the order of their starts, where most of the training ones end before validation starts.

    Args:
        split: a split of whole sequences.
        spans: columns start and end (instants), and n (number of events); a row for each sequence.
    """
    import numpy as np

    from sequifier.preprocess.split import check_targets, sequences_in_order

    starts, ends, n_rows = (spans.sort("start", "end")[name].to_numpy() for name in ("start", "end", "n"))
    bounds = sequences_in_order(np.arange(len(n_rows)), n_rows, split.ratios)
    trains = bounds[1] > 0
    is_cut = trains & (ends >= starts[~trains].min())
    try:
        check_targets(np.where(is_cut, 0, bounds), 0)  # training sequences that end earlier must be enough
    except DataError:
        return split
    if is_cut.sum() > MOST_CUT * trains.sum():
        return split
    why = f"{split.why}, the latest to validation and test; training sequences are cut where validation starts"
    return replace(split, by_start=True, why=why)


def choose_seq_length(counts: "pl.Series", split: SplitChoice) -> int:
    """Return the longest window that the training part of a long sequence fills, with its target.

    Long is the length that nine sequences in ten do not exceed. The window is not longer than that: its first positions
    would be trained on few sequences. It is at least 2 where any sequence has three events: attention needs an earlier
    event.
    """
    upper = int(counts.quantile(UPPER, interpolation="lower") or 0)
    training = {"within_sequence": int(upper * split.ratios[0]), "last_events": upper - 2}.get(split.method, upper)
    is_large = int(counts.sum()) * split.ratios[0] >= MANY_WINDOWS * LENGTHS[-1]
    longest = LENGTHS[-1] if is_large else LENGTHS[-2]
    filled = max(length for length in LENGTHS if length == 1 or length <= min(training - 1, longest))
    return max(filled, 2) if (counts > 2).any() else filled


def choose_stride(counts: "pl.Series", seq_length: int, split: SplitChoice) -> int:
    """Return the step between training windows: seq_length where that gives enough windows, less otherwise."""
    stride = seq_length
    while stride >= 8 and (n := n_windows(counts, seq_length, stride, split)) < MANY_WINDOWS:
        if n_windows(counts, seq_length, stride // 2, split) < 1.5 * n:
            return stride  # most sequences fit in one window
        stride //= 2
    return stride


def n_windows(counts: "pl.Series", seq_length: int, stride: int, split: SplitChoice) -> int:
    """Return the approximate number of training windows."""
    within = split.method != "between_sequence"
    training = counts * split.ratios[0] if within else counts
    windows = int((((training - seq_length - 1) / stride).ceil().clip(0) + 1).sum())
    return windows if within else int(windows * split.ratios[0])
