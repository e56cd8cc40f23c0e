"""Metrics of predictions: one row of `METRICS` each, for training, inference and sampler searches alike.

A metric is made of sums over target positions in float64, so it does not depend on how positions were batched. The
definitions use what NumPy arrays and torch tensors have in common: training takes the sums on its device, inference
without loading torch. To add a metric, declare its name in `config/catalogue/metric_names.py` (kind of target,
direction) and write its row here.
Shapes: M target positions, K known classes, Q levels of quantiles, U sampling units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np

from sequifier.config.catalogue.distributions import LEVELS, MEDIAN, Q10, Q90
from sequifier.config.catalogue.metric_names import (
    CATEGORICAL_METRICS,
    LABEL_METRICS,
    OBSERVED_METRICS,
    STANDARDISED_METRICS,
    ranking_metric,
    ranking_metrics,
)

Array = Any  # of NumPy or of torch
_T = TypeVar("_T")

SCORED, RANKED = "scored", "ranked"
"""Sums that are the numbers of positions that count in metrics, and in those of `ranking`."""

CALIBRATION_BINS = 15
"""Bins of equal width for the calibration error; the number that Guo et al. 2017 use."""


@dataclass(frozen=True)
class ClassPredictions:
    """Predictions of a categorical target beside the true classes, (M,) each: classes are integers, the rest float64.

    Attributes:
        n_classes: K.
        truth: true class, 0 to K - 1.
        predicted: predicted class, 0 to K - 1.
        hit: 1 where the prediction counts as correct, else 0.
        log_loss: of the true class, in nats.
        rank: number of other classes with a logit at least as large as the true one's; None where classes were drawn.
        confidence: probability of the predicted class; None where classes were drawn.
        loss: the training criterion; None outside training.
        place: number of other candidates with a logit at least as large as the true one's; None without `ranking`.
        cutoffs: ranks up to which the true class counts.
        probabilities: (M, K) of all classes; None unless the target belongs to the whole sequence.
        scored: whether a position counts in metrics; None: all do. The loss is of all.
        ranked: whether it counts in those of `ranking`; None: as `scored`.
    """

    n_classes: int
    truth: Array
    predicted: Array
    hit: Array
    log_loss: Array
    rank: Array | None = None
    confidence: Array | None = None
    loss: Array | None = None
    place: Array | None = None
    cutoffs: tuple[int, ...] = ()
    probabilities: Array | None = None
    scored: Array | None = None
    ranked: Array | None = None

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics that they may have."""
        if self.probabilities is not None:
            return LABEL_METRICS
        return (*CATEGORICAL_METRICS, *ranking_metrics(self.cutoffs))


@dataclass(frozen=True)
class ValuePredictions:
    """Predictions of a real target, (M,) float64.

    Attributes:
        error: predicted less true value, in some unit: standard deviations where the target has no transform. Of a
            distribution it is that of the median.
        loss: the training criterion; None outside training.
        scored: whether a position counts in metrics; None: all do.
        standardised: the error in standard deviations of the training values, after a transform; None without a
            horizon.
        mean_error: of the mean of a distribution, in the unit of `error`; None without a distribution.
        crps: the continuous ranked probability score without the tails, in the same unit; None without a distribution.
        covered: whether the true value is in the interval of 80 %; None without a distribution.
        level: number of quantiles at LEVELS below the true value; None without a distribution.
        nll: negative logarithm of the density of the original value in its unit; None without a density.
        naive: mean absolute error of the seasonal naive forecast in the training events of the sequence, in the unit of
            `error`; None where they are not known.
        likelihood: `nll`, and where the value is still open, that of the probability of a larger one; None where no
            value is open.
        expected_events: number of events of a training sequence where the value is open, else 0; None as before.
    """

    error: Array
    loss: Array | None = None
    scored: Array | None = None
    standardised: Array | None = None
    mean_error: Array | None = None
    crps: Array | None = None
    covered: Array | None = None
    level: Array | None = None
    nll: Array | None = None
    naive: Array | None = None
    likelihood: Array | None = None
    expected_events: Array | None = None

    metrics: ClassVar = (*OBSERVED_METRICS, *STANDARDISED_METRICS)


