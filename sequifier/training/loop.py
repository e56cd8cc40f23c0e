"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from sequifier.callbacks import Emit
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split, in_steps
from sequifier.dataset.order import epoch_order
from sequifier.errors import RunError
from sequifier.model.device import in_double, sums_device
from sequifier.training.evaluation_batch import Evaluator, evaluation_batch
from sequifier.training.memory import peak_memory_bytes
from sequifier.training.objective import Objective
from sequifier.training.optimizers import evaluation_mode
from sequifier.training.state import Progress, TrainState
from sequifier.training.step import train_step
from sequifier.training.tally import Evaluation

StopReason = Literal["interrupted", "paused", "pruned"]
"""interrupted: on request; paused: at an agreed epoch; pruned: worse than a threshold."""

SHARES_LOGGED = 5
"""Number of classes, the most predicted ones, of which `class_share_log_columns` logs the fraction."""


class DivergedError(RunError):
    """The loss is NaN or infinite."""


@dataclass(frozen=True)
class Calls:
    """What the loop calls.

    Attributes:
        emit: receives stages ("stage"), logged steps ("step"), evaluations within an epoch ("evaluation") and epochs
            ("epoch").
        save: saves checkpoints, after each epoch and every `checkpoint_interval_steps` steps.
        stop_reason: called after each epoch but the last; anything but None ends the training.
        stops_now: called after each step; True saves a checkpoint and ends the training within the epoch.
        log: receives lines of the log.
        sample: called every `sampling_interval_steps` steps.
        hooks: point -> function, called with `epoch`, `step`, `model`, `optimizer` and what the point adds.
    """

    emit: Emit
    save: Callable[[TrainState], None] = lambda state: None
    stop_reason: Callable[[Progress], StopReason | None] = lambda progress: None
    stops_now: Callable[[], bool] = lambda: False
    log: Callable[[str], None] = lambda line: None
    sample: Callable[[TrainState], None] = lambda state: None
    hooks: Mapping[str, Callable[..., None]] = field(default_factory=dict)


def fit(
    state: TrainState,
    train: Split,
    valid: Split,
    objective: Objective,
    config: TrainConfig,
    *,
    seed: int,
    calls: Calls,
) -> Literal["finished", "early_stopping"] | StopReason:
    """Train until the epochs, the steps or the patience are used up.

    Args:
        state: fresh or restored, also in the middle of an epoch; changed in place.
        train: training windows.
        valid: evaluation windows.
        objective: what is minimised.
        config: resolved.
        seed: of the order of windows.
        calls: functions that are called on the way.

    Returns:
        Why it ended.

    Raises:
        DivergedError: the training or validation loss is NaN or infinite.
    """
    spec, progress = config.training_spec, state.progress
    size = evaluation_batch(state.model, valid, spec.batch_size)
    evaluator = Evaluator(valid, objective, batch_size=size, log=calls.log)

    def validated(*, ends_epoch: bool) -> bool:
        """Evaluate; returns False where that was interrupted, with a checkpoint of the last step."""
        try:
            _validate(state, train, evaluator, config, calls, ends_epoch=ends_epoch)
        except KeyboardInterrupt:  # from the evaluation: nothing has changed since the last step
            calls.save(state)
            return False
        return True

    while progress.epoch < spec.epochs and (progress.steps_in_epoch or not _steps_used_up(state, config)):
        # Also before the first epoch: a run may have died between the checkpoint of an epoch and what follows from it.
        if progress.epoch and not progress.steps_in_epoch and (reason := _reason_to_end(progress, config, calls)):
            return reason
        if _lacks_evaluation(state, train, config) and not validated(ends_epoch=False):
            return "interrupted"
        for is_last in train_epoch(state, train, objective, config, seed=seed, calls=calls):
            if not is_last and _is_due(spec.eval_interval_steps, progress.step) and not validated(ends_epoch=False):
                return "interrupted"
            if _is_due(spec.sampling_interval_steps, progress.step):
                calls.sample(state)
            if not is_last and _is_due(spec.checkpoint_interval_steps, progress.step):
                calls.save(state)
            if calls.stops_now():
                calls.save(state)
                return "interrupted"
        if not validated(ends_epoch=True):
            return "interrupted"
        calls.save(state)
    return "early_stopping" if _has_lost_patience(progress, config) else "finished"


