"""The two places of the norms."""

import torch
from torch import Tensor

from sequifier.model.block import Block


def block(*, norm_first: bool, dropout: float = 0.0) -> Block:
    torch.manual_seed(0)
    return Block(
        dim_model=8,
        n_head=2,
        n_kv_heads=1,
        dim_feedforward=12,
        activation_fn="swiglu",
        normalization="layer_norm",
        norm_first=norm_first,
        dropout=dropout,
    )


def steps() -> Tensor:
    return torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))


def test_pre_norm_normalises_what_goes_into_each_part() -> None:
    pre, x = block(norm_first=True), steps()
    after_attention = x + pre.attention(pre.attention_norm(x))
    expected = after_attention + pre.feed_forward(pre.feed_forward_norm(after_attention))
    torch.testing.assert_close(pre(x), expected)


def test_post_norm_normalises_each_sum() -> None:
    post, x = block(norm_first=False), steps()
    after_attention = post.attention_norm(x + post.attention(x))
    expected = post.feed_forward_norm(after_attention + post.feed_forward(after_attention))
    torch.testing.assert_close(post(x), expected)


def test_dropout_of_everything_leaves_the_residual() -> None:
    x = steps()
    assert torch.equal(block(norm_first=True, dropout=1.0)(x), x)
