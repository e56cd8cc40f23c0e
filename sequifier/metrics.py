"""How good predictions are, in one place for training, inference and scores.

Everything is a sum over target positions, in float64, so that results do not depend on how positions were batched.
Shapes: M target positions, K known classes.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor


def categorical_sums(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Sums over positions for one categorical target.

    Args:
        logits: (M, K) of classes 1..K.
        target: (M,) class ids 1..K.

    Returns:
        log_loss (nats), accuracy and top5 (hits), each a float64 scalar.
    """
    index = target - 1
    chosen = logits.gather(1, index[:, None])
    # Ties count against the truth: a model that gives all classes the same logit knows nothing.
    rank = (logits >= chosen).sum(dim=1) - 1
    return {
        "log_loss": F.cross_entropy(logits.float(), index, reduction="none").double().sum(),
        "accuracy": (rank == 0).double().sum(),
        "top5": (rank < 5).double().sum(),
    }


def real_sums(value: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Sums over positions for one real target, both (M,) standardised: absolute and squared errors, float64."""
    error = value.double() - target.double()
    return {"mae": error.abs().sum(), "rmse": error.square().sum()}


def means(sums: Mapping[str, float], count: int, *, std: float = 1.0) -> dict[str, float]:
    """Metrics from sums over `count` positions.

    Args:
        sums: as `categorical_sums` and `real_sums` return them.
        count: positions.
        std: of a real target: brings mae and rmse back to original units.
    """
    values = {name: total / count for name, total in sums.items()}
    if "rmse" in values:
        values["rmse"] = values["rmse"] ** 0.5 * std
        values["mae"] *= std
    return values


def clustered_standard_error(loss: Tensor, count: Tensor) -> float:
    """Standard error of a mean over positions that come in sequences, whose errors are not independent.

    The ratio estimator of survey sampling (Cochran 1977, section 6.3): sequences are the sampling units.

    Args:
        loss: (S,) sum of the loss over each sequence's positions.
        count: (S,) positions of each sequence.

    Returns:
        The standard error of sum(loss) / sum(count); NaN for fewer than two sequences.
    """
    n_sequences = int((count > 0).sum())
    if n_sequences < 2:
        return float("nan")
    loss, count = loss.double(), count.double()
    residual = loss - loss.sum() / count.sum() * count
    variance = residual.square().sum() * n_sequences / (n_sequences - 1)
    return float(variance.sqrt() / count.sum())
