"""From the vector of a step to a prediction of each target.

With a horizon a target is predicted for several steps ahead, by a row of weights for each output of each step.
Shapes: D model width, E width of the vectors that a decoder reads, K outputs of a step, H steps.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor, nn

from sequifier.model.window_normalization import WindowScale


@dataclass(frozen=True)
class Decoder:
    """The last product of a model, before it is computed: what predicts one target.

    Attributes:
        vectors: (..., E).
        weight: (H * K, E), at each step a row for each class from class 1 on, or a single one for a real target.
        bias: (H * K,), or None.
        is_real: whether the target is real.
        scale: of a real target whose windows are normalized, how predictions lead back to standardised values.
        horizon: H; with 1 there is no axis of steps.
    """

    vectors: Tensor
    weight: Tensor
    bias: Tensor | None
    is_real: bool = False
    scale: WindowScale | None = None
    horizon: int = 1

    def prediction(self) -> Tensor:
        """Return (..., K) logits, class c at index c - 1, or (...,) values of a real target; with steps (..., H, K)."""
        found = F.linear(self.vectors, self.weight, self.bias)
        if self.horizon > 1:
            found = found.view(*found.shape[:-1], self.horizon, -1)
        found = found.squeeze(-1) if self.is_real else found
        return found if self.scale is None else self.scale.restored(found)


class Heads(nn.Module):
    """One linear layer per target, but for targets that are decoded by an embedding.

    Args:
        dim_model: D.
        target_classes: target name -> its classes, id 0 included; 0 for a real target.
        tied: targets without a layer of their own.
        horizon: H.
    """

    def __init__(
        self, *, dim_model: int, target_classes: Mapping[str, int], tied: Collection[str] = (), horizon: int = 1
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
            nn.Identity() if name in tied else nn.Linear(dim_model, horizon * (n_classes - 1 if n_classes else 1))
            for name, n_classes in target_classes.items()
        )

    def forward(self, hidden: Tensor, tied: Mapping[str, Decoder] = MappingProxyType({})) -> dict[str, Decoder]:
        """Return the decoder of each target.

        Args:
            hidden: (..., D).
            tied: the decoders of the targets without a layer.
        """
        return {
            name: Decoder(hidden, linear.weight, linear.bias, is_real=not n_classes, horizon=self.horizon)
            if isinstance(linear, nn.Linear)
            else tied[name]
            for (name, n_classes), linear in zip(self.target_classes.items(), self.linear, strict=True)
        }
