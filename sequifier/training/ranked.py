"""The place of the true class among the candidates of a target, from logits.

Shapes: M targets, K known classes.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sequifier.dataset.gather import to_device
from sequifier.dataset.ranking.candidates import Candidates
from sequifier.dataset.ranking.history import Rows
from sequifier.metrics.predictions import ClassPredictions
from sequifier.model.device import in_double


def ranked(candidates: Candidates, found: ClassPredictions, ahead: Any = None) -> ClassPredictions:
    """Return predictions with the place of the true class; `ahead` as `Candidates.ahead` returns it."""
    return replace(found, place=candidates.place(found.rank, ahead), cutoffs=candidates.cutoffs)


def ranked_by_logits(
    candidates: Candidates,
    found: ClassPredictions,
    logits: Tensor,
    truth: Tensor,
    rows: Rows | None,
    at: Rows | None,
) -> ClassPredictions:
    """Return predictions with the place of the true class.

    Args:
        candidates: of the target.
        found: the predictions.
        logits: (M, K).
        truth: true class ids, (M,); unknown where the place has no meaning.
        rows: of the known targets in the split; needed where candidates depend on the history.
        at: places of these targets in M; None: all, in order.
    """
    if candidates.are_all_classes:
        return ranked(candidates, found)
    ahead = logits.new_zeros(len(logits), dtype=torch.float32)
    if candidates.ranks_end:
        assert candidates.end is not None
        ahead += logits[:, candidates.end - 1] >= logits.gather(1, truth.clamp(min=1)[:, None] - 1)[:, 0]
    for owner, classes in candidates.pairs(rows):
        place = to_device(owner if at is None else at[owner], logits.device)
        other = logits[place, to_device(classes, logits.device) - 1]
        ahead.index_add_(0, place, (other >= logits[place, truth[place] - 1]).to(ahead.dtype))
    return ranked(candidates, found, in_double(ahead))