def distribution_predictions(
    errors: Array,
    mean_error: Array,
    *,
    loss: Array | None = None,
    standardised: Array | None = None,
    nll: Array | None = None,
) -> ValuePredictions:
    """Return the predictions of a target with a distribution.

    The continuous ranked probability score is twice the pinball loss, integrated over the levels (Gneiting and Raftery
    2007, https://doi.org/10.1198/016214506000001437, section 4.2); here it is averaged over LEVELS, without the tails.

    Args:
        errors: quantiles at LEVELS less true values, (M, Q) float64.
        mean_error, loss, standardised, nll: as in `ValuePredictions`.
    """
    crps = 0.0 * mean_error
    for place, level in enumerate(LEVELS):
        error = errors[:, place]
        crps = crps + abs(error) + (1 - 2 * level) * error
    return ValuePredictions(
        errors[:, MEDIAN],
        loss,
        standardised=standardised,
        mean_error=mean_error,
        crps=crps / len(LEVELS),
        covered=_in_double((errors[:, Q10] <= 0) & (errors[:, Q90] >= 0)),
        level=(errors < 0).sum(1),
        nll=nll,
    )


Predictions = ClassPredictions | ValuePredictions
Of = Callable[[Any], Array]
"""What to read from `ClassPredictions` or `ValuePredictions`."""


@dataclass(frozen=True)
class Sum:
    """A sum that a metric is made of.

    Attributes:
        value: summed over the positions, (M,).
        cell: class or bin of each position, (M,), where each has a sum of its own.
        n_cells: number of classes or bins.
    """

    value: Of
    cell: Of | None = None
    n_cells: Callable[[Any], int] = lambda found: 1


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        sums: name -> a sum that it is made of.
        finish: (sums, number of positions) -> the metric. None: the mean of its one sum.
        needs: the field of the predictions that it cannot do without.
        in_units: it is made of errors, and multiplied by their unit.
        counts_unknown: an unknown class adds 0 to its sum, but counts as a position.
    """

    sums: Mapping[str, Sum]
    finish: Callable[[Mapping[str, Array], int], float] | None = None
    needs: str = ""
    in_units: bool = False
    counts_unknown: bool = False

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean over positions, and so has a value at each of them."""
        return self.finish is None

    def counts(self, parts: Mapping[str, _T]) -> _T | None:
        """Return which positions count in it, as a part or a sum of `at_positions`; None: all."""
        if "loss" in self.sums or self.needs == "likelihood":
            return None
        return parts.get(RANKED if self.needs == "place" and RANKED in parts else SCORED)

    def of(self, sums: Mapping[str, Array], count: int, *, unit: float = 1.0) -> float:
        """Return the metric from its sums over `count` positions; `unit` is that of the errors of a real target."""
        if self.finish is None:
            (name,) = self.sums
            value = float(sums[name]) / count
        else:
            value = self.finish(sums, count)
        return value * unit if self.in_units else value


def _one(found: ClassPredictions) -> Array:
    return 0 * found.hit + 1


def _n_classes(found: ClassPredictions) -> int:
    return found.n_classes


