"""The models of a table's first search: their sizes, and how long each of them trains.

These are rules of thumb, which depend on the table alone, not on the machine: enough optimizer steps for each model to
learn, and as many models as train in ten minutes on two CPU cores. The user can change the values in the
configs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sequifier.project.split_choice import SplitChoice, n_windows

if TYPE_CHECKING:
    import polars as pl

STEPS = 2000
"""Optimizer steps of a model, unless early stopping ends it before."""

FEWEST_STEPS = 1000
"""Optimizer steps of a model whose steps are slow."""

FEWEST_EPOCHS = 5
MOST_EPOCHS = 100

FORECAST_BATCH = 32
"""Windows in a batch of forecasts, whose cost is that of all their events, while each has one origin to learn from."""

STEPS_OF_EPOCH = 100
"""Optimizer steps of an epoch that a batch must leave; otherwise batches are smaller."""

RUNS = (12, 8, 6)
"""Numbers of models; the largest one that is affordable."""

REDUCTION = 3
"""Factor between the rungs at which slow models are compared, and the worse ones end (ASHA)."""

STEPS_OF_RUNG = 400
"""Optimizer steps before the first comparison: earlier ones show how fast a model starts, not how good it becomes."""

FLOPS = 30e9
"""Operations per second of two CPU cores in training; between 25e9 and 55e9 were measured."""

FORECAST_FLOPS = 80e9
"""The same for windows of about a hundred events, whose products are larger; 49e9 per core were measured on ETTh1."""

SEARCH_SECONDS = 600
"""Target for the duration of the search."""

SLOW_MINUTES = 20
"""Duration of a search above which `make` proposes a budget and a part of the table."""


@dataclass(frozen=True)
class Sizes:
    """The values that a search tries, linked by index as in a search config.

    Attributes:
        runs: number of models.
        dim_model: model widths.
        n_head: attention heads of each width.
        num_layers: numbers of layers.
        learning_rate: learning rates.
        epochs: epochs of a model.
        patience: epochs without a better result after which a model stops.
        rung: epochs after which the models are compared for the first time, and the worse ones end; None: all of them
            train to their end.
        dropout: dropout rates.
        batch_size: windows in a batch.
        epochs_of_all: epochs of all models together, if none stops early.
        steps_per_epoch: optimizer steps of an epoch.
        validation_windows: number of windows of a validation.
        minutes: estimated duration of the search on two cores.
    """

    runs: int
    dim_model: tuple[int, ...]
    n_head: tuple[int, ...]
    num_layers: tuple[int, ...]
    learning_rate: tuple[float, ...]
    epochs: int
    patience: int
    rung: int | None
    dropout: tuple[float, ...]
    batch_size: int
    epochs_of_all: int
    steps_per_epoch: int
    validation_windows: int
    minutes: float


def choose_sizes(
    counts: "pl.Series", seq_length: int, stride: int, split: SplitChoice, n_outputs: int, *, is_forecast: bool = False
) -> Sizes:
    """Choose widths by the number of events, the batch size by the number of windows, and epochs by optimizer steps.

    Args:
        counts: number of events of each sequence.
        seq_length: window length.
        stride: step between windows.
        split: the split, for its fraction of training events.
        n_outputs: number of model outputs: the classes of each categorical target, and one for each real target.
        is_forecast: whether each window has one origin, its last event; then windows overlap.
    """
    events = int(counts.sum()) * split.ratios[0]
    if events < 5_000:
        widths, heads, layers, dropout = (16, 32, 64), (2, 2, 4), (1, 2), (0.0, 0.2)
    elif events < 5_000_000:
        widths, heads, layers, dropout = (32, 64, 128), (2, 4, 8), (1, 2), (0.0, 0.1)
    else:
        widths, heads, layers, dropout = (64, 128, 256), (4, 8, 8), (2, 3), (0.0, 0.1)
    windows = n_windows(counts, seq_length, stride, split)
    batch_sizes = (FORECAST_BATCH, 16) if is_forecast else (128, 64, 32, 16)
    batch_size = next((size for size in batch_sizes if windows >= STEPS_OF_EPOCH * size), 8)
    steps = max(-(-windows // batch_size), 1)
    # 6 operations for each weight and event, and a fifth more for validation; 16 w^2 weights in a block (swiglu).
    weights = sum(depth * 16 * w * w + w * n_outputs for w in widths for depth in layers) / len(widths) / len(layers)
    work = windows * seq_length / FORECAST_FLOPS if is_forecast else min(windows * seq_length, events) / FLOPS
    seconds = 1.2 * 6 * weights * work + 0.006 * steps
    runs, rung, epochs = _affordable(seconds, steps)
    return Sizes(
        runs=runs,
        dim_model=widths,
        n_head=heads,
        num_layers=layers,
        learning_rate=(0.003, 0.001),
        epochs=epochs,
        patience=max(3, epochs // 10),
        rung=rung,
        dropout=dropout,
        batch_size=batch_size,
        epochs_of_all=epochs_of_all(runs, rung, epochs),
        steps_per_epoch=steps,
        validation_windows=_validation_windows(counts, 1 if is_forecast else seq_length, split),
        minutes=epochs_of_all(runs, rung, epochs) * seconds / 60,
    )


def _validation_windows(counts: "pl.Series", seq_length: int, split: SplitChoice) -> int:
    if split.method == "last_events":
        return len(counts)
    return int(int(counts.sum()) * split.ratios[1] / max(seq_length // 2, 1)) + 1


def _affordable(seconds: float, steps: int) -> tuple[int, int | None, int]:
    """Return the number of models, the first rung (None: no pruning) and the epochs of the most thorough search.

    The last one, which is taken where none is fast enough, still gives its models enough steps.

    Args:
        seconds: of an epoch of a model.
        steps: optimizer steps of an epoch.
    """
    plans: list[tuple[int, int | None, int]] = []
    for wanted in (STEPS, FEWEST_STEPS):
        epochs = min(max(-(-wanted // steps), FEWEST_EPOCHS), MOST_EPOCHS)
        rung = max(epochs // REDUCTION**2, -(-STEPS_OF_RUNG // steps))
        plans.append((RUNS[0], None, epochs))
        plans += [(runs, rung, epochs) for runs in RUNS]
    return next((plan for plan in plans if epochs_of_all(*plan) * seconds <= SEARCH_SECONDS), plans[-1])


def epochs_of_all(runs: int, rung: int | None, epochs: int) -> int:
    """Return the epochs of all models: at each rung one in REDUCTION goes on, and one model to its end."""
    if rung is None:
        return runs * epochs
    until, left = min(rung, epochs), runs
    total = runs * until
    while until < epochs:
        left, before, until = max(left // REDUCTION, 1), until, min(until * REDUCTION, epochs)
        total += left * (until - before)
    return total


def middle(values: Sequence[int]) -> int:
    """Return the middle value, the larger of two."""
    return values[len(values) // 2]
