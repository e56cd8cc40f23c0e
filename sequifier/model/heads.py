"""From the vector of a step to a prediction of each target.

With a horizon a target is predicted for several steps ahead, by a row of weights for each output of each step.
Shapes: D model width, E width of the vectors that a decoder reads, K outputs of a step, H steps, P parameters of a
distribution.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sequifier.model.distributions.base import Distribution
from sequifier.model.window_normalization import WindowScale


@dataclass(frozen=True)
class Decoder:
    """The last product of a model, before it is computed: what predicts one target.

    Attributes:
        vectors: (..., E).
        weight: (H * K, E), at each step a row for each class from class 1 on, or for each parameter of a real target's
            distribution, or a single one for the value of a real target.
        bias: (H * K,), or None.
        is_value: whether it predicts the value of a real target.
        distribution: of a real target; None: it has none.
        statistics: what the distribution needs of the training split.
        scale: of a real target whose windows are normalized, how predictions lead back to standardised values.
        horizon: H; with 1 there is no axis of steps.
        steps: (..., H, D), vectors of the steps to come; None: nothing is known of them.
        step_weight: (K, D), what they add to the prediction.
    """

    vectors: Tensor
    weight: Tensor
    bias: Tensor | None
    is_value: bool = False
    distribution: Distribution | None = None
    statistics: Tensor | None = None
    scale: WindowScale | None = None
    horizon: int = 1
    steps: Tensor | None = None
    step_weight: Tensor | None = None

    def prediction(self) -> Tensor:
        """Return (..., K) logits, class c at index c - 1, or of a real target (..., P) parameters or (...,) values.

        With steps (..., H, K), (..., H, P) or (..., H).
        """
        found = F.linear(self.vectors, self.weight, self.bias)
        if self.horizon > 1:
            found = found.view(*found.shape[:-1], self.horizon, -1)
        if self.steps is not None and self.step_weight is not None:
            found = found + F.linear(self.steps, self.step_weight)
        if self.distribution is not None:
            found = self.distribution.parameters(found, self.statistics)
        elif self.is_value:
            found = found.squeeze(-1)
        return found if self.scale is None else self.scale.restored(found)


class DistributionHead(nn.Linear):
    """The parameters of a distribution, and what it needs of the training split, which is stored with the weights."""

    def __init__(self, dim_model: int, distribution: Distribution, horizon: int) -> None:
        super().__init__(dim_model, horizon * distribution.n_parameters)
        self.distribution = distribution
        self.statistics: Tensor | None
        # The training split is not known yet.
        statistics = torch.ones(distribution.n_statistics) if distribution.n_statistics else None
        self.register_buffer("statistics", statistics)


class Heads(nn.Module):
    """One linear layer per target, but for targets that are decoded by an embedding.

    Args:
        dim_model: D.
        target_classes: target name -> its classes, id 0 included; 0 for a real target.
        tied: targets without a layer of their own.
        horizon: H.
        distributions: of real targets; without one, the value is predicted.
        reads_steps: whether there are vectors of the steps to come.
    """

    def __init__(
        self,
        *,
        dim_model: int,
        target_classes: Mapping[str, int],
        tied: Collection[str] = (),
        horizon: int = 1,
        distributions: Mapping[str, Distribution] = MappingProxyType({}),
        reads_steps: bool = False,
    ) -> None:
        super().__init__()
        for name, n_classes in target_classes.items():
            if n_classes == 1:
                raise ValueError(f"target {name!r} has no class besides 0, which is never predicted")
        if tied and horizon > 1:
            raise ValueError(f"an embedding decodes one step, not {horizon}: {', '.join(tied)}")
        self.dim_model, self.horizon = dim_model, horizon
        self.target_classes = dict(target_classes)
        # A list in target order: a target's name may hold dots, which module names may not.
        self.linear = nn.ModuleList(
            nn.Identity()
            if name in tied
            else DistributionHead(dim_model, distributions[name], horizon)
            if name in distributions
            else nn.Linear(dim_model, horizon * (n_classes - 1 if n_classes else 1))
            for name, n_classes in target_classes.items()
        )
        widths = [
            distributions[name].n_parameters if name in distributions else max(n_classes - 1, 1)
            for name, n_classes in target_classes.items()
        ]
        self.step = nn.ModuleList(nn.Linear(dim_model, width, bias=False) for width in widths if reads_steps)

    def forward(
        self, hidden: Tensor, tied: Mapping[str, Decoder] = MappingProxyType({}), steps: Tensor | None = None
    ) -> dict[str, Decoder]:
        """Return the decoder of each target.

        Args:
            hidden: (..., D).
            tied: the decoders of the targets without a layer.
            steps: (..., H, D), vectors of the steps to come, where the model reads what is known of them.
        """
        found = {}
        for (name, n_classes), linear in zip(self.target_classes.items(), self.linear, strict=True):
            if isinstance(linear, DistributionHead):
                found[name] = Decoder(
                    hidden,
                    linear.weight,
                    linear.bias,
                    distribution=linear.distribution,
                    statistics=linear.statistics,
                    horizon=self.horizon,
                )
            elif isinstance(linear, nn.Linear):
                found[name] = Decoder(hidden, linear.weight, linear.bias, is_value=not n_classes, horizon=self.horizon)
            else:
                found[name] = tied[name]
        for name, linear in zip(self.target_classes, self.step, strict=False):
            found[name] = replace(found[name], steps=steps, step_weight=linear.get_parameter("weight"))
        return found

    def distribution_head(self, target: str) -> DistributionHead | None:
        """Return the head of a target with a distribution; None: it has none."""
        head = self.linear[[*self.target_classes].index(target)]
        return head if isinstance(head, DistributionHead) else None
