"""The score of an exported model on another split, such as that of the winner of a search on the test split."""

from pathlib import Path
from typing import Any

import torch

from sequifier.artifacts.model_file import load_model
from sequifier.artifacts.read_file import wrap_read_errors
from sequifier.artifacts.sequence_losses import ONE_MODEL, write_unit_sums
from sequifier.config.architecture import DROPOUT_RATIO
from sequifier.config.train import TrainConfig
from sequifier.errors import ModelError
from sequifier.prepare import prepare
from sequifier.training.evaluation_batch import Evaluator, evaluation_batch
from sequifier.training.shared import Shared


def score(
    config: TrainConfig,
    model_path: Path,
    split_path: str,
    *,
    data: str | None = None,
    sums: Path | None = None,
    shared: Shared | None = None,
) -> dict[str, float]:
    """Evaluate an exported model on another split, exactly as it was evaluated in training.

    Args:
        config: of the run that trained the model.
        model_path: the ONNX file with the weights.
        split_path: the encoded events.
        data: as `prepare.prepare`.
        sums: file to write: the sums by sampling unit of the model and of the baselines on that split.
        shared: as `run.run`.

    Returns:
        val_loss and val_<target>_<metric>, and the standard error of the loss.
    """
    import onnx

    def emit(event: str, **fields: Any) -> None: ...

    config = config.model_copy(update={"validation_data_path": split_path})
    # A test split may have one class of a label, and then some metrics have no value.
    ready = prepare(config, shared or Shared(), None if sums is None else emit, data=data, requires_metric=False)
    model = ready.state.model
    with wrap_read_errors("the model", model_path, fix="train the run again", error=ModelError):
        initializers = load_model(model_path)[0].graph.initializer
        weights = [weight for weight in initializers if weight.name != DROPOUT_RATIO]
        model.load_state_dict({weight.name: torch.tensor(onnx.numpy_helper.to_array(weight)) for weight in weights})
    batch_size = evaluation_batch(model, ready.valid, config.training_spec.batch_size)
    result = Evaluator(ready.valid, ready.objective, batch_size=batch_size)(model)
    if sums is not None:
        of_baselines = {name: found.units for name, found in ready.baselines.items()}
        write_unit_sums(sums, {ONE_MODEL: result.units, **of_baselines})
    return result.scores
