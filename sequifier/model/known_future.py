"""The steps to come: what is known of them beforehand, read together with the event that is predicted from.

A step of the horizon has a vector of its own: the positive part of a sum, of a linear map of the vector of the origin
and of an embedding of each known column at that step. A target adds a linear map of it, the same at all steps, to what
it predicts from the origin alone.

Source: the temporal decoder of TiDE (Das et al. 2023, https://arxiv.org/abs/2304.08424, section 4.1.2). Differs: the
skip connection is the direct forecast of the origin, which has weights of its own for each step, and categories have
embeddings. Why not attention over steps to come: docs/decisions/051-known-future.md.
Shapes: D model width, H steps, C categorical and R real known columns.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sequifier.model.embedding import RealEmbedding

Future = tuple[Tensor, Tensor]
"""Ids (..., H, C) and standardised values (..., H, R) of the known columns at the steps after each origin."""


class StepsToCome(nn.Module):
    """The vectors of the steps that are forecast.

    Args:
        n_classes: classes of each known categorical column, id 0 included.
        n_real: number of known real columns.
        dim_model: D.
    """

    def __init__(self, *, n_classes: Sequence[int], n_real: int, dim_model: int) -> None:
        super().__init__()
        if not n_classes and not n_real:
            raise ValueError("no column is known of the steps to come")
        self.origin = nn.Linear(dim_model, dim_model)
        # Each column is as wide as the sum, so that a unit may combine all columns: the hour on a holiday.
        self.categorical = nn.ModuleList(nn.Embedding(classes, dim_model, padding_idx=0) for classes in n_classes)
        self.real = nn.ModuleList(RealEmbedding(dim_model) for _ in range(n_real))

    def forward(self, hidden: Tensor, future: Future) -> Tensor:
        """Return the vector of each step after each origin, (..., D) -> (..., H, D)."""
        categories, reals = future
        found = self.origin(hidden).unsqueeze(-2)
        for embed, ids in zip(self.categorical, categories.unbind(-1), strict=True):
            found = found + embed(ids)
        for embed, values in zip(self.real, reals.unbind(-1), strict=True):
            found = found + embed(values[..., None])
        return F.relu(found)
