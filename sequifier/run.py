"""One run: config -> data -> model -> fit -> export -> record. The only place where these meet."""

import time
from collections.abc import Callable

from sequifier.artifacts.atomic import check_writable
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.read_file import wrap_read_errors
from sequifier.callbacks import Emit
from sequifier.config.train import TrainConfig
from sequifier.errors import ModelError, RunError
from sequifier.experiment.hooks import load_hooks
from sequifier.export.models import OF_THE_MACHINE, Version, export_models, finite
from sequifier.metrics.skill import skill
from sequifier.model.device import lost_device_reported
from sequifier.model.products import float32_products
from sequifier.params import param_scope
from sequifier.prepare import Prepared, prepare
from sequifier.run_record import UNFINISHED, Ended, RunRecord, RunResult, facts, open_record
from sequifier.training.checkpoints import (
    Resume,
    begin_afresh,
    close_checkpoints,
    find_checkpoint,
    save_checkpoints,
)
from sequifier.training.limits import NO_LIMITS, Limits
from sequifier.training.loop import Calls, DivergedError, StopReason, fit
from sequifier.training.memory import peak_memory_bytes, reset_peak_memory
from sequifier.training.optimizers import evaluation_mode
from sequifier.training.samples import sample_text
from sequifier.training.shared import Shared
from sequifier.training.state import Progress, TrainState


def run(
    config: TrainConfig,
    *,
    emit: Emit,
    shared: Shared | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    stops_now: Callable[[], bool] = lambda: False,
    resume: Resume = "auto",
    limits: Limits = NO_LIMITS,
    data: str | None = None,
    check: Callable[[TrainConfig, Metadata], list[str]] = lambda config, metadata: [],
) -> RunResult:
    """Train one model, export it and record the run.

    Args:
        config: as loaded; fields that the metadata decides may be null. `seed` must be a number.
        emit: receives stages, log lines, steps and epochs as they happen.
        shared: data kept from earlier runs in this process.
        should_stop: called after each epoch; True saves a checkpoint and ends the run.
        stops_now: the same, called after each optimizer step.
        resume: whether to resume from a checkpoint.
        limits: where to stop early.
        data: fingerprint of the data that the run was planned on; other data are refused. None takes what is there.
        check: gets the resolved config and the metadata before anything is written; it returns warnings, or raises.

    Raises:
        ConfigError, DataError, ModelError, RunError: the user can fix it; nothing was half-written.
    """
    started = time.perf_counter()
    emit("stage", stage="load")
    with param_scope(config.model_dump(mode="json")):
        hooks = load_hooks(config.hooks, config.root)
    ready = prepare(config, shared or Shared(), emit, data=data)
    ready.warnings.extend(check(ready.config, ready.metadata))
    resumes = _restore(ready, resume)
    _check_folders(ready)
    with lost_device_reported(ready.device), open_record(ready, hooks, emit) as record:
        loaded = time.perf_counter() - started
        seconds = {"load": loaded - ready.baseline_seconds, "baselines": ready.baseline_seconds}
        reset_peak_memory(ready.device)
        record.begin(_n_parameters(ready))
        if not resumes:
            begin_afresh(ready.config, ready.config.root / "checkpoints", record.log)
        ended, error = _train(ready, record, seconds, limits, should_stop, stops_now)
        files = record.write_unit_sums()
        if ended not in UNFINISHED:
            if ended != "pruned":
                files |= _export(ready, ended, seconds, emit)
                files |= record.write_forecasts()
            close_checkpoints(ready.config, ready.state.progress, ready.config.root / "checkpoints")
        seconds["total"] = time.perf_counter() - started
        result = _result(ready, ended, error, seconds, {"record": record.path, **files})
        record.finish(result)
    return result


def _restore(ready: Prepared, resume: Resume) -> bool:
    """Give the run the state of the checkpoint from which it resumes; returns whether there is one."""
    folder = ready.config.root / "checkpoints"
    checkpoint = find_checkpoint(ready.config, ready.metadata.fingerprint, folder, resume)
    if checkpoint is not None:
        with wrap_read_errors("the checkpoint", folder, fix="start afresh with --no-resume", error=ModelError):
            ready.state.restore(checkpoint)
    return checkpoint is not None


def _check_folders(ready: Prepared) -> None:
    """A folder that cannot be written to is better found before the training than after it."""
    try:
        for folder in ("models", "checkpoints"):
            check_writable(ready.config.root / folder)
    except RunError as error:
        error.is_shared = True
        raise


