"""How many windows are evaluated together: as many as fit into memory, and fewer where it runs out."""

from collections.abc import Callable

import torch

from sequifier.dataset.batches import Split
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import evaluate
from sequifier.training.memory import is_out_of_memory
from sequifier.training.objective import Objective
from sequifier.training.tally import Evaluation

TRAINING_BATCHES = 2
"""On a CPU: factor by which evaluation batches are larger than training batches. Another one would change the last
digits of every run."""

NUMBERS = 1 << 27
"""On other devices: numbers in the tensors of an evaluation batch, 512 MiB in float32. Enough to keep a GPU busy, and
fixed instead of what is free now, so that a repeated run evaluates in the same batches."""

WIDTHS = 16
"""Numbers that a block makes at each step, in model widths: with a feed-forward part of 4 widths and a gate 12 for its
hidden vectors, and 4 for the stream, queries, keys and values."""


def evaluation_batch(model: Transformer, split: Split, batch_size: int) -> int:
    """Return the number of windows with which the evaluation of a run begins.

    Args:
        model: the model of the run.
        split: the evaluated split.
        batch_size: windows of a training batch, which fit with all that the backward pass needs.
    """
    batch_size = max(1, batch_size // split.rows_per_window)
    if split.device.type == "cpu":
        return TRAINING_BATCHES * batch_size
    width = model.heads.dim_model
    classes = split.horizon * sum(max(n_classes - 1, 1) for n_classes in model.heads.target_classes.values())
    classes += split.horizon * width * (model.steps_to_come is not None)
    # A mask has a number for each pair of steps.
    in_window = split.rows_per_window * split.seq_length * (WIDTHS * width + classes + split.seq_length)
    return max(batch_size, NUMBERS // in_window)


class Evaluator:
    """Evaluates a model again and again. Where a batch does not fit into memory, it is halved for the rest of the run.

    Args:
        split, objective: as in `evaluate`.
        batch_size: windows per forward pass, at first.
        log: receives a line when the batch is halved.
    """

    def __init__(
        self, split: Split, objective: Objective, *, batch_size: int, log: Callable[[str], None] = lambda line: None
    ) -> None:
        self._split, self._objective, self._log = split, objective, log
        self.batch_size = min(batch_size, max(map(len, split.parts)))

    def __call__(self, model: Transformer) -> Evaluation:
        """Evaluate.

        Raises:
            Exception: a single window does not fit into memory.
        """
        while True:
            try:
                return evaluate(model, self._split, self._objective, batch_size=self.batch_size)
            except Exception as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
            # Only here has the error gone, which holds the tensors of the failed pass.
            if self._split.device.type == "cuda":
                torch.cuda.empty_cache()
            self._log(f"evaluating {self.batch_size} windows at a time ran out of memory: now {self.batch_size // 2}")
            self.batch_size //= 2
