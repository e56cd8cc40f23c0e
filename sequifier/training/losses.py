"""The losses that a config may name, and the criterion of a target.

To add a loss, write its row in `LOSSES` and generate `torch_names.json` anew, in which a config finds its options.

The loss of a step is the sum over its valid target positions divided by their number, which the caller takes from the
index, so no function here computes a mean. Class 0 (padding, unknown) is never predicted: logits are those of classes
1 to K, and target ids 1 to K are shifted by one. The losses of distributions are in `model/distributions`.
Shapes: M valid target positions, K known classes of one categorical target, P parameters of a distribution.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.artifacts.transforms import Scale
from sequifier.config.base import ColumnType, Named
from sequifier.config.catalogue.torch_names import DEFAULT_CRITERIA, check_criterion
from sequifier.errors import ConfigError, Problem, RunError
from sequifier.model.distributions.base import Distribution

_SHORTEST = 1e-30
_IGNORED = -1
"""Index of a target whose loss is 0."""


def _nll_loss(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, dim=-1), target, **options)


def _multi_margin_loss(
    logits: Tensor, target: Tensor, *, weight: Tensor | None, reduction: str, **options: Any
) -> Tensor:
    # torch 2.13 leaves the sum of no positions uninitialised.
    losses = F.multi_margin_loss(logits, target, weight=weight, reduction="none", **options)
    return losses.sum() if reduction == "sum" else losses


@dataclass(frozen=True)
class Loss:
    """A loss that a config may name.

    Attributes:
        kind: of the targets it is for.
        function: of prediction and target, with `reduction`, the options of the config, and for a categorical target
            `weight`; as in torch.nn.functional, on logits.
        is_log_loss: whether it is the log-loss, but for class weights and options.
        is_least_at_median: whether the median of the true values has the least loss, not their mean.
        ignores: whether `function` takes `ignore_index`, a target whose loss is 0.
    """

    kind: ColumnType
    function: Callable[..., Tensor]
    is_log_loss: bool = False
    is_least_at_median: bool = False
    ignores: bool = False


LOSSES: dict[str, Loss] = {
    "CrossEntropyLoss": Loss("categorical", F.cross_entropy, is_log_loss=True, ignores=True),
    "NLLLoss": Loss(
        "categorical", _nll_loss, is_log_loss=True, ignores=True
    ),  # torch's takes log-probabilities, ours logits
    "MultiMarginLoss": Loss("categorical", _multi_margin_loss),
    "MSELoss": Loss("real", F.mse_loss),
    "L1Loss": Loss("real", F.l1_loss, is_least_at_median=True),
    "SmoothL1Loss": Loss("real", F.smooth_l1_loss),
    "HuberLoss": Loss("real", F.huber_loss),
    "PoissonNLLLoss": Loss("real", F.poisson_nll_loss),
}


class TargetShape(Protocol):
    """The fields of a target that its loss needs; `model.build.Target` has them."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> ColumnType: ...
    @property
    def n_classes(self) -> int: ...


