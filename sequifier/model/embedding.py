"""From the columns of an event to one vector.

Shapes: B batch, T steps, C categorical columns, R real columns, W width of all column embeddings, D model width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sequifier.model.heads import Decoder


class RealEmbedding(nn.Linear):
    """The embedding of a real value, (..., 1) -> (..., W): the value times a learned vector, plus another one.

    Its weight is not a matrix that mixes features, so it has no weight decay, like the vectors of categories.
    """

    def __init__(self, width: int) -> None:
        super().__init__(1, width)


class EventEmbedding(nn.Module):
    """Embed each column, concatenate the parts, and mix them if `joint` is set.

    A category has a learned vector; id 0 (padding, unknown) is zero and stays zero. A real value goes through a linear
    layer; with a width of 1 it stays as it is.

    Args:
        n_classes: classes of each categorical column, id 0 included.
        n_real: number of real columns.
        embedding_widths: width of each column, the categorical ones first; their sum is W.
        dim_model: D.
        joint: whether a linear layer mixes the parts, W -> D; without it W equals D.
    """

    def __init__(
        self, *, n_classes: Sequence[int], n_real: int, embedding_widths: Sequence[int], dim_model: int, joint: bool
    ) -> None:
        super().__init__()
        if len(embedding_widths) != len(n_classes) + n_real:
            raise ValueError(
                f"{len(embedding_widths)} embedding_widths for {len(n_classes)} categorical and {n_real} real columns"
            )
        total = sum(embedding_widths)
        if not joint and total != dim_model:
            raise ValueError(f"embedding_widths sum to {total}, not to dim_model {dim_model}, and joint is off")
        n_categorical = len(n_classes)
        # Lists in column order: a column name may hold dots, which module names may not.
        self.categorical = nn.ModuleList(
            nn.Embedding(classes, width, padding_idx=0)
            for classes, width in zip(n_classes, embedding_widths[:n_categorical], strict=True)
        )
        self.real = nn.ModuleList(
            RealEmbedding(width) if width > 1 else nn.Identity() for width in embedding_widths[n_categorical:]
        )
        self.joint = nn.Linear(total, dim_model) if joint else nn.Identity()
        self.widths = tuple(embedding_widths)

    def forward(self, categories: Tensor, reals: Tensor) -> Tensor:
        """Embed the events of a batch.

        Args:
            categories: ids, (B, T, C) int32 or int64.
            reals: standardised values, (B, T, R) float32.

        Returns:
            (B, T, D), float32 or better, also where autocast computes products in a shorter format: it is the start
            of the residual stream, to which every block adds.
        """
        parts = [embed(ids) for embed, ids in zip(self.categorical, categories.unbind(-1), strict=True)]
        parts += [embed(value[..., None]) for embed, value in zip(self.real, reals.unbind(-1), strict=True)]
        joined: Tensor = self.joint(torch.cat(parts, dim=-1))  # (B, T, width) each -> (B, T, W) -> (B, T, D)
        return joined.to(torch.promote_types(joined.dtype, torch.float32))

    def decoder(self, hidden: Tensor, column: int) -> Decoder:
        """Return a decoder whose output vector of a class is what its embedding adds to the residual stream.

        So a column has one table. Source: Press & Wolf 2017, https://arxiv.org/abs/1608.05859, there without a joint
        layer. With one the vector of a class is `joint` times its embedding, and `joint` is applied to `hidden`
        instead, which is the same logit.

        Args:
            hidden: (..., D).
            column: number of the categorical column; without a joint layer it is the only input column.
        """
        embedding = self.categorical[column]
        assert isinstance(embedding, nn.Embedding)
        if isinstance(self.joint, nn.Linear):
            start = sum(self.widths[:column])
            hidden = hidden @ self.joint.weight[:, start : start + self.widths[column]]  # (..., D) -> (..., E)
        return Decoder(hidden, embedding.weight[1:], None)
