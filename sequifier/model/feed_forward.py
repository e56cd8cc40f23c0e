"""The feed-forward part of a block, which transforms each step on its own.

Differs from the papers in `activations.py`: SwiGLU keeps `dim_feedforward` as its hidden width, where papers shrink it
to two thirds to keep the parameter count. It has 3 x D x F parameters, the others 2 x D x F. No layer has a bias: the
norms and heads have what is needed.
Shapes: B batch, T steps, D model width, F hidden width.
"""

from torch import Tensor, nn

from sequifier.model.activations import ACTIVATIONS
from sequifier.model.cpu.dropout import drop


class FeedForward(nn.Module):
    """Widen each step, apply a non-linearity, narrow it again."""

    def __init__(self, *, dim_model: int, dim_feedforward: int, activation_fn: str, dropout: float) -> None:
        super().__init__()
        if activation_fn not in ACTIVATIONS:
            raise ValueError(f"activation_fn {activation_fn!r} is not one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation_fn]
        self.dropout = dropout
        self.up = nn.Linear(dim_model, dim_feedforward, bias=False)
        if self.activation.is_gated:
            # Two matrices rather than one of twice the width: the halves of a fused product are strided, which costs
            # 5 to 7 % of this layer's forward and backward pass on a CPU (torch 2.13, widths 64 and 128).
            self.gate = nn.Linear(dim_model, dim_feedforward, bias=False)
        self.down = nn.Linear(dim_feedforward, dim_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each step: (B, T, D) -> (B, T, D)."""
        function = self.activation.function
        hidden = function(self.gate(x)) * self.up(x) if self.activation.is_gated else function(self.up(x))  # (B, T, F)
        hidden = drop(hidden, self.dropout, training=self.training)
        y: Tensor = self.down(hidden)
        return y
