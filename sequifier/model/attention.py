"""Causal self-attention over one window of events.

Sources: Vaswani et al. 2017, section 3.2, https://arxiv.org/abs/1706.03762; groups of heads that share keys and values:
Ainslie et al. 2023, https://arxiv.org/abs/2305.13245.
Differs: left padding is masked per sequence, because our windows are aligned on their last event. No biases.
Shapes: B batch, T steps of the window, D model width, H heads, K heads of keys and values, E width of a head (D // H).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sequifier.model.cpu.fused import product_format
from sequifier.model.cpu.short_attention import LONGEST, short_attention
from sequifier.model.positions import rotate


def padding_mask(is_event: Tensor) -> Tensor:
    """Which steps each step may attend to: itself and the real events before it.

    Args:
        is_event: (B, T) bool, False on left padding.

    Returns:
        (B, 1, T, T) bool, True = may attend; the 1 stands for the heads.
    """
    step = torch.arange(is_event.shape[1], device=is_event.device)
    mask = (step[:, None] >= step) & is_event[:, None, None, :]
    # Padding would get an empty row, and a softmax over nothing is NaN: let it see itself.
    return mask | (step[:, None] == step)


class StackedLinear(nn.Linear):
    """Several linear layers of the same input as one, without biases: one product for all of them.

    Attributes:
        rows: of each layer's matrix in `weight`, from top to bottom. An optimizer that treats a matrix as a whole
            (Muon) must treat each of them for itself.
    """

    def __init__(self, in_features: int, rows: tuple[int, ...]) -> None:
        super().__init__(in_features, sum(rows), bias=False)
        self.rows = rows


class CausalSelfAttention(nn.Module):
    """Mix each step with the steps before it. All heads have their own keys (K = H), or groups of H / K share them."""

    def __init__(self, *, dim_model: int, n_head: int, n_kv_heads: int, dropout: float) -> None:
        super().__init__()
        if dim_model % n_head:
            raise ValueError(f"dim_model {dim_model} is not divisible by n_head {n_head}")
        if n_head % n_kv_heads:
            raise ValueError(f"n_head {n_head} is not divisible by n_kv_heads {n_kv_heads}")
        self.n_head, self.n_kv_heads = n_head, n_kv_heads
        self.head_width = dim_model // n_head
        self.dropout = dropout
        of_queries, of_keys = n_head * self.head_width, n_kv_heads * self.head_width
        self.qkv = StackedLinear(dim_model, (of_queries, of_keys, of_keys))  # queries, keys, values
        self.out = nn.Linear(dim_model, dim_model, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None, rotation: Tensor | None = None) -> Tensor:
        """Mix each step with itself and the steps before it.

        Args:
            x: step vectors, (B, T, D).
            mask: `padding_mask`, or None when every step is a real event, which is faster.
            rotation: (T, 1, E/2, 2) rows of `rotation_table`, or None without rotary positions.

        Returns:
            (B, T, D). Row t depends on x[:, : t + 1] alone; rows of padding carry no meaning.
        """
        return self.mix(self.qkv(x), mask, rotation)

    def mix(self, qkv: Tensor, mask: Tensor | None = None, rotation: Tensor | None = None) -> Tensor:
        """`forward` from the queries, keys and values on, (B, T, (H + 2K) * E) -> (B, T, D)."""
        H, K = self.n_head, self.n_kv_heads
        heads = qkv.view(*qkv.shape[:-1], H + 2 * K, self.head_width)  # (B, T, H + 2K, E)
        if rotation is None:
            q, k, v = torch.split(heads.transpose(1, 2), [H, K, K], dim=1)  # (B, H or K, T, E)
        else:
            qk, v = torch.split(heads, [H + K, K], dim=2)
            q, k = torch.split(rotate(qk, rotation).transpose(1, 2), [H, K], dim=1)
            v = v.transpose(1, 2)
        mixed: Tensor = self.out(self._attend(q, k, v, mask))
        return mixed

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """(B, H or K, T, E) each -> (B, T, D)."""
        dropout = self.dropout if self.training else 0.0
        products = product_format(q)
        if q.device.type != "cpu":
            return fused_attention(q, k, v, mask, dropout)
        is_short = q.shape[2] <= LONGEST and products == torch.bfloat16
        if (dropout or is_short) and not torch.compiler.is_compiling():
            shared = self.n_head // self.n_kv_heads
            k, v = (heads.repeat_interleave(shared, dim=1) if shared > 1 else heads for heads in (k, v))
            return short_attention(q, k, v, mask, dropout, products)
        if products != torch.bfloat16:
            return fused_attention(q, k, v, mask, dropout)
        with torch.autocast("cpu", enabled=False):  # torch's bfloat16 gradient takes ten times as long on a CPU
            return fused_attention(q.float(), k.float(), v.float(), mask, dropout)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Torch's kernel: queries (B, H, T, E), keys and values (B, K, T, E) -> (B, T, H * E)."""
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, enable_gqa=q.shape[1] != k.shape[1]
    )
    return y.transpose(1, 2).flatten(2)
