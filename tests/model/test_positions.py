"""Rotary positions against rotation matrices, learned ones against an addition."""

import math

import pytest
import torch

from sequifier.model.positions import LearnedPositions, rotate, rotate_real, rotation_table


def test_rotation_turns_each_pair_by_its_angle() -> None:
    steps, width, theta = 5, 6, 50.0
    heads = torch.randn(2, steps, 3, width, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(heads)
    for step in range(steps):
        for pair in range(width // 2):
            angle = step / theta ** (2 * pair / width)
            turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            first = 2 * pair
            expected[:, step, :, first : first + 2] = heads[:, step, :, first : first + 2] @ turn.T
    torch.testing.assert_close(rotate(heads, rotation_table(steps=steps, head_width=width, theta=theta)), expected)


def test_products_of_queries_and_keys_depend_on_their_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    table = rotation_table(steps=40, head_width=8, theta=10000.0)
    everywhere_q, everywhere_k = rotate(q.expand(1, 40, 1, 8), table), rotate(k.expand(1, 40, 1, 8), table)
    near = (everywhere_q[0, 7] * everywhere_k[0, 4]).sum()
    far = (everywhere_q[0, 39] * everywhere_k[0, 36]).sum()
    torch.testing.assert_close(near, far)


def test_angles_stay_exact_at_distant_steps() -> None:
    cosine = rotation_table(steps=100_001, head_width=4, theta=10000.0)[100_000, 0, 1, 0]
    # The angle is 100,000 / 100 radians; float32 represents 1e-7 at best near 1.
    assert cosine.item() == pytest.approx(math.cos(1000.0), abs=1e-7)


def test_rotation_keeps_the_type_of_the_heads() -> None:
    heads = torch.randn(1, 3, 2, 4).bfloat16()
    assert rotate(heads, rotation_table(steps=3, head_width=4, theta=10.0)).dtype == torch.bfloat16


def test_real_products_rotate_as_complex_ones_do_gradients_included() -> None:
    generator = torch.Generator().manual_seed(0)
    table = rotation_table(steps=7, head_width=6, theta=100.0)
    heads, gradient = torch.randn(2, 2, 7, 3, 6, generator=generator)
    by_complex, by_real = heads.clone().requires_grad_(), heads.clone().requires_grad_()
    first, second = rotate(by_complex, table), rotate_real(by_real, table)
    first.backward(gradient)
    second.backward(gradient)
    torch.testing.assert_close(second, first, rtol=1e-6, atol=1e-6)  # at most one rounding apart, by fused products
    torch.testing.assert_close(by_real.grad, by_complex.grad, rtol=1e-6, atol=1e-6)


def test_an_odd_head_width_is_refused() -> None:
    with pytest.raises(ValueError, match="even head width, got 5"):
        rotation_table(steps=4, head_width=5, theta=10000.0)


def test_learned_positions_are_counted_from_the_last_event() -> None:
    positions = LearnedPositions(seq_length=4, dim_model=2)
    with torch.no_grad():
        positions.weight.copy_(torch.arange(8.0).view(4, 2))
    assert positions(torch.zeros(1, 4, 2)).tolist() == [[[0, 1], [2, 3], [4, 5], [6, 7]]]
    assert positions(torch.zeros(1, 2, 2)).tolist() == [[[4, 5], [6, 7]]]
