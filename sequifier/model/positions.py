"""Positional encodings: a learned vector for each step of the window, or a rotation of queries and keys.

Rotary positions: Su et al. 2021, https://arxiv.org/abs/2104.09864, in their original form, which rotates neighbouring
pairs of dimensions (Llama rotates halves; the models are the same up to the order of the weights). A pair is a complex
number, and on a CPU one complex product is 2 to 5 times as fast as the usual four real ones (torch 2.13), compiled or
not. Elsewhere the products are real: on CUDA torch compiles a complex product at its first use, and cannot fuse it.
Shapes: B batch, T steps, D model width, H heads, E width of a head.
"""

import torch
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """A vector for each step of the window, counted from the window's last event."""

    def __init__(self, *, seq_length: int, dim_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(seq_length, dim_model))

    def forward(self, x: Tensor) -> Tensor:
        """Add the vectors: (B, T, D) -> (B, T, D). A window shorter than seq_length uses the last T of them."""
        return x + self.weight[self.weight.shape[0] - x.shape[1] :]


def rotation_table(*, steps: int, head_width: int, theta: float) -> Tensor:
    """Return cosine and sine of the angle by which each pair of dimensions is rotated at each step.

    Pair i is rotated by `theta ** (-2 i / E)` radians per step. Angles are computed in float64: at step 100,000 the
    error of float32 would be 0.004 radians.

    Args:
        steps: T, length of the table.
        head_width: E, even.
        theta: base of the frequencies.

    Returns:
        (T, 1, E / 2, 2) float32; the 1 is the axis of the heads.

    Raises:
        ValueError: an odd head width.
    """
    if head_width % 2:
        raise ValueError(f"rotary positions need an even head width, got {head_width}")
    pair = torch.arange(0, head_width, 2, dtype=torch.float64)
    angle = torch.outer(torch.arange(steps, dtype=torch.float64), theta ** (-pair / head_width))  # (T, E/2)
    return torch.stack((angle.cos(), angle.sin()), dim=-1).float().unsqueeze(1)


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Rotate each pair of dimensions by the angle of its step.

    Args:
        heads: queries or keys, (B, T, H, E).
        rotation: the first T rows of `rotation_table`.

    Returns:
        (B, T, H, E) of the same type. Products of a rotated query and key depend on their distance alone.
    """
    # Under autocast heads are bfloat16: their gradients are summed in float32, and no complex number is shorter.
    wide, rotation = heads.float(), rotation.float()
    rotated = _rotate_complex(wide, rotation) if heads.device.type == "cpu" else rotate_real(wide, rotation)
    return rotated.type_as(heads)


def _rotate_complex(heads: Tensor, rotation: Tensor) -> Tensor:
    pairs = torch.view_as_complex(torch.unflatten(heads, -1, (-1, 2)))  # (B, T, H, E/2)
    return torch.view_as_real(pairs * torch.view_as_complex(rotation)).flatten(-2)


def rotate_real(heads: Tensor, rotation: Tensor) -> Tensor:
    """Return `rotate` by real products: (a + bi)(cos + sin i) is (a, b) cos + (-b, a) sin."""
    cosine, sine = rotation.unsqueeze(-1).unbind(-2)  # (T, 1, E/2, 1)
    pairs = torch.unflatten(heads, -1, (-1, 2))  # (B, T, H, E/2, 2)
    a, b = pairs.unbind(-1)
    return (pairs * cosine + torch.stack((-b, a), dim=-1) * sine).flatten(-2)
