"""How good predictions are, in one place for training, inference and scores.

Everything is a sum over target positions, in float64, so that results do not depend on how positions were batched.
Where a device has no float64, sums are on the CPU.
Shapes: M target positions, K known classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.model.device import in_double, sums_device

CALIBRATION_BINS = 15
"""Bins of equal width for the calibration error; the number that Guo et al. 2017 use."""
_LOGITS_AT_A_TIME = {"cpu": 1 << 18}
"""Logits looked at together, by device: on a CPU few enough that what is made of them stays in the cache. 256 positions
of 100,000 classes took 40 ms instead of 178 on 2 cores; elsewhere it is memory that this bounds."""
_ELSEWHERE = 1 << 26


@dataclass(frozen=True)
class CategoricalScores:
    """How well each position of a categorical target is predicted, found in one walk over the logits.

    Attributes:
        n_classes: K.
        truth: (M,) index of the true class, 0 to K-1.
        log_loss: (M,) nats; what `F.cross_entropy` gives, bit for bit.
        predicted: (M,) index of the class with the largest logit.
        confidence: (M,) its probability.
        rank: (M,) classes with a logit at least as large as the true one's, itself left out. So ties count against
            the truth: a model that gives all classes the same logit knows nothing.
    """

    n_classes: int
    truth: Tensor
    log_loss: Tensor
    predicted: Tensor
    confidence: Tensor
    rank: Tensor

    @classmethod
    def of(cls, logits: Tensor, target: Tensor) -> "CategoricalScores":
        """Look at logits (M, K) of classes 1..K, and at the true class ids (M,), 1..K."""
        n_classes = logits.shape[1]
        truth = target.long() - 1
        rows = max(1, _LOGITS_AT_A_TIME.get(logits.device.type, _ELSEWHERE) // n_classes)
        parts = [_looked_at(logits[i : i + rows], truth[i : i + rows]) for i in range(0, max(len(truth), 1), rows)]
        columns = parts[0] if len(parts) == 1 else [torch.cat(column) for column in zip(*parts, strict=True)]
        return cls(n_classes, truth, *columns)

    def at_positions(self) -> "dict[str, AtPositions]":
        """What each metric is made of: values at the positions, some summed by class (K) or by bin of confidence."""
        rank, truth, predicted = (each.to(sums_device(each.device)) for each in (self.rank, self.truth, self.predicted))
        hit = (rank == 0).double()
        one = torch.ones_like(hit)
        confidence = in_double(self.confidence)
        # Bin b holds the confidences of (b / bins, (b + 1) / bins].
        bins = (confidence * CALIBRATION_BINS).ceil().long().sub(1).clamp(0, CALIBRATION_BINS - 1)
        return {
            "log_loss": AtPositions(in_double(self.log_loss)),
            "accuracy": AtPositions(hit),
            "top5": AtPositions((rank < 5).double()),
            "mrr": AtPositions((rank + 1).double().reciprocal()),
            "class_hits": AtPositions(hit, truth, self.n_classes),
            "class_predicted": AtPositions(one, predicted, self.n_classes),
            "class_actual": AtPositions(one, truth, self.n_classes),
            "bin_surplus": AtPositions(confidence - hit, bins, CALIBRATION_BINS),
        }

    def sums(self) -> dict[str, Tensor]:
        """Sums over the positions, float64: scalars, and those of each class (K,) and each bin of confidence."""
        return {name: found.sum() for name, found in self.at_positions().items()}


@dataclass(frozen=True)
class AtPositions:
    """Values at target positions that are summed, all together or by cell.

    Attributes:
        value: (M,) float64, on `sums_device` of the device that predicted.
        cell: (M,) the class or bin of each; None where there is one sum.
        n_cells: how many there are.
    """

    value: Tensor
    cell: Tensor | None = None
    n_cells: int = 1

    def sum(self) -> Tensor:
        """A scalar, or (n_cells,)."""
        return self.value.sum() if self.cell is None else _sum_by(self.cell, self.value, self.n_cells)

    def by_unit(self, unit: Tensor, n_units: int) -> Tensor:
        """The same sums for each unit, (n_units,) or (n_units, n_cells); `unit` is (M,)."""
        if self.cell is None:
            return _sum_by(unit, self.value, n_units)
        return _sum_by(unit * self.n_cells + self.cell, self.value, n_units * self.n_cells).view(n_units, -1)


def _looked_at(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log_loss, predicted, confidence and rank of some positions."""
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    log_probability = F.log_softmax(logits, dim=1)
    predicted = logits.max(dim=1).indices
    rank = (logits >= logits.gather(1, truth[:, None])).sum(dim=1, dtype=torch.int32) - 1
    log_loss = -log_probability.gather(1, truth[:, None])[:, 0]
    return log_loss, predicted, log_probability.gather(1, predicted[:, None])[:, 0].exp(), rank


def _sum_by(index: Tensor, value: Tensor, size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.float64, device=index.device).index_add_(0, index, value)


def categorical_sums(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Sums over positions for one categorical target.

    Args:
        logits: (M, K) of classes 1..K.
        target: (M,) class ids 1..K.

    Returns:
        What `means` makes metrics of, see `CategoricalScores.sums`.
    """
    return CategoricalScores.of(logits, target).sums()


def real_errors(value: Tensor, target: Tensor) -> dict[str, AtPositions]:
    """Absolute and squared errors of one real target, both (M,) standardised."""
    error = in_double(value) - in_double(target)
    return {"mae": AtPositions(error.abs()), "rmse": AtPositions(error.square())}


def real_sums(value: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Their sums over the positions, float64."""
    return {name: found.sum() for name, found in real_errors(value, target).items()}


def means(sums: Mapping[str, Tensor], count: int, *, std: float = 1.0) -> dict[str, float]:
    """Metrics from sums over `count` positions.

    Args:
        sums: as `categorical_sums` and `real_sums` return them; other scalars become their means.
        count: positions.
        std: of a real target: brings mae and rmse back to original units.

    Returns:
        The mean of each scalar, and for a categorical target
        macro_f1: the F1 score of each class, averaged over the classes that occur in truth or predictions (as
            scikit-learn's `f1_score(average="macro", zero_division=0)`);
        mrr: mean reciprocal rank of the true class;
        calibration_error: expected calibration error, Guo et al. 2017, section 3,
            https://arxiv.org/abs/1706.04599: how far confidence is from the share of hits, averaged over the bins.
    """
    values = {name: float(total) / count for name, total in sums.items() if total.dim() == 0}
    if "rmse" in values:
        values["rmse"] = values["rmse"] ** 0.5 * std
    if "mae" in values:
        values["mae"] *= std
    if "class_hits" in sums:
        both = sums["class_predicted"] + sums["class_actual"]
        values["macro_f1"] = float((2 * sums["class_hits"] / both)[both > 0].mean())
    if "bin_surplus" in sums:
        values["calibration_error"] = float(sums["bin_surplus"].abs().sum()) / count
    return values


MADE_OF: Mapping[str, tuple[str, ...]] = {
    "rmse": ("rmse",),
    "macro_f1": ("class_hits", "class_predicted", "class_actual"),
    "calibration_error": ("bin_surplus",),
}
"""Metrics that are not means over positions -> the sums that `means` makes them of."""


def skill(value: float | None, baselines: Sequence[float], *, maximize: bool) -> float | None:
    """The share of the best baseline's value by which a result is better; negative when it is worse.

    None without a result or a baseline, or for a baseline of 0, of which there is no share.
    """
    best = (max if maximize else min)(baselines, default=0.0)
    if value is None or best == 0:
        return None
    return (value - best if maximize else best - value) / abs(best)
