"""The last block of a model when only the last steps of its windows are wanted, as in inference.

Keys and values are needed of all steps; queries, and everything behind the attention, of the wanted ones alone. So a
model of N blocks does little more than the work of N - 1.
Shapes: B batch, T steps of the window, S wanted steps, D model width, H heads, K heads of keys and values, E width of a
head (D // H).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.model.attention import CausalSelfAttention
from sequifier.model.block import Block
from sequifier.model.positions import rotate


def block_of_last_steps(
    block: Block, x: Tensor, n_steps: int, mask: Tensor | None = None, rotation: Tensor | None = None
) -> Tensor:
    """`block(x, mask, rotation)[:, -n_steps:]`, without computing the other steps.

    Args:
        block: in training mode it drops other numbers than the whole block would.
        x: step vectors, (B, T, D).
        n_steps: S, below T.
        mask: as in `CausalSelfAttention`.
        rotation: as in `CausalSelfAttention`.

    Returns:
        (B, S, D).
    """
    last = x[:, -n_steps:]
    if block.norm_first:
        last = last + block.drop(_attend(block.attention, block.attention_norm(x), n_steps, mask, rotation))
        return last + block.drop(block.feed_forward(block.feed_forward_norm(last)))
    last = block.attention_norm(last + block.drop(_attend(block.attention, x, n_steps, mask, rotation)))
    normed: Tensor = block.feed_forward_norm(last + block.drop(block.feed_forward(last)))
    return normed


def _attend(
    attention: CausalSelfAttention, x: Tensor, n_steps: int, mask: Tensor | None, rotation: Tensor | None
) -> Tensor:
    """`attention(x, mask, rotation)[:, -n_steps:]`: (B, T, D) -> (B, S, D)."""
    H, K, E, T = attention.n_head, attention.n_kv_heads, attention.head_width, x.shape[1]
    of_queries, of_keys_and_values = torch.split(attention.qkv.weight, [H * E, 2 * K * E])
    q = F.linear(x[:, -n_steps:], of_queries).view(len(x), n_steps, H, E)
    kv = F.linear(x, of_keys_and_values).view(len(x), T, 2 * K, E)
    k, v = torch.split(kv, K, dim=2)  # (B, T, K, E)
    if rotation is not None:
        q, k = rotate(q, rotation[-n_steps:]), rotate(k, rotation)
    if mask is not None:
        mask = mask[..., -n_steps:, :]
    elif n_steps > 1:  # the last step alone may attend to all
        mask = torch.ones(n_steps, T, dtype=torch.bool, device=x.device).tril(T - n_steps)
    y = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=mask,
        dropout_p=attention.dropout if attention.training else 0.0,
        enable_gqa=K != H,
    )
    mixed: Tensor = attention.out(y.transpose(1, 2).flatten(2))  # (B, H, S, E) -> (B, S, D)
    return mixed
