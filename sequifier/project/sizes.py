"""How a table is split and how large the models of its first search are, from the number and length of its sequences.

Rules of thumb, chosen so that a first search of a table of moderate size takes minutes on two processor cores. They are
written into configs that the user can change, so they only have to be a good start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sequifier.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128)
"""Window lengths to choose from."""

MANY_WINDOWS = 1000
"""Windows of 128 events from which on they are taken; otherwise 64 at most. Fewer windows overlap in training."""

WITHIN = 20
"""Events of a typical sequence from which each is cut by position; shorter ones go to a split as a whole."""

RUNS = 12
FLOPS = 30e9
"""What two processor cores were measured to do in training, in operations per second: 25 to 55 thousand million."""

SEARCH_SECONDS = 480
"""Aim for the training time of all runs together."""

SplitMethod = Literal["within_sequence", "between_sequence"]


@dataclass(frozen=True)
class SplitChoice:
    """How events are shared out to training, validation and test."""

    method: SplitMethod
    ratios: tuple[float, ...]
    why: str


@dataclass(frozen=True)
class Sizes:
    """What is tried, linked by index as in a search config.

    Attributes:
        dim_model: widths.
        n_head: for each width.
        epochs: for each of the two learning rates.
        minutes: rough time of the whole search on two cores.
    """

    dim_model: tuple[int, ...]
    n_head: tuple[int, ...]
    num_layers: tuple[int, ...]
    learning_rate: tuple[float, ...]
    epochs: tuple[int, int]
    dropout: tuple[float, ...]
    batch_size: int
    minutes: float


def choose_split(counts: "pl.Series") -> SplitChoice:
    """By position inside each sequence where they are long enough, by whole sequences where there are enough of them.

    Args:
        counts: events of each sequence.

    Raises:
        DataError: too few events to train on some and validate on others.
    """
    import numpy as np

    from sequifier.preprocess.split import between_sequences, check_targets, within_sequences

    n_rows = counts.to_numpy().astype(np.int64)
    is_long = float(counts.median() or 0) >= WITHIN  # type: ignore[arg-type]
    methods: list[SplitMethod] = ["within_sequence", "between_sequence"]
    if not is_long and len(counts) >= WITHIN:
        methods.reverse()
    for ratios in ((0.8, 0.1, 0.1), (0.8, 0.2), (0.5, 0.5)):
        for method in methods:
            if method == "between_sequence":
                if len(counts) < len(ratios):
                    continue
                # Which sequences are drawn depends on their names; a typical draw tells whether there are enough.
                few = n_rows[:10_000]
                bounds = between_sequences(range(len(few)), few, ratios, 1010)
                context, why = 0, f"most sequences are shorter than {WITHIN} events: each split gets whole sequences"
            else:
                bounds = within_sequences(n_rows, ratios)
                context, why = 512, "each sequence is cut in time: its last events are for validation and test"
            try:
                check_targets(bounds, context)
            except DataError:
                continue
            return SplitChoice(method, ratios, why)
    raise DataError(
        f"the table has {n_rows.sum():,} events in {len(n_rows):,} sequences: too few to train on some and to validate "
        "on others",
        fix="bring more events",
    )


def choose_seq_length(counts: "pl.Series", split: SplitChoice) -> int:
    """The longest window that the training part of at least half of the sequences fills, a target after it included.

    Two events at least where any sequence has three: with one there would be nothing to attend to.
    """
    median = int(counts.quantile(0.5, interpolation="lower") or 0)
    training = int(median * split.ratios[0]) if split.method == "within_sequence" else median
    is_large = int(counts.sum()) * split.ratios[0] >= MANY_WINDOWS * LENGTHS[-1]
    longest = LENGTHS[-1] if is_large else LENGTHS[-2]
    filled = max(length for length in LENGTHS if length == 1 or length <= min(training - 1, longest))
    return max(filled, 2) if (counts > 2).any() else filled


def choose_stride(counts: "pl.Series", seq_length: int, split: SplitChoice) -> int:
    """How far training windows advance: seq_length where that gives enough windows, less otherwise."""
    stride = seq_length
    while stride >= 8 and (n := n_windows(counts, seq_length, stride, split)) < MANY_WINDOWS:
        if n_windows(counts, seq_length, stride // 2, split) < 1.5 * n:
            return stride  # most sequences are no longer than a window
        stride //= 2
    return stride


def n_windows(counts: "pl.Series", seq_length: int, stride: int, split: SplitChoice) -> int:
    """Training windows, about."""
    within = split.method == "within_sequence"
    training = counts * split.ratios[0] if within else counts
    windows = int((((training - seq_length - 1) / stride).ceil().clip(0) + 1).sum())
    return windows if within else int(windows * split.ratios[0])


def choose_sizes(counts: "pl.Series", seq_length: int, stride: int, split: SplitChoice, n_outputs: int) -> Sizes:
    """Widths by the number of events, the batch by the number of windows, epochs by the time they take.

    Args:
        counts: events of each sequence.
        seq_length: of the windows.
        stride: by which they advance.
        split: for the training share.
        n_outputs: numbers that a prediction has: the classes of each categorical target, one for each real one.
    """
    events = int(counts.sum()) * split.ratios[0]
    if events < 5_000:
        widths, heads, layers, dropout = (16, 32, 64), (2, 2, 4), (1, 2), (0.0, 0.2)
    elif events < 5_000_000:
        widths, heads, layers, dropout = (32, 64, 128), (2, 4, 8), (1, 2), (0.0, 0.1)
    else:
        widths, heads, layers, dropout = (64, 128, 256), (4, 8, 8), (2, 3), (0.0, 0.1)
    windows = n_windows(counts, seq_length, stride, split)
    batch_size = next((size for size in (128, 64, 32, 16) if windows >= 60 * size), 8)
    # 6 operations for each weight and event, and a fifth more for validation; 16 w^2 weights in a block (swiglu).
    weights = sum(depth * 16 * w * w + w * n_outputs for w in widths for depth in layers) / len(widths) / len(layers)
    seconds = 1.2 * 6 * weights * windows * seq_length / FLOPS + 0.006 * windows / batch_size
    affordable = SEARCH_SECONDS / RUNS / seconds
    longer = next((epochs for epochs in (20, 16, 12, 10, 8, 6, 4, 3, 2) if epochs <= 1.33 * affordable), 2)
    epochs = (max(longer // 2, 1), longer)
    minutes = RUNS * seconds * sum(epochs) / 2 / 60
    return Sizes(widths, heads, layers, (0.003, 0.001), epochs, dropout, batch_size, minutes)


def middle(values: Sequence[int]) -> int:
    """The one in the middle, the larger of two."""
    return values[len(values) // 2]
