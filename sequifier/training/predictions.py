"""A model's predictions, compared with the truth as the metrics need it.

Shapes: M target positions, K known classes, P parameters of a distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.artifacts.transforms import Scale
from sequifier.metrics.predictions import ClassPredictions, Predictions, ValuePredictions, distribution_predictions
from sequifier.model.device import in_double, sums_device
from sequifier.model.distributions.forms import MIDDLE
from sequifier.training.losses import DistributionLoss, split_open

_LOGITS_AT_A_TIME = {"cpu": 1 << 18}
"""Logits looked at together, by device: on a CPU few enough that what is made of them stays in the cache. 256 positions
of 100,000 classes took 40 ms instead of 178 on 2 cores; elsewhere it is memory that this bounds."""
_ELSEWHERE = 1 << 26


@dataclass(frozen=True)
class CategoricalScores:
    """How well each position of a categorical target is predicted, found in one pass over the logits.

    Attributes:
        n_classes: K.
        truth: (M,) index of the true class, 0 to K - 1.
        log_loss: (M,) nats; what `F.cross_entropy` gives, bit for bit.
        predicted: (M,) index of the class with the largest logit.
        confidence: (M,) its probability.
        rank: (M,) number of other classes with a logit at least as large as the true one's. So ties count against the
            truth, because a model with equal logits has learned nothing.
    """

    n_classes: int
    truth: Tensor
    log_loss: Tensor
    predicted: Tensor
    confidence: Tensor
    rank: Tensor

    @classmethod
    def of(cls, logits: Tensor, target: Tensor) -> "CategoricalScores":
        """Compare logits (M, K) of classes 1 to K with the true class ids (M,), 1 to K."""
        n_classes = logits.shape[1]
        truth = target.long() - 1
        rows = max(1, _LOGITS_AT_A_TIME.get(logits.device.type, _ELSEWHERE) // n_classes)
        parts = [_compared(logits[i : i + rows], truth[i : i + rows]) for i in range(0, max(len(truth), 1), rows)]
        columns = parts[0] if len(parts) == 1 else [torch.cat(column) for column in zip(*parts, strict=True)]
        return cls(n_classes, truth, *columns)

    def predictions(self, loss: Tensor | None = None) -> ClassPredictions:
        """The same as the metrics take it, on `sums_device`; `loss` is the criterion at each position, (M,)."""
        rank = in_double(self.rank)
        truth, predicted = (each.to(sums_device(each.device)) for each in (self.truth, self.predicted))
        return ClassPredictions(
            self.n_classes,
            truth,
            predicted,
            hit=in_double(rank == 0),
            log_loss=in_double(self.log_loss),
            rank=rank,
            confidence=in_double(self.confidence),
            loss=None if loss is None else in_double(loss),
        )


def value_predictions(
    value: Tensor, target: Tensor, loss: Tensor, scale: Scale, *, standardised: bool = False
) -> ValuePredictions:
    """Predictions of a real target, its truth and the criterion, (M,) each, as the metrics take them.

    With `standardised` the metrics of standardised errors are among them.
    """
    value, target = in_double(value), in_double(target)
    error = value - target if standardised else None
    return ValuePredictions(scale.error(value, target), in_double(loss), standardised=error)


def predictions_of_distribution(
    criterion: DistributionLoss,
    parameters: Tensor,
    target: Tensor,
    scale: Scale,
    known: Tensor | None = None,
    *,
    standardised: bool = False,
) -> ValuePredictions:
    """Predictions of a real target with a distribution, (M, P), and its truth; else as `value_predictions`."""
    distribution = criterion.distribution
    loss = in_double(criterion.per_position(parameters, target, known))
    quantiles, mean = in_double(distribution.quantiles(parameters, scale)), in_double(parameters)
    mean = distribution.form.mean(mean, scale.of_rows)
    return compared(criterion, loss, quantiles, mean, target, scale, known, standardised=standardised)


def compared(
    criterion: DistributionLoss,
    loss: Tensor,
    quantiles: Tensor,
    mean: Tensor,
    target: Tensor,
    scale: Scale,
    known: Tensor | None = None,
    *,
    standardised: bool = False,
) -> ValuePredictions:
    """Compare a distribution with the truth.

    Args:
        criterion: of the target.
        loss: (M,) float64.
        quantiles: standardised, (M, Q) float64.
        mean: in original units, (M,) float64.
        target: true values as `Batch.targets` has them.
        scale: of the target, at these positions.
        known: which of them are known.
        standardised: as of `value_predictions`.
    """
    target, is_open = split_open(target)
    truth = in_double(target if known is None else target.where(known, 0))
    found = distribution_predictions(
        scale.of_rows.error(quantiles, truth[:, None]),
        (mean - scale.original(truth)) / scale.error_unit,
        loss=loss,
        standardised=quantiles[:, MIDDLE] - truth if standardised else None,
        nll=loss if criterion.distribution.has_density else None,
    )
    if is_open is None:
        return found
    ends = in_double(is_open)
    return replace(found, scored=ends == 0, likelihood=loss, expected_events=ends * criterion.events_per_sequence)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Join the predictions of consecutive positions of one target."""
    first: Any = parts[0]
    if len(parts) > 1:
        columns = {
            name: [vars(part)[name] for part in parts]
            for name, of_first in vars(first).items()
            if isinstance(of_first, Tensor)
        }
        first = replace(first, **{name: torch.cat(column) for name, column in columns.items()})
    joined_parts: Predictions = first
    return joined_parts


def _compared(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log_loss, predicted, confidence and rank of some positions."""
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    log_probability = F.log_softmax(logits, dim=1)
    own = logits.gather(1, truth[:, None])
    # As numbers: torch sums booleans one at a time. Exact up to 2^24 classes.
    n_ahead = torch.ge(logits, own, out=torch.empty_like(logits)).sum(dim=1)
    # numpy takes an eighth of the time, and the first of equal classes as torch does.
    predicted = (
        torch.from_numpy(logits.numpy().argmax(axis=1)) if logits.device.type == "cpu" else logits.max(dim=1).indices
    )
    log_loss = -log_probability.gather(1, truth[:, None])[:, 0]
    confidence = log_probability.gather(1, predicted[:, None])[:, 0].exp()
    return log_loss, predicted, confidence, n_ahead.to(torch.int32) - 1