def _reason_to_end(
    progress: Progress, config: TrainConfig, calls: Calls
) -> Literal["early_stopping"] | StopReason | None:
    """Why a training ends between two epochs; None where it continues."""
    return "early_stopping" if _has_lost_patience(progress, config) else calls.stop_reason(progress)


def _has_lost_patience(progress: Progress, config: TrainConfig) -> bool:
    patience = config.training_spec.early_stopping_epochs
    return patience is not None and progress.epoch > 0 and progress.epoch - progress.best_epoch >= patience


def _lacks_evaluation(state: TrainState, train: Split, config: TrainConfig) -> bool:
    """Whether the training was interrupted in the evaluation within an epoch that follows its last step."""
    spec, progress = config.training_spec, state.progress
    is_last = progress.steps_in_epoch == spec.steps_per_epoch(train.n_windows) or _steps_used_up(state, config)
    if not progress.steps_in_epoch or is_last or not _is_due(spec.eval_interval_steps, progress.step):
        return False
    return all(entry["step"] != progress.step for entry in progress.evaluations)


def train_epoch(
    state: TrainState, train: Split, objective: Objective, config: TrainConfig, *, seed: int, calls: Calls
) -> Iterator[bool]:
    """Train the rest of the running epoch, from the step at which the state is.

    Yields:
        After each optimizer step, whether it was the last one of the epoch.
    """
    spec, progress = config.training_spec, state.progress
    epoch = progress.epoch + 1
    train = train.in_epoch(epoch)
    orders = [
        part.choose(epoch_order(len(part), seed=seed, epoch=epoch, part=number))
        for number, part in enumerate(train.parts)
    ]
    n_steps = spec.steps_per_epoch(train.n_windows)
    # Targets with few windows are in some steps only: then the mean over steps is not the mean over targets.
    in_parts = [part.windows.n_targets for part in train.parts]
    scales = [sum(in_parts) / in_part for in_part in in_parts]
    # Sums stay on the device: reading one waits for the step.
    loss_sum = state.epoch_loss = state.epoch_loss.to(sums_device(train.device))
    after_step = calls.hooks.get("after_step")
    state.model.train()
    calls.emit("stage", stage="training")
    started = time.perf_counter() - progress.training_seconds
    done = progress.steps_in_epoch
    for number, chosen in enumerate(in_steps(orders, spec.step_size, done=done), start=done + 1):
        if _steps_used_up(state, config):  # `max_steps` was lowered since the checkpoint
            return
        losses = train_step(state, train, chosen, objective, config)
        for part, windows, loss, scale in zip(train.parts, chosen, losses, scales, strict=True):
            in_step = int(part.n_targets(windows.numbers).sum())
            loss_sum += in_double(loss) * (in_step * scale)
            progress.positions += in_step
            progress.windows += len(windows)
        progress.step += 1
        progress.steps_in_epoch = number
        if after_step is not None:
            after_step(
                epoch=epoch,
                step=progress.step,
                loss=torch.stack(losses).sum(),
                model=state.model,
                optimizer=state.optimizer,
            )
        is_last = number == n_steps or _steps_used_up(state, config)
        if number % spec.log_interval == 0 or is_last:
            _report_step(state, config, calls, n_steps=n_steps, seconds=time.perf_counter() - started)
        progress.training_seconds = time.perf_counter() - started
        yield is_last
        started = time.perf_counter() - progress.training_seconds
        if is_last:
            return


def _report_step(state: TrainState, config: TrainConfig, calls: Calls, *, n_steps: int, seconds: float) -> None:
    """Emit the mean loss of the running epoch so far; this waits for the device."""
    progress = state.progress
    mean = float(state.epoch_loss) / progress.positions
    if not math.isfinite(mean):
        raise DivergedError(
            f"the training loss is {mean} in epoch {progress.running_epoch}, step {progress.step}",
            fix="lower learning_rate, or set gradient_clip or warmup_steps",
        )
    calls.emit(
        "step",
        epoch=progress.running_epoch,
        epochs=config.training_spec.epochs,
        step=progress.steps_in_epoch,
        steps=n_steps,
        train_loss=mean,
        learning_rate=state.schedule.learning_rate,
        windows_per_second=progress.windows / seconds,
    )


