"""Baselines of likelihoods of the time to the next event: a constant rate, rates by category and by time of day."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION, is_known
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.time_rules import DerivedColumn
from sequifier.artifacts.transforms import Scale
from sequifier.config.catalogue.distributions import LEVELS
from sequifier.metrics.predictions import ValuePredictions
from sequifier.training.baselines.history import Column, Found, Rows, Targets, TrainingData, read, read_truth
from sequifier.training.baselines.rates import Floats, Rate, constant_rate, daily_rate, rates_by_category
from sequifier.training.losses import DistributionLoss
from sequifier.training.predictions import compared

CONSTANT, CATEGORY, TIME_OF_DAY = "constant rate", "exponential by last category", "rate by time of day"
KNOWN_CATEGORY = "exponential by known category"
NAMES = (CONSTANT, CATEGORY, KNOWN_CATEGORY, TIME_OF_DAY)
_FITTED = 1 << 18
"""Training targets from which rates are computed."""


@dataclass(frozen=True)
class Clock:
    """How the time of day of an event follows from an input.

    Attributes:
        column: the seconds since the start of observation.
        scale: of this column.
        start: seconds of this start, the same for all sequences.
    """

    column: str
    scale: Scale
    start: float


def clock_of(metadata: Metadata, inputs: Sequence[str]) -> Clock | None:
    """Return the clock that a model can read, if there is one: from positions that are numbers of some unit."""
    column, time = DerivedColumn(POSITION, "since_start").name, metadata.sequifier
    start = None if time.observation is None else time.observation.start
    if column not in inputs or start is None or isinstance(start, str) or time.time_unit == "none":
        return None
    return Clock(column, metadata.scale(column), float(start) * time.seconds_per_position)


class RateBaselines:
    """The baselines of one target.

    Args:
        train: the training data.
        target: the target column.
        still_open: the column with its values that are still open; None: there are none.
        training: the training targets.
        criterion: of the target.
        clock: of the model; None: it cannot know the time of day.
    """

    def __init__(
        self,
        train: TrainingData,
        target: str,
        still_open: str | None,
        training: Targets,
        criterion: DistributionLoss,
        clock: Clock | None,
    ) -> None:
        self._criterion, self._clock = criterion, clock
        training = training[:: max(len(training) // _FITTED, 1)]
        truth = read_truth(train.columns, target, still_open, training.truth_rows)
        known = np.flatnonzero(is_known(truth if truth.ndim == 1 else truth[:, 0]))
        last, at_step = training.last_rows[known], training.truth_rows[known]
        value, is_open = self._times(truth[known])
        self._constant = constant_rate(value, is_open)
        self._by_class: dict[str, tuple[str, Floats]] = {}
        for what, names, rows in (
            (CATEGORY, train.categorical, last),
            (KNOWN_CATEGORY, train.known_categorical, at_step),
        ):
            losses = {
                name: rates_by_category(read(train.columns[name], rows), value, is_open, train.n_classes[name])
                for name in names
            }
            if losses:
                best = min(losses, key=lambda name: losses[name][1])
                self._by_class[what] = best, losses[best][0]
        self._daily = None
        if clock is not None and target == DerivedColumn(POSITION, "gap").name:
            self._daily = daily_rate(self._start(train.columns, last), value, is_open)

    def scored(self, columns: Mapping[str, Column], targets: Targets, truth: torch.Tensor) -> Iterator[Found]:
        """Yield the name and predictions of each baseline at some targets."""
        last = targets.last_rows
        zero = np.zeros(len(last))
        yield CONSTANT, self._compared(self._constant, zero, zero + 1, truth)
        for what, (name, rates) in self._by_class.items():
            ids = read(columns[name], targets.truth_rows if what == KNOWN_CATEGORY else last)
            # An exponential distribution is one of rate 1, of a time that passes faster.
            yield what, self._compared(_UNIT, zero, rates[ids], truth)
        if self._daily is not None:
            yield TIME_OF_DAY, self._compared(self._daily, self._start(columns, last), zero + 1, truth)

    def _compared(self, rate: Rate, start: Floats, speed: Floats, truth: torch.Tensor) -> ValuePredictions:
        scale, (value, is_open) = self._criterion.scale, self._times(truth.numpy())
        loss = rate.loss(start, value * speed, is_open, self._criterion.resolution * speed)
        loss -= np.where(is_open | (value < self._criterion.resolution / 2), 0, np.log(speed * scale.unit))
        quantiles = scale.standardised(rate.quantiles(start, np.array(LEVELS)) / speed[:, None])
        mean = rate.mean(start) / speed / scale.unit
        found = [torch.from_numpy(each) for each in (loss, quantiles, mean)]
        return compared(self._criterion, found[0], found[1], found[2], truth, scale)

    def _times(self, truth: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_]]:
        """Return true values in seconds, and which of them are still open, (M,) each."""
        z, is_open = (truth, np.zeros(len(truth), bool)) if truth.ndim == 1 else (truth[:, 0], truth[:, 1] > 0)
        scale = self._criterion.scale
        return np.maximum(scale.original(z.astype(np.float64)) * scale.unit, 0), is_open

    def _start(self, columns: Mapping[str, Column], last: Rows) -> Floats:
        """Return the times of the last events in seconds, (M,)."""
        assert self._clock is not None
        scale, since = self._clock.scale, read(columns[self._clock.column], last)
        found: Floats = self._clock.start + scale.original(since.astype(np.float64)) * scale.unit
        return found


_UNIT = Rate(np.ones(1), 1.0)