def _bin_of_confidence(found: ClassPredictions) -> Array:
    """Bin b holds the confidences of (b / bins, (b + 1) / bins]."""
    ceiling = -(-found.confidence * CALIBRATION_BINS // 1)  # type: ignore[operator]
    bins = (ceiling - 1).clip(0, CALIBRATION_BINS - 1)
    # A model that diverged has no confidence, NaN. It needs a bin all the same, whose sum is NaN then.
    return np.nan_to_num(bins) if isinstance(bins, np.ndarray) else bins.nan_to_num()


def _brier(found: ClassPredictions) -> Array:
    """The squared errors of the probabilities, summed over the classes; halved for two classes, which err alike.

    As scikit-learn's `brier_score_loss`.
    """
    squares = (_in_double(found.probabilities) ** 2).sum(1)
    return (squares - 2 * _exp(-found.log_loss) + 1) / (2 if found.n_classes == 2 else 1)


def _macro_f1(sums: Mapping[str, Array], count: int) -> float:
    """The F1 score of each class, averaged over the classes that occur in truth or predictions.

    As scikit-learn's `f1_score(average="macro", zero_division=0)`.
    """
    both = sums["class_predicted"] + sums["class_actual"]
    occurs = both > 0
    return float((2 * sums["class_hits"][occurs] / both[occurs]).mean())


def _calibration_error(sums: Mapping[str, Array], count: int) -> float:
    """How far confidence is from accuracy, averaged over the bins: the expected calibration error.

    Source: Guo et al. 2017, section 3, https://arxiv.org/abs/1706.04599.
    """
    return float(abs(sums["bin_surplus"]).sum()) / count


def _mean_error(found: ValuePredictions) -> Array:
    return found.error if found.mean_error is None else found.mean_error


def _root_mean(sums: Mapping[str, Array], count: int) -> float:
    squares = max(float(sums["rmse"]), 0.0)  # a jackknife's difference of sums may be rounded to less
    root: float = (squares / count) ** 0.5
    return root


METRICS: Mapping[str, Metric] = {
    "loss": Metric({"loss": Sum(lambda found: found.loss)}, needs="loss"),
    "log_loss": Metric({"log_loss": Sum(lambda found: found.log_loss)}),
    "accuracy": Metric({"accuracy": Sum(lambda found: found.hit)}, counts_unknown=True),
    "top5": Metric({"top5": Sum(lambda found: found.rank < 5)}, needs="rank", counts_unknown=True),
    # Mean reciprocal rank.
    "mrr": Metric({"mrr": Sum(lambda found: 1 / (found.rank + 1))}, needs="rank", counts_unknown=True),
    "macro_f1": Metric(
        {
            "class_hits": Sum(lambda found: found.hit, lambda found: found.truth, _n_classes),
            "class_predicted": Sum(_one, lambda found: found.predicted, _n_classes),
            "class_actual": Sum(_one, lambda found: found.truth, _n_classes),
        },
        _macro_f1,
    ),
    "calibration_error": Metric(
        {
            "bin_surplus": Sum(
                lambda found: found.confidence - found.hit, _bin_of_confidence, lambda found: CALIBRATION_BINS
            )
        },
        _calibration_error,
        needs="confidence",
    ),
    "brier": Metric({"brier": Sum(_brier)}, needs="probabilities"),
    "mae": Metric({"mae": Sum(lambda found: abs(found.error))}, in_units=True),
    "rmse": Metric({"rmse": Sum(lambda found: _mean_error(found) ** 2)}, _root_mean, in_units=True),
    "mae_standardised": Metric({"mae_standardised": Sum(lambda found: abs(found.standardised))}, needs="standardised"),
    "mse_standardised": Metric({"mse_standardised": Sum(lambda found: found.standardised**2)}, needs="standardised"),
    "crps": Metric({"crps": Sum(lambda found: found.crps)}, needs="crps", in_units=True),
    "coverage_80": Metric({"coverage_80": Sum(lambda found: found.covered)}, needs="covered"),
    "nll": Metric({"nll": Sum(lambda found: found.nll)}, needs="nll"),
    # Mean absolute scaled error (Hyndman and Koehler 2006).
    "mase": Metric({"mase": Sum(lambda found: abs(found.error) / found.naive)}, needs="naive"),
    # Of a sequence, which one open value ends, by the events of a training sequence, as in the results of Shchur et al.
    # 2020, https://arxiv.org/abs/2006.12631.
    "nll_per_event": Metric(
        {
            "likelihood": Sum(lambda found: found.likelihood),
            "expected_events": Sum(lambda found: found.expected_events),
        },
        lambda sums, count: float(sums["likelihood"]) / float(sums["expected_events"]),
        needs="likelihood",
    ),
}

_AT: Mapping[str, Callable[[Array, int], Array]] = {
    "hit_rate": lambda place, k: place < k,
    # Normalised discounted cumulative gain of one relevant item (Jarvelin and Kekalainen 2002): the ideal is 1.
    "ndcg": lambda place, k: (place < k) / _log2(place + 2),
    "mrr": lambda place, k: (place < k) / (place + 1),
}
"""The metrics of `ranking` up to rank k."""


@cache
def find_metric(name: str) -> Metric | None:
    """Return the metric of this name, one of `METRICS` or `ndcg_10`; None if there is none."""
    if (ranked := ranking_metric(name)) is None:
        return METRICS.get(name)
    kind, k = ranked
    return Metric({name: Sum(lambda found: _AT[kind](found.place, k))}, needs="place", counts_unknown=True)


@dataclass(frozen=True)
class AtPositions:
    """Values at target positions that are summed, all together or by cell.

    Attributes:
        value: (M,) float64, on `sums_device` of the device that predicted.
        cell: (M,) the class or bin of each; None where there is one sum.
        n_cells: number of cells.
    """

    value: Array
    cell: Array | None = None
    n_cells: int = 1

    def sum(self) -> Array:
        """A scalar, or (n_cells,)."""
        return self.value.sum() if self.cell is None else _sum_by(self.cell, self.value, self.n_cells)

    def only(self, mask: Array) -> "AtPositions":
        """The same with 0 where a mask is False, (M,)."""
        return replace(self, value=_masked(self.value, mask))

    def by_unit(self, unit: Array, n_units: int) -> Array:
        """The same sums for each unit, (n_units,) or (n_units, n_cells); `unit` is (M,)."""
        if self.cell is None:
            return _sum_by(unit, self.value, n_units)
        found = _sum_by(unit * self.n_cells + self.cell, self.value, n_units * self.n_cells)
        return found.reshape(n_units, self.n_cells)


def at_positions(found: Predictions) -> dict[str, AtPositions]:
    """Return the values at each position that the metrics of these predictions sum, by name of the sum."""
    parts, masks = {}, {SCORED: found.scored, RANKED: getattr(found, RANKED, None)}
    masks = {name: _in_double(mask) for name, mask in masks.items() if mask is not None}
    for name in found.metrics:
        metric = find_metric(name)
        if metric is None:  # it is not made of sums: see metrics/ordering.py
            continue
        if not metric.needs or getattr(found, metric.needs) is not None:
            mask = metric.counts(masks)
            for key, each in metric.sums.items():
                cell = None if each.cell is None else each.cell(found)
                value = _in_double(each.value(found))
                parts[key] = AtPositions(value if mask is None else _masked(value, mask), cell, each.n_cells(found))
    return parts | {name: AtPositions(mask) for name, mask in masks.items()}


@dataclass
class Sums:
    """The sums of one target's metrics, fed part by part; they stay on their device, since reading one waits for it.

    Attributes:
        count: positions so far.
        by_name: name -> the sum, a scalar or (n_cells,).
    """

    count: int = 0
    by_name: dict[str, Array] = field(default_factory=dict)

    def add(self, parts: Mapping[str, AtPositions], count: int | None = None) -> None:
        """Add positions, as `at_positions` gives them; `count` is their number where some do not count."""
        self.count += len(next(iter(parts.values())).value) if count is None else count
        for name, part in parts.items():
            self.by_name[name] = self.by_name[name] + part.sum() if name in self.by_name else part.sum()

    def metrics(self, *, unit: float = 1.0, n_unknown: int = 0) -> dict[str, float]:
        """Return every metric that can be made of the sums, none without positions.

        Args:
            unit: of the errors of a real target.
            n_unknown: positions besides, whose class is unknown: misses.
        """
        found = {}
        for name in dict.fromkeys((*METRICS, *self.by_name)):
            metric = find_metric(name)
            if metric is None or not metric.sums.keys() <= self.by_name.keys():
                continue
            counted = metric.counts(self.by_name)
            count = self.count if counted is None else int(counted)
            if count := count + n_unknown * metric.counts_unknown:
                found[name] = metric.of(self.by_name, count, unit=unit)
        return found


def metrics_of(found: Predictions, *, unit: float = 1.0) -> dict[str, float]:
    """Return the metrics of one batch of predictions; `unit` is that of the errors of a real target."""
    sums = Sums()
    sums.add(at_positions(found))
    return sums.metrics(unit=unit)


def _in_double(values: Array) -> Array:
    return values.astype(np.float64, copy=False) if isinstance(values, np.ndarray) else values.double()


def _exp(values: Array) -> Array:
    return np.exp(values) if isinstance(values, np.ndarray) else values.exp()


def _masked(values: Array, mask: Array) -> Array:
    """Return values where the mask is not 0, else 0: what does not count may be infinite."""
    return np.where(mask, values, 0.0) if isinstance(values, np.ndarray) else values.where(mask != 0, 0.0)


def _log2(values: Array) -> Array:
    return np.log2(values) if isinstance(values, np.ndarray) else values.log2()


def _sum_by(cell: Array, values: Array, n_cells: int) -> Array:
    if isinstance(values, np.ndarray):
        return np.bincount(cell.astype(np.int64), weights=values, minlength=n_cells)
    return values.new_zeros(n_cells).index_add_(0, cell.long(), values)
