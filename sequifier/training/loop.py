"""The training loop."""

import math
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch

from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split, in_batches
from sequifier.dataset.order import epoch_order
from sequifier.errors import RunError
from sequifier.training.evaluate import Evaluation, Objective, evaluate
from sequifier.training.optimizers import evaluation_mode
from sequifier.training.state import Progress, TrainState
from sequifier.training.step import train_step

StopReason = Literal["interrupted", "paused", "pruned"]
"""interrupted: somebody asked to end; paused: at an epoch that was agreed on; pruned: worse than a threshold."""

EVALUATION_BATCHES = 2
"""Evaluation batches are so many times larger than training ones: without gradients they need less memory."""


class Emit(Protocol):
    """Is told what happens: `emit("epoch", epoch=3, val_loss=1.2)`."""

    def __call__(self, event: str, **fields: Any) -> None: ...


class DivergedError(RunError):
    """The loss is no longer a number."""


def fit(
    state: TrainState,
    train: Split,
    valid: Split,
    objective: Objective,
    config: TrainConfig,
    *,
    seed: int,
    emit: Emit,
    after_epoch: Callable[[TrainState], None],
    stop_reason: Callable[[Progress], StopReason | None],
) -> Literal["finished", "early_stopping"] | StopReason:
    """Train until the epochs, the steps or the patience are used up.

    Args:
        state: fresh or restored; changed in place.
        train: training windows.
        valid: evaluation windows.
        objective: what is minimised.
        config: resolved.
        seed: of the order of windows.
        emit: is told of steps ("step") and epochs ("epoch").
        after_epoch: called when an epoch's results are in the state: saves checkpoints.
        stop_reason: asked after each epoch but the last; anything but None ends the training.

    Returns:
        Why it ended.

    Raises:
        DivergedError: the training or validation loss is NaN or infinite.
    """
    spec, progress = config.training_spec, state.progress
    while progress.epoch < spec.epochs and not _steps_used_up(state, config):
        epoch, started = progress.epoch + 1, time.perf_counter()
        train_loss = train_epoch(state, train, objective, config, seed=seed, epoch=epoch, emit=emit)
        trained = time.perf_counter()
        emit("stage", stage="validation")
        with evaluation_mode(state.optimizer):
            result = evaluate(state.model, valid, objective, batch_size=EVALUATION_BATCHES * spec.batch_size)
            if not math.isfinite(result.metrics["val_loss"]):
                raise DivergedError(f"the validation loss is {result.metrics['val_loss']} after epoch {epoch}")
            is_best = _note_best(state, config, epoch, result)
        learning_rate = state.schedule.learning_rate
        state.schedule.step("epoch", result.metrics["val_loss"])
        progress.epoch = epoch
        entry = {
            "epoch": epoch,
            "step": progress.step,
            "train_loss": train_loss,
            **result.metrics,
            "standard_error": result.standard_error,
            "learning_rate": learning_rate,
            "seconds": {"training": trained - started, "validation": time.perf_counter() - trained},
        }
        progress.history.append(entry)
        emit("epoch", epochs=spec.epochs, is_best=is_best, **entry)
        after_epoch(state)
        patience = spec.early_stopping_epochs
        if patience is not None and epoch - progress.best_epoch >= patience:
            return "early_stopping"
        if progress.epoch < spec.epochs and (reason := stop_reason(progress)) is not None:
            return reason
    return "finished"


def train_epoch(
    state: TrainState, train: Split, objective: Objective, config: TrainConfig, *, seed: int, epoch: int, emit: Emit
) -> float:
    """One pass over the training windows in the order of this epoch.

    Returns:
        The mean loss over the target positions seen.
    """
    spec, progress = config.training_spec, state.progress
    state.model.train()
    emit("stage", stage="training")
    order = epoch_order(len(train), seed=seed, epoch=epoch)
    n_steps = -(-len(order) // spec.step_size)
    # Sums stay on the device: reading one waits for the step.
    loss_sum = torch.zeros((), dtype=torch.float64, device=train.device)
    positions = 0
    started = time.perf_counter()
    for number, chosen in enumerate(in_batches(order, spec.step_size), start=1):
        loss = train_step(state, train, chosen, objective, config)
        in_step = int((train.windows.last[chosen] - train.windows.counted[chosen] + 1).sum())
        loss_sum += loss.double() * in_step
        positions += in_step
        progress.step += 1
        if number % spec.log_interval == 0 or number == n_steps:
            mean = float(loss_sum) / positions
            if not math.isfinite(mean):
                raise DivergedError(
                    f"the training loss is {mean} in epoch {epoch}, step {progress.step}",
                    fix="lower learning_rate, or set gradient_clip or warmup_steps",
                )
            emit(
                "step",
                epoch=epoch,
                epochs=spec.epochs,
                step=number,
                steps=n_steps,
                train_loss=mean,
                learning_rate=state.schedule.learning_rate,
                windows_per_second=min(number * spec.step_size, len(order)) / (time.perf_counter() - started),
            )
        if _steps_used_up(state, config):
            break
    return float(loss_sum) / positions


def _note_best(state: TrainState, config: TrainConfig, epoch: int, result: Evaluation) -> bool:
    progress = state.progress
    value = result.metrics[config.metric]
    sign = 1 if config.direction == "minimize" else -1
    if progress.best_value is not None and sign * value >= sign * progress.best_value:
        return False
    progress.best_epoch, progress.best_value = epoch, value
    progress.best_metrics = {**result.metrics, "standard_error": result.standard_error}
    state.best_weights = state.weights()
    state.best_sequences = (result.sequence_loss, result.sequence_targets)
    return True


def _steps_used_up(state: TrainState, config: TrainConfig) -> bool:
    max_steps = config.training_spec.max_steps
    return max_steps is not None and state.progress.step >= max_steps
