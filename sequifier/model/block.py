"""One transformer block: attention, then feed-forward, each with its norm and its residual.

Pre-norm (`norm_first`) normalises the input of each part; post-norm, as in Vaswani et al. 2017, normalises the sum
after it. Why pre-norm trains more easily: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
Shapes: B batch, T steps, S steps that are returned, D model width.
"""

from torch import Tensor, nn

from sequifier.model.attention import CausalSelfAttention
from sequifier.model.cpu.dropout import drop
from sequifier.model.cpu.fused import can_fuse, normed_feed_forward, normed_linear
from sequifier.model.feed_forward import FeedForward
from sequifier.model.norms import build_norm


class Block(nn.Module):
    """Mix the steps, then transform each."""

    def __init__(
        self,
        *,
        dim_model: int,
        n_head: int,
        n_kv_heads: int,
        dim_feedforward: int,
        activation_fn: str,
        normalization: str,
        norm_first: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.dropout = dropout
        self.attention_norm = build_norm(normalization, dim_model)
        self.attention = CausalSelfAttention(dim_model=dim_model, n_head=n_head, n_kv_heads=n_kv_heads, dropout=dropout)
        self.feed_forward_norm = build_norm(normalization, dim_model)
        self.feed_forward = FeedForward(
            dim_model=dim_model, dim_feedforward=dim_feedforward, activation_fn=activation_fn, dropout=dropout
        )

    def forward(
        self, x: Tensor, mask: Tensor | None = None, rotation: Tensor | None = None, n_last: int | None = None
    ) -> Tensor:
        """Mix the steps, then transform each: (B, T, D) -> (B, S, D).

        Args:
            x: step vectors.
            mask: as in `CausalSelfAttention`.
            rotation: as in `CausalSelfAttention`.
            n_last: S, below T, to compute the last steps alone; None for all. In training mode other numbers are
                dropped then.
        """
        if n_last is None and self._can_fuse(x):
            return self._fused(x, mask, rotation)
        last = x if n_last is None else x[:, -n_last:]
        if self.norm_first:
            x = last + self.drop(self.attention(self.attention_norm(x), mask, rotation, n_last))
            return x + self.drop(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(last + self.drop(self.attention(x, mask, rotation, n_last)))
        normed: Tensor = self.feed_forward_norm(x + self.drop(self.feed_forward(x)))
        return normed

    def _can_fuse(self, x: Tensor) -> bool:
        has_gradient = self.feed_forward.activation.gradient is not None
        return self.norm_first and has_gradient and can_fuse(self.attention_norm, x)

    def _fused(self, x: Tensor, mask: Tensor | None, rotation: Tensor | None) -> Tensor:
        """Compute what `forward` does in pre-norm order, each norm together with the matrices behind it."""
        assert isinstance(self.attention_norm, nn.RMSNorm) and isinstance(self.feed_forward_norm, nn.RMSNorm)
        qkv = normed_linear(x, self.attention_norm, self.attention.qkv)
        x = x + self.drop(self.attention.mix(qkv, mask, rotation))
        return x + self.drop(normed_feed_forward(x, self.feed_forward_norm, self.feed_forward))

    def drop(self, branch: Tensor) -> Tensor:
        """Apply dropout to a branch before it is added to the residual stream."""
        return drop(branch, self.dropout, training=self.training)