class TargetLoss:
    """The criterion of one target.

    Predictions in bfloat16 or float16 are converted to float32 first; float64 stays float64.

    Args:
        criterion: name and options, as `check_criterion` returns them.
        class_weights: weights of classes 1 to K, (K,), or None. The loss of a position is multiplied by the weight of
            its true class; the divisor stays the number of positions, as in v1.
    """

    def __init__(self, criterion: Named, *, class_weights: Tensor | None = None) -> None:
        self.criterion = criterion
        self.class_weights = class_weights
        self._loss = LOSSES[criterion.name]

    @property
    def is_log_loss(self) -> bool:
        """Whether the criterion is the log-loss in nats, which every evaluation computes anyway."""
        return self.class_weights is None and not self.criterion.options and self._loss.is_log_loss

    @property
    def is_least_at_median(self) -> bool:
        """Whether the median of the true values has the least loss, not their mean."""
        return self._loss.is_least_at_median

    @property
    def label_smoothing(self) -> float | None:
        """The label smoothing of a log-loss, with or without class weights; None for another loss."""
        options = self.criterion.options
        smoothing = float(options.pop("label_smoothing", 0.0))
        return smoothing if self._loss.is_log_loss and not options else None

    def per_position(self, prediction: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the loss of each position, (M,); 0 where it is not known.

        Args:
            prediction: logits of classes 1 to K, (M, K), or standardised values, (M,).
            target: class ids 1 to K of any integer type, (M,), or standardised values, (M,).
            known: (M,) bool, False where the target is to be ignored, whatever it is; None: none is. On a CPU it is
                faster to leave these positions out.
        """
        return self._reduced(prediction, target, known, "none")

    def sum(self, prediction: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the sum of `per_position`, a scalar, mostly without a tensor over positions."""
        return self._reduced(prediction, target, known, "sum")

    __call__ = per_position

    def _reduced(self, prediction: Tensor, target: Tensor, known: Tensor | None, reduction: str) -> Tensor:
        if prediction.dtype in (torch.bfloat16, torch.float16):
            prediction = prediction.float()
        function, options = self._loss.function, self.criterion.options
        if self._loss.kind == "real":
            target = target.to(prediction.dtype)
        else:
            if self.class_weights is not None and self.class_weights.device != prediction.device:
                self.class_weights = self.class_weights.to(prediction.device)
            weight = None if self.class_weights is None else self.class_weights.to(prediction.dtype)
            options |= {"weight": weight}
            # Class 0 becomes the index that torch's losses ignore.
            target = (target if known is None else target * known).to(torch.int64) - 1
            if self._loss.ignores:
                return function(prediction, target, reduction=reduction, ignore_index=_IGNORED, **options)
        if known is None:
            return function(prediction, target, reduction=reduction, **options)
        # The loss of an ignored position might be infinite, and its gradient then no number, also where it is masked.
        if self._loss.kind == "real":
            prediction = prediction.where(known, 0)
        losses = function(prediction, target.where(known, 0), reduction="none", **options).where(known, 0)
        return losses.sum() if reduction == "sum" else losses


class DistributionLoss(TargetLoss):
    """The loss of a real target with a distribution; predictions are its parameters, (M, P).

    Args:
        distribution: of the target.
        scale: of the target.
        resolution: see `Distribution.loss`.
        events_per_sequence: mean number of events of a training sequence, where the last value of each may be open.
    """

    is_log_loss = False
    is_least_at_median = True  # of quantiles; baselines of a density have no center
    label_smoothing = None

    def __init__(
        self, distribution: Distribution, scale: Scale, resolution: float = 1.0, events_per_sequence: float = 0.0
    ) -> None:
        self.distribution, self.scale, self.resolution = distribution, scale, resolution
        self.events_per_sequence = events_per_sequence

    def _reduced(self, prediction: Tensor, target: Tensor, known: Tensor | None, reduction: str) -> Tensor:
        target, is_open = split_open(target.to(prediction.dtype))
        if known is not None:
            target = target.where(known, 0)
        losses = self.distribution.loss(prediction, target, self.scale, self.resolution)
        if is_open is not None:
            # Of no time at all the logarithm would have no gradient.
            lasted = (self.scale.original(target) * self.scale.unit).clamp(min=_SHORTEST)
            losses = torch.where(is_open, -self.distribution.log_survival(prediction, lasted), losses)
        if known is not None:
            losses = losses.where(known, 0)
        return losses.sum() if reduction == "sum" else losses


def split_open(target: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return true values, (M,), and which of them are still open, (M,), from what `Batch.targets` has."""
    return (target, None) if target.dim() == 1 else (target[:, 0], target[:, 1] > 0)


def build_losses(
    targets: Sequence[TargetShape],
    criterion: Mapping[str, Named],
    class_weights: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, TargetLoss]:
    """Return the criterion of each target, in the order of `targets`.

    Args:
        targets: name, kind and n_classes (K + 1) of each target.
        criterion: by target name; a target left out has the default of its kind.
        class_weights: by target name, n_classes weights, beginning with id 0, whose weight has no effect.

    Raises:
        ConfigError: torch refuses a criterion, or it is for another kind of target.
        RunError: class weights are for a real target, or are not n_classes.
    """
    losses, problems = {}, []
    for target in targets:
        named = criterion.get(target.name) or Named(name=DEFAULT_CRITERIA[target.kind])
        weights = (class_weights or {}).get(target.name)
        known_weights = None if weights is None else _known_class_weights(target, weights)
        try:
            losses[target.name] = TargetLoss(check_criterion(named, target.kind), class_weights=known_weights)
            _try(losses[target.name], target)
        except (ValueError, RuntimeError) as error:
            problems.append(Problem(f"training_spec.criterion.{target.name}", str(error).splitlines()[0]))
    if problems:
        raise ConfigError(problems)
    return losses


def _try(loss: TargetLoss, target: TargetShape) -> None:
    """Compute the loss of one position: only then does torch check the ranges of a loss's options.

    Raises:
        ValueError, RuntimeError: torch refuses the options.
    """
    if target.kind == "categorical":
        loss.sum(torch.zeros(1, target.n_classes - 1), torch.ones(1, dtype=torch.int64))
    else:
        loss.sum(torch.zeros(1), torch.zeros(1))


def _known_class_weights(target: TargetShape, weights: Sequence[float]) -> Tensor:
    where = f"training_spec.class_weights.{target.name}"
    if target.kind == "real":
        raise RunError(f"class weights for `{target.name}`, which is a real target", where=where, fix="remove them")
    if len(weights) != target.n_classes:
        raise RunError(
            f"{len(weights)} class weights for `{target.name}`, which has {target.n_classes} classes",
            where=where,
            fix=f"give {target.n_classes} weights: of id 0 first (unknown, without effect), then of ids 1 to "
            f"{target.n_classes - 1} in the order of the metadata's id_maps",
        )
    return torch.tensor(weights[1:], dtype=torch.float32)
