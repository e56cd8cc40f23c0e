"""The whole model from the formulas of its papers, in float64, for one window without padding; no code of ours.

Sources: attention Vaswani et al. 2017, groups of heads Ainslie et al. 2023, rotary positions Su et al. 2021, RMSNorm
Zhang & Sennrich 2019, SwiGLU Shazeer 2020, normalized windows Kim et al. 2022. Gradients come from autograd over these
sums and products.
Shapes: T events, D model width, H heads, K heads of keys and values, E width of a head.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sequifier.config.architecture import Architecture

Weights = Mapping[str, Tensor]


def predictions(
    weights: Weights, shape: Architecture, categories: Tensor, reals: Tensor, kinks: list[Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the predictions after each event of one window, without dropout.

    Args:
        weights: float64, under the names of the model's state dict.
        shape: the architecture.
        categories: ids of real events, (T, C); T at most seq_length.
        reals: their values, (T, R).
        kinks: receives the inputs of relu, whose gradient jumps at 0.

    Returns:
        Target -> (T, classes - 1) logits of classes 1, 2, ..., or (T,) values.
    """
    kinks = [] if kinks is None else kinks
    reals, scales = normalized(shape, reals.double())
    x = embedded(weights, shape, categories, reals)
    if shape.positional_encoding == "learned":
        x = x + weights["positions.weight"][shape.seq_length - len(x) :]
    for number in range(shape.num_layers):
        at = f"blocks.{number}."
        if shape.norm_first:
            x = x + attention(weights, shape, at, norm(weights, shape, f"{at}attention_norm", x))
            x = x + feed_forward(weights, shape, at, norm(weights, shape, f"{at}feed_forward_norm", x), kinks)
        else:
            x = norm(weights, shape, f"{at}attention_norm", x + attention(weights, shape, at, x))
            x = norm(weights, shape, f"{at}feed_forward_norm", x + feed_forward(weights, shape, at, x, kinks))
    if shape.norm_first:
        x = norm(weights, shape, "norm", x)
    found = {}
    for number, target in enumerate(shape.targets):
        if target.name in shape.tied:
            found[target.name] = x @ vectors_of_classes(weights, shape, target.name).T
            continue
        y = x @ weights[f"heads.linear.{number}.weight"].T + weights[f"heads.linear.{number}.bias"]
        mean, std = scales.get(target.name, (0.0, 1.0))
        found[target.name] = y if target.kind == "categorical" else y[:, 0] * std + mean
    return found


def normalized(shape: Architecture, reals: Tensor) -> tuple[Tensor, dict[str, tuple[float, float]]]:
    """Return the values of a window relative to it, (T, R), and what real targets were shifted and divided by."""
    reals, scales = reals.clone(), {}
    for target in shape.targets:
        if target.kind == "real" and shape.window_normalization != "none":
            column = shape.real.index(target.name)
            values = reals[:, column].tolist()
            mean, std = values[-1], 1.0
            if shape.window_normalization == "mean_std":
                mean = math.fsum(values) / len(values)
                std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)) + 1e-5
            reals[:, column] = (reals[:, column] - mean) / std
            scales[target.name] = mean, std
    return reals, scales


def embedded(weights: Weights, shape: Architecture, categories: Tensor, reals: Tensor) -> Tensor:
    """Return (T, D): a vector for each category except 0, which has none, and a * value + b for each real column."""
    parts = []
    for column in range(len(shape.categorical)):
        ids = categories[:, column].long()
        parts.append(weights[f"embedding.categorical.{column}.weight"][ids] * (ids != 0)[:, None])
    for column in range(len(shape.real)):
        value = reals[:, column, None].double()
        at = f"embedding.real.{column}."
        if f"{at}weight" in weights:
            value = value * weights[f"{at}weight"][:, 0] + weights[f"{at}bias"]
        parts.append(value)
    x = torch.cat(parts, dim=1)
    if shape.joint_embedding:
        x = x @ weights["embedding.joint.weight"].T + weights["embedding.joint.bias"]
    return x


def vectors_of_classes(weights: Weights, shape: Architecture, name: str) -> Tensor:
    """Return (classes - 1, D): what each class of an input column, from class 1, adds to the embedding of an event."""
    column = [other for other, _ in shape.categorical].index(name)
    table = weights[f"embedding.categorical.{column}.weight"][1:]
    if not shape.joint_embedding:
        return table
    before = sum(shape.embedding_widths[:column])
    rows = [weights["embedding.joint.weight"][:, before + place] for place in range(table.shape[1])]
    return sum((table[:, place, None] * row for place, row in enumerate(rows)), torch.zeros(()))


def norm(weights: Weights, shape: Architecture, at: str, x: Tensor) -> Tensor:
    """(T, D) -> (T, D)."""
    if shape.normalization == "rmsnorm":
        return x / ((x**2).sum(1, keepdim=True) / x.shape[1] + 1e-6) ** 0.5 * weights[f"{at}.weight"]
    centred = x - x.sum(1, keepdim=True) / x.shape[1]
    spread = ((centred**2).sum(1, keepdim=True) / x.shape[1] + 1e-5) ** 0.5
    return centred / spread * weights[f"{at}.weight"] + weights[f"{at}.bias"]


def attention(weights: Weights, shape: Architecture, at: str, x: Tensor) -> Tensor:
    """(T, D) -> (T, D), one head at a time."""
    H, K, E = shape.n_head, shape.n_kv_heads, shape.dim_model // shape.n_head
    rows = torch.split(x @ weights[f"{at}attention.qkv.weight"].T, E, dim=1)  # H queries, K keys, K values, (T, E) each
    later = torch.arange(len(x)) > torch.arange(len(x))[:, None]
    heads = []
    for head in range(H):
        group = head // (H // K)
        q, k, v = rows[head], rows[H + group], rows[H + K + group]
        if shape.positional_encoding == "rope":
            q, k = turned(q, shape.rope_theta), turned(k, shape.rope_theta)
        scores = (q @ k.T / math.sqrt(E)).masked_fill(later, -math.inf)
        shares = torch.exp(scores - scores.amax(1, keepdim=True))
        heads.append(shares / shares.sum(1, keepdim=True) @ v)
    return torch.cat(heads, dim=1) @ weights[f"{at}attention.out.weight"].T


def turned(head: Tensor, theta: float) -> Tensor:
    """(T, E) -> (T, E): the pair (2i, 2i + 1) of event t turned by t * theta ** (-2i / E)."""
    T, E = head.shape
    first, second = head[:, 0::2], head[:, 1::2]
    angle = torch.arange(T).double()[:, None] * theta ** (-torch.arange(0, E, 2).double() / E)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=2).reshape(T, E)


def feed_forward(weights: Weights, shape: Architecture, at: str, x: Tensor, kinks: list[Tensor]) -> Tensor:
    """(T, D) -> (T, D)."""
    up = x @ weights[f"{at}feed_forward.up.weight"].T
    if shape.activation_fn == "swiglu":
        gate = x @ weights[f"{at}feed_forward.gate.weight"].T
        hidden = gate / (1 + torch.exp(-gate)) * up
    elif shape.activation_fn == "gelu":
        hidden = up * 0.5 * (1 + torch.erf(up / math.sqrt(2)))
    else:
        kinks.append(up.detach())
        hidden = up * (up > 0)
    return hidden @ weights[f"{at}feed_forward.down.weight"].T
