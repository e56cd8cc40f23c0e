"""One run: config -> data -> model -> fit -> export -> record. The only place where these meet."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from sequifier.artifacts.atomic import check_writable, write_text
from sequifier.artifacts.checkpoint import resume_path
from sequifier.artifacts.sequence_losses import FILE as SEQUENCE_LOSSES
from sequifier.artifacts.sequence_losses import write_sequence_losses
from sequifier.config.dump import dump_yaml
from sequifier.config.identity import identity
from sequifier.config.train import TrainConfig
from sequifier.experiment.record import CONFIG, DATA, RunRecord, Status, installed_versions
from sequifier.export.models import Version, export_models, finite
from sequifier.prepare import Prepared, Shared, prepare
from sequifier.training.checkpoints import Resume, find_checkpoint, save_checkpoints
from sequifier.training.loop import DivergedError, Emit, StopReason, fit
from sequifier.training.memory import peak_memory_bytes, reset_peak_memory
from sequifier.training.optimizers import evaluation_mode
from sequifier.training.state import Progress, TrainState

Ended = Literal["finished", "early_stopping", "interrupted", "paused", "pruned", "diverged"]
UNFINISHED: tuple[Ended, ...] = ("interrupted", "paused")
"""Goes on from its checkpoint when it is started again."""


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    name: str
    ended: Ended
    best_val_loss: float | None  # None: no finite one
    best_epoch: int
    last_epoch: int
    metrics: dict[str, float]  # at the best epoch
    curve: list[float]  # the metric after each epoch
    n_targets: dict[str, int]  # evaluated targets of each target column
    parameters: int
    seconds: dict[str, float]  # of each stage, and in total
    peak_memory_bytes: int
    files: dict[str, str]  # what -> path below project_root
    baselines: dict[str, dict[str, float]]  # name -> metrics on the same targets
    seed: int
    batch_size: int
    accumulation_steps: int
    error: str | None = None  # why it diverged


@dataclass(frozen=True)
class Limits:
    """Where a run must stop before its last epoch.

    Attributes:
        until_epoch: pause after this epoch.
        thresholds: epoch -> the metric's worst best value so far with which the run may go on after it.
    """

    until_epoch: int | None = None
    thresholds: Mapping[int, float] = field(default_factory=dict)

    def reached(self, progress: Progress, direction: str) -> StopReason | None:
        """Why the run must stop after the epoch that just ended, or None."""
        threshold = self.thresholds.get(progress.epoch)
        if threshold is not None and progress.best_value is not None:
            lead = threshold - progress.best_value
            if (lead if direction == "minimize" else -lead) < 0:
                return "pruned"
        if self.until_epoch is not None and progress.epoch >= self.until_epoch:
            return "paused"
        return None


NO_LIMITS = Limits()


def run(
    config: TrainConfig,
    *,
    emit: Emit,
    shared: Shared | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: Resume = "auto",
    limits: Limits = NO_LIMITS,
) -> RunResult:
    """Train one model, export it and leave a record.

    Args:
        config: as loaded; what the metadata decides may be null. `seed` must be a number.
        emit: is told of stages, log lines, steps and epochs as they happen.
        shared: data kept from earlier runs in this process.
        should_stop: asked after each epoch; True saves and ends the run.
        resume: whether to go on from a checkpoint.
        limits: where to stop early.

    Raises:
        ConfigError, DataError, ModelError, RunError: the user can fix it; nothing was half-written.
    """
    started = time.perf_counter()
    emit("stage", stage="load")
    ready = prepare(config, shared or Shared())
    config, root = ready.config, config.root
    checkpoint = find_checkpoint(config, ready.metadata.fingerprint, root / "checkpoints", resume)
    if checkpoint is not None:
        ready.state.restore(checkpoint)
    # A folder that cannot be written to is better found now than after the training.
    for folder in ("models", "checkpoints"):
        check_writable(root / folder)
    record = RunRecord(root / "logs" / config.model_name, config.model_name, config.model_dump(mode="json"))
    try:
        result = _recorded(ready, record, root, emit, should_stop, limits, started)
    except BaseException as failure:
        status: Status = "interrupted" if isinstance(failure, KeyboardInterrupt) else "failed"
        error = f"{type(failure).__name__}: {failure}"
        record.log(f"{status}: {error}")
        record.finish(status, error=error)
        raise
    statuses: dict[Ended, Status] = {**dict.fromkeys(UNFINISHED, "interrupted"), "diverged": "failed"}
    record.finish(statuses.get(result.ended, "done"), results=asdict(result), error=result.error)
    return result


def _recorded(
    ready: Prepared,
    record: RunRecord,
    root: Path,
    emit: Emit,
    should_stop: Callable[[], bool],
    limits: Limits,
    started: float,
) -> RunResult:
    """Train, export and sum up, telling the record and the caller of each step."""
    config, state, progress = ready.config, ready.state, ready.state.progress
    assert config.seed is not None
    previous = _previous_loss(root, config.model_name, but=record.path)
    seconds = {"load": time.perf_counter() - started}
    n_parameters = sum(parameter.numel() for parameter in state.model.parameters())
    reset_peak_memory(ready.device.type)

    def say(line: str) -> None:
        record.log(line)
        emit("log", line=line)

    def told(event: str, **fields: Any) -> None:
        if event == "epoch":
            record.track({key: value for key, value in fields.items() if key not in ("epochs", "is_best")})
            say(_epoch_line(fields))
        elif event == "step" and fields["step"] != fields["steps"]:
            record.log(_step_line(fields))
        emit(event, **fields)

    def save(state: TrainState) -> None:
        before = time.perf_counter()
        shape = ready.architecture.as_json()
        save_checkpoints(state, config, ready.metadata.fingerprint, shape, root / "checkpoints")
        seconds["checkpoints"] = seconds.get("checkpoints", 0.0) + time.perf_counter() - before

    config_hash = identity(config, ready.metadata.fingerprint)
    write_text(record.path / CONFIG, _described_config(ready, config_hash))
    emit("started", record=str(record.path.relative_to(root)), parameters=n_parameters)
    say(
        f"{config.model_name}: {n_parameters:,} parameters, {len(ready.train):,} training windows of "
        f"{config.seq_length} events, {ready.valid.windows.n_targets:,} validation targets, on {ready.device.type}"
    )
    say(f"config {config_hash[:16]}, data {ready.metadata.fingerprint}, seed {config.seed}")
    for warning in ready.warnings:
        say(f"warning: {warning}")
    name, best = min(ready.baselines.items(), key=lambda item: item[1]["val_loss"])
    say(f"to beat: validation loss {best['val_loss']:.4f}{_accuracies(best)} ({name})")
    if progress.epoch:
        for entry in progress.history:
            record.track(entry)
        say(f"goes on after epoch {progress.epoch}")

    ended: Ended
    error = None
    try:
        ended = fit(
            state,
            ready.train,
            ready.valid,
            ready.objective,
            config,
            seed=config.seed,
            emit=told,
            after_epoch=save,
            stop_reason=lambda progress: (
                limits.reached(progress, config.direction) or ("interrupted" if should_stop() else None)
            ),
        )
    except DivergedError as diverged:
        ended, error = "diverged", diverged.what
        say(f"diverged: {diverged}")
    for entry in progress.history:
        for stage, value in entry["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    files: dict[str, str] = {}
    if state.best_sequences is not None:
        loss, targets = (values.numpy() for values in state.best_sequences)
        write_sequence_losses(record.path / SEQUENCE_LOSSES, loss, targets)
        files["sequence_losses"] = str((record.path / SEQUENCE_LOSSES).relative_to(root))
    if ended == "pruned":
        resume_path(root / "checkpoints", config.model_name).unlink(missing_ok=True)
    elif ended not in UNFINISHED:
        emit("stage", stage="export")
        before = time.perf_counter()
        versions = _versions(state, with_last=ended != "diverged")
        files |= export_models(
            state.model, ready.architecture, versions, config, ready.metadata, last_epoch=progress.epoch, root=root
        )
        seconds["export"] = time.perf_counter() - before
        resume_path(root / "checkpoints", config.model_name).unlink(missing_ok=True)
    seconds["total"] = time.perf_counter() - started
    result = RunResult(
        name=config.model_name,
        ended=ended,
        best_val_loss=progress.best_metrics.get("val_loss"),
        best_epoch=progress.best_epoch,
        last_epoch=progress.epoch,
        metrics=finite(progress.best_metrics),
        curve=[entry[config.metric] for entry in progress.history],
        n_targets={target: int(ready.valid.n_known_targets(target).sum()) for target in config.target_columns},
        parameters=n_parameters,
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
        peak_memory_bytes=peak_memory_bytes(ready.device.type),
        files={"record": str(record.path.relative_to(root)), **files},
        baselines=ready.baselines,
        seed=config.seed,
        batch_size=config.training_spec.batch_size,
        accumulation_steps=config.training_spec.accumulation_steps,
        error=error,
    )
    say(_last_line(result, previous))
    return result


def _versions(state: TrainState, *, with_last: bool) -> list[Version]:
    progress, versions = state.progress, []
    if state.best_weights is not None:
        versions.append(Version("best", state.best_weights, progress.best_epoch, progress.best_metrics))
    if with_last:
        with evaluation_mode(state.optimizer):
            versions.append(Version("last", state.weights(), progress.epoch, progress.history[-1]))
    return versions


def _previous_loss(root: Path, name: str, *, but: Path) -> float | None:
    """The best validation loss of the run of this name before this one, if it ended."""
    records = sorted(path for path in (root / "logs" / name).glob(f"[0-9]*/{DATA}") if path.parent != but)
    if not records:
        return None
    try:
        results = json.loads(records[-1].read_text(encoding="utf-8")).get("results", {})
    except ValueError:
        return None  # a record that somebody edited says nothing; it is no reason to stop
    loss = results.get("best_val_loss")
    return loss if isinstance(loss, float) and results.get("ended") not in UNFINISHED else None


def _described_config(ready: Prepared, config_hash: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in installed_versions().items())
    header = [
        f"resolved config of one run; config hash {config_hash}",
        f"data {ready.metadata.fingerprint}; device {ready.device.type}; {torch.get_num_threads()} threads",
        versions,
    ]
    return dump_yaml(ready.config.model_dump(mode="json"), header=header)


def _epoch_line(entry: Mapping[str, Any]) -> str:
    spent = entry["seconds"]["training"] + entry["seconds"]["validation"]
    best = "  best so far" if entry["is_best"] else ""
    return (
        f"epoch {entry['epoch']}/{entry['epochs']}  train loss {entry['train_loss']:.4f}  "
        f"validation loss {entry['val_loss']:.4f}{_accuracies(entry)}  learning rate {entry['learning_rate']:.3g}  "
        f"{spent:.1f} s{best}"
    )


def _accuracies(metrics: Mapping[str, Any]) -> str:
    """The accuracy of each categorical target, in few characters."""
    found = {key: value for key, value in metrics.items() if key.startswith("val_") and key.endswith("_accuracy")}
    return "".join(f"  {key[4:-9]} {100 * value:.1f} % right" for key, value in found.items())


def _step_line(fields: Mapping[str, Any]) -> str:
    return (
        f"epoch {fields['epoch']} step {fields['step']}/{fields['steps']}  train loss {fields['train_loss']:.4f}  "
        f"{fields['windows_per_second']:.0f} windows/s"
    )


def _last_line(result: RunResult, previous: float | None) -> str:
    if result.ended in UNFINISHED:
        return f"{result.ended} after epoch {result.last_epoch}; the same command goes on from there"
    if result.best_val_loss is None:
        return "ended without a finite validation loss: no model"
    baseline = min(scores["val_loss"] for scores in result.baselines.values())
    line = f"best validation loss {result.best_val_loss!r} in epoch {result.best_epoch} of {result.last_epoch}"
    if baseline:
        line += f", {100 * (1 - result.best_val_loss / baseline):.1f} % below the best baseline"
    if previous is not None:
        same = "the same" if previous == result.best_val_loss else f"{result.best_val_loss - previous:+.3g}"
        line += f"; the run before: {previous!r} ({same})"
    return line
