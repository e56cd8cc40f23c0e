"""One transformer block: attention, then feed-forward, each with its norm and its residual.

Pre-norm (`norm_first`) normalises what goes into each part; post-norm, as in Vaswani et al. 2017, normalises the sum
behind it. Why pre-norm trains more easily: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
Shapes: B batch, T steps, D model width.
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

    def forward(self, x: Tensor, mask: Tensor | None = None, rotation: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D); `mask` and `rotation` as in `CausalSelfAttention`."""
        if self.norm_first:
            if can_fuse(self.attention_norm, x):
                qkv = normed_linear(x, self.attention_norm, self.attention.qkv)
                x = x + self.drop(self.attention.mix(qkv, mask, rotation))
            else:
                x = x + self.drop(self.attention(self.attention_norm(x), mask, rotation))
            if can_fuse(self.feed_forward_norm, x):
                return x + self.drop(normed_feed_forward(x, self.feed_forward_norm, self.feed_forward))
            return x + self.drop(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.drop(self.attention(x, mask, rotation)))
        normed: Tensor = self.feed_forward_norm(x + self.drop(self.feed_forward(x)))
        return normed

    def drop(self, branch: Tensor) -> Tensor:
        """Dropout of what is added to the residual stream."""
        return drop(branch, self.dropout, training=self.training)