def _validate(
    state: TrainState, train: Split, evaluator: Evaluator, config: TrainConfig, calls: Calls, *, ends_epoch: bool
) -> None:
    """Evaluate, keep the weights if they are the best, and report it; at the end of an epoch also begin the next."""
    spec, progress = config.training_spec, state.progress
    began, epoch = time.perf_counter(), progress.epoch + 1
    with evaluation_mode(state.optimizer):
        calls.emit("stage", stage="validation")  # which may be interrupted from here on
        result = evaluator(state.model)
        calls.emit("stage", stage="checkpoint")
        if not math.isfinite(result.metrics["val_loss"]):
            when = "after" if ends_epoch else f"after step {progress.step}, in"
            raise DivergedError(f"the validation loss is {result.metrics['val_loss']} {when} epoch {epoch}")
        is_best = _keep_if_best(state, config, epoch, result)
    within = progress.steps_in_epoch / spec.steps_per_epoch(train.n_windows)
    entry = {
        "epoch": epoch if ends_epoch else progress.epoch + within,
        **_entry(state, train, result),
        "seconds": {"training": progress.training_seconds, "validation": time.perf_counter() - began},
    }
    if result.by_length:
        entry["metric_by_length"] = result.by_length
    if spec.class_share_log_columns:
        entry["class_shares"] = {target: _class_shares(result, target) for target in spec.class_share_log_columns}
    if ends_epoch:
        state.schedule.step("epoch", result.metrics["val_loss"])
        progress.history.append(entry)
        state.begin_epoch()
    else:
        progress.evaluations.append(entry)
    calls.emit("epoch" if ends_epoch else "evaluation", epochs=spec.epochs, is_best=is_best, **entry)
    _call(calls, "after_validation", state, epoch, metrics=result.metrics, is_best=is_best)
    if ends_epoch:
        _call(calls, "after_epoch", state, epoch, metrics=entry, is_best=is_best)
    else:
        calls.emit("stage", stage="training")


def _entry(state: TrainState, train: Split, result: Evaluation) -> dict[str, Any]:
    """What the history keeps of an evaluation."""
    progress = state.progress
    return {
        "step": progress.step,
        "train_loss": float(state.epoch_loss) / progress.positions,
        **result.metrics,
        "standard_error": result.standard_error,
        "learning_rate": state.schedule.learning_rate,
        "windows_per_second": progress.windows / progress.training_seconds,
        "events_per_second": progress.positions / progress.training_seconds,
        "peak_memory_bytes": peak_memory_bytes(train.device),
    }


def _call(calls: Calls, point: str, state: TrainState, epoch: int, **context: Any) -> None:
    if hook := calls.hooks.get(point):
        hook(epoch=epoch, step=state.progress.step, model=state.model, optimizer=state.optimizer, **context)


def _keep_if_best(state: TrainState, config: TrainConfig, epoch: int, result: Evaluation) -> bool:
    """Keep the weights if the metric is the best so far; returns whether it is."""
    progress = state.progress
    value = result.metrics[config.metric]
    sign = 1 if config.direction == "minimize" else -1
    if progress.best_value is not None and sign * value >= sign * progress.best_value:
        return False
    progress.best_epoch, progress.best_step, progress.best_value = epoch, progress.step, value
    progress.best_metrics = {**result.metrics, "standard_error": result.standard_error}
    progress.best_by_length = result.by_length
    state.best_weights = state.weights()
    state.best_units = result.units
    return True


def _class_shares(result: Evaluation, target: str) -> list[list[float]]:
    """Return the class ids that were predicted most often, each with its fraction of the predictions."""
    counts = result.predicted_classes[target]
    shares, index = (counts / counts.sum()).sort(descending=True, stable=True)
    found = zip((index + 1).tolist()[:SHARES_LOGGED], shares.tolist(), strict=False)
    return [[class_id, share] for class_id, share in found if share]


def _is_due(interval: int | None, step: int) -> bool:
    return interval is not None and step % interval == 0


def _steps_used_up(state: TrainState, config: TrainConfig) -> bool:
    max_steps = config.training_spec.max_steps
    return max_steps is not None and state.progress.step >= max_steps
