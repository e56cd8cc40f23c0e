"""From the vector of a step to a prediction of each target.

Shapes: D model width, E width of the vectors that a decoder reads, K outputs of it.
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
        weight: (K, E), a row for each class from class 1 on, or a single one for a real target.
        bias: (K,), or None.
        is_real: whether the target is real.
        scale: of a real target whose windows are normalized, how predictions lead back to standardised values.
    """

    vectors: Tensor
    weight: Tensor
    bias: Tensor | None
    is_real: bool = False
    scale: WindowScale | None = None

    def prediction(self) -> Tensor:
        """Return (..., K) logits, class c at index c - 1; or (...,) values of a real target."""
        found = F.linear(self.vectors, self.weight, self.bias)
        found = found.squeeze(-1) if self.is_real else found
        return found if self.scale is None else self.scale.restored(found)


class Heads(nn.Module):
    """One linear layer per target, but for targets that are decoded by an embedding.

    Args:
        dim_model: D.
        target_classes: target name -> its classes, id 0 included; 0 for a real target.
        tied: targets without a layer of their own.
    """

    def __init__(self, *, dim_model: int, target_classes: Mapping[str, int], tied: Collection[str] = ()) -> None:
        super().__init__()
        for name, n_classes in target_classes.items():
            if n_classes == 1:
                raise ValueError(f"target {name!r} has no class besides 0, which is never predicted")
        self.dim_model = dim_model
        self.target_classes = dict(target_classes)
        # A list in target order: a target's name may hold dots, which module names may not.
        self.linear = nn.ModuleList(
            nn.Identity() if name in tied else nn.Linear(dim_model, n_classes - 1 if n_classes else 1)
            for name, n_classes in target_classes.items()
        )

    def forward(self, hidden: Tensor, tied: Mapping[str, Decoder] = MappingProxyType({})) -> dict[str, Decoder]:
        """Return the decoder of each target.

        Args:
            hidden: (..., D).
            tied: the decoders of the targets without a layer.
        """
        return {
            name: Decoder(hidden, linear.weight, linear.bias, is_real=not n_classes)
            if isinstance(linear, nn.Linear)
            else tied[name]
            for (name, n_classes), linear in zip(self.target_classes.items(), self.linear, strict=True)
        }