def _train(
    ready: Prepared,
    record: RunRecord,
    seconds: dict[str, float],
    limits: Limits,
    should_stop: Callable[[], bool],
    stops_now: Callable[[], bool],
) -> tuple[Ended, str | None]:
    """Train, and save checkpoints on the way; returns why it ended, and the error where it diverged."""
    config, state = ready.config, ready.state
    assert config.seed is not None

    def save(state: TrainState) -> None:
        ready.check_unchanged()
        before = time.perf_counter()
        shape, folder = ready.architecture.as_json(), config.root / "checkpoints"
        written = save_checkpoints(state, config, ready.metadata.fingerprint, shape, folder)
        seconds["checkpoints"] = seconds.get("checkpoints", 0.0) + time.perf_counter() - before
        for path in written:
            record.call("after_checkpoint", epoch=state.progress.running_epoch, path=path)

    def stop_reason(progress: Progress) -> StopReason | None:
        return limits.reached(progress, config.direction) or ("interrupted" if should_stop() else None)

    ended: Ended
    error = None
    calls = Calls(
        emit=record.event,
        save=save,
        stop_reason=stop_reason,
        stops_now=stops_now,
        log=record.log,
        sample=lambda state: record.log(_sample(ready)),
        hooks=record.hooks,
    )
    try:
        with float32_products(ready.device.type, tf32=False):
            ended = fit(state, ready.train, ready.valid, ready.objective, config, seed=config.seed, calls=calls)
    except DivergedError as diverged:
        ended, error = "diverged", diverged.what
        record.log(f"diverged: {diverged}")
    progress = state.progress
    seconds["training"] = sum(entry["seconds"]["training"] for entry in progress.history)
    seconds["validation"] = sum(entry["seconds"]["validation"] for entry in progress.entries())
    return ended, error


def _sample(ready: Prepared) -> str:
    spec, state = ready.config.training_spec, ready.state
    with evaluation_mode(state.optimizer):
        text = sample_text(
            state.model,
            ready.metadata,
            ready.config,
            prompt=spec.sampling_prompt,
            temperature=spec.sampling_temperature,
            max_length=spec.sampling_max_length,
            seed=spec.sampling_seed,
        )
    return f"sample after step {state.progress.step}:\n{text}"


def _export(ready: Prepared, ended: Ended, seconds: dict[str, float], emit: Emit) -> dict[str, str]:
    """Export the models of a run that has ended; returns the files."""
    config = ready.config
    emit("stage", stage="export")
    before = time.perf_counter()
    files = export_models(
        ready.state.model,
        ready.architecture,
        _versions(ready.state, with_last=ended != "diverged"),
        config,
        ready.metadata,
        last_epoch=ready.state.progress.epoch,
        root=config.root,
    )
    seconds["export"] = time.perf_counter() - before
    return files


def _versions(state: TrainState, *, with_last: bool) -> list[Version]:
    """Return the weights to export: the best and the last ones."""
    progress, versions = state.progress, []
    if state.best_weights is not None:
        versions.append(Version("best", state.best_weights, progress.best_epoch, progress.best_metrics))
    if with_last:
        last = {key: value for key, value in progress.history[-1].items() if key not in OF_THE_MACHINE}
        with evaluation_mode(state.optimizer):
            versions.append(Version("last", state.weights(), progress.epoch, last))
    return versions


def _result(
    ready: Prepared, ended: Ended, error: str | None, seconds: dict[str, float], files: dict[str, str]
) -> RunResult:
    config, progress = ready.config, ready.state.progress
    spec = config.training_spec
    assert config.seed is not None
    baselines = {name: found.scores for name, found in ready.baselines.items()}
    return RunResult(
        name=config.model_name,
        ended=ended,
        best_val_loss=progress.best_metrics.get("val_loss"),
        best_epoch=progress.best_epoch,
        best_step=progress.best_step,
        last_epoch=progress.epoch,
        metrics=finite(progress.best_metrics),
        metric_by_length=progress.best_by_length,
        skill=skill(
            progress.best_value,
            [scores[config.metric] for scores in baselines.values() if config.metric in scores],
            maximize=config.direction == "maximize",
        ),
        curve=[entry[config.metric] for entry in progress.history],
        n_targets={target: ready.valid.of(target).n_known_at_first_step(target) for target in config.target_columns},
        parameters=_n_parameters(ready),
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
        throughput=progress.throughput(),
        peak_memory_bytes=peak_memory_bytes(ready.device),
        files=files,
        baselines=baselines,
        seed=config.seed,
        batch_size=spec.batch_size,
        accumulation_steps=spec.accumulation_steps,
        facts=facts(ready),
        inputs=ready.inputs,
        error=error,
    )


def _n_parameters(ready: Prepared) -> int:
    return sum(parameter.numel() for parameter in ready.state.model.parameters())
