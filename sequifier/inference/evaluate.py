"""How good predictions are, where the truth is known. Shapes: M predicted events."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def real_metrics(value: NDArray[np.float32], truth: NDArray[np.float32], *, std: float) -> dict[str, float]:
    """Errors in original units; value and truth are (M,) standardised."""
    error = (value.astype(np.float64) - truth) * std
    return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean())), "n": len(truth)}


def categorical_metrics(
    ids: NDArray[np.int64], probability: NDArray[np.float32], truth: NDArray[Any]
) -> dict[str, float]:
    """Share of hits and mean log-loss in nats, over the events whose true category is known.

    Args:
        ids: (M,) predicted classes.
        probability: (M,) of the true class.
        truth: (M,) class ids; 0 is a category that the model does not know.
    """
    known = truth != 0
    if not known.any():
        return {"n": 0}
    tiny = np.finfo(np.float32).tiny  # a float32 softmax may round a small probability to 0
    return {
        "accuracy": float((ids == truth)[known].mean()),
        "log_loss": float(np.log(1 / np.maximum(probability[known].astype(np.float64), tiny)).mean()),
        "n": int(known.sum()),
    }
