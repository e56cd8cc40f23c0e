"""One run: config -> data -> model -> fit -> export -> record. The only place where these meet."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sequifier import ARITHMETIC, __version__
from sequifier.artifacts.atomic import check_writable, write_text
from sequifier.artifacts.checkpoint import epoch_path, resume_path
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.reading import object_or_none, reading
from sequifier.artifacts.sequence_losses import FILE as SEQUENCE_LOSSES
from sequifier.artifacts.sequence_losses import OF_BASELINES, ONE_MODEL, write_unit_sums
from sequifier.config.dump import dump_yaml
from sequifier.config.identity import identity
from sequifier.config.loading.active import run_line
from sequifier.config.train import TrainConfig
from sequifier.errors import ModelError, RunError
from sequifier.experiment.experiment import Experiment
from sequifier.experiment.hooks import Hook, bind_hooks, load_hooks
from sequifier.experiment.machine import installed_versions, machine
from sequifier.experiment.record import CONFIG, DATA, METRICS, Status
from sequifier.export.models import OF_THE_MACHINE, Version, export_models, finite
from sequifier.metrics.skill import skill
from sequifier.model.device import device_name
from sequifier.params import frozen_scope, param_scope
from sequifier.prepare import Prepared, Shared, prepare
from sequifier.shares import percent
from sequifier.training.checkpoints import Resume, find_checkpoint, save_checkpoints
from sequifier.training.limits import NO_LIMITS, Limits
from sequifier.training.log_lines import (
    accuracies,
    epoch_line,
    evaluation_line,
    printable,
    share_lines,
    step_line,
    with_class_names,
)
from sequifier.training.loop import Calls, DivergedError, Emit, fit
from sequifier.training.memory import peak_memory_bytes, reset_peak_memory
from sequifier.training.optimizers import evaluation_mode
from sequifier.training.samples import sample_text
from sequifier.training.state import TrainState

Ended = Literal["finished", "early_stopping", "interrupted", "paused", "pruned", "diverged"]
UNFINISHED: tuple[Ended, ...] = ("interrupted", "paused")
"""Goes on from its checkpoint when it is started again."""


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    name: str
    ended: Ended
    best_val_loss: float | None  # None: no finite one
    best_epoch: int  # the epoch in or after which the best evaluation was
    best_step: int  # optimizer steps at the best evaluation
    last_epoch: int
    metrics: dict[str, float]  # of the best evaluation
    skill: float | None  # by which share of it the best baseline's metric is beaten; None: there is no such share
    curve: list[float]  # the metric after each epoch
    n_targets: dict[str, int]  # evaluated targets of each target column
    parameters: int
    seconds: dict[str, float]  # of each stage, and in total
    throughput: dict[str, float]  # windows and events per second of training
    peak_memory_bytes: int
    files: dict[str, str]  # what -> path below project_root
    baselines: dict[str, dict[str, float]]  # name -> metrics on the same targets
    seed: int
    batch_size: int
    accumulation_steps: int
    facts: dict[str, Any]  # what else results depend on: device, products, torch, cpu_threads, sequifier, arithmetic
    inputs: dict[str, str]  # what runs must have in common beside the data fingerprint: field -> value or digest
    error: str | None = None  # why it diverged


def run(
    config: TrainConfig,
    *,
    emit: Emit,
    shared: Shared | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: Resume = "auto",
    limits: Limits = NO_LIMITS,
    data: str | None = None,
    check: Callable[[TrainConfig, Metadata], list[str]] = lambda config, metadata: [],
) -> RunResult:
    """Train one model, export it and leave a record.

    Args:
        config: as loaded; what the metadata decides may be null. `seed` must be a number.
        emit: is told of stages, log lines, steps and epochs as they happen.
        shared: data kept from earlier runs in this process.
        should_stop: asked after each epoch; True saves and ends the run.
        resume: whether to go on from a checkpoint.
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
    config, root = ready.config, config.root
    ready.warnings.extend(check(config, ready.metadata))
    checkpoint = find_checkpoint(config, ready.metadata.fingerprint, root / "checkpoints", resume)
    if checkpoint is not None:
        fix = "start afresh with --no-resume"
        with reading("the checkpoint", root / "checkpoints", fix=fix, error=ModelError):
            ready.state.restore(checkpoint)
    # A folder that cannot be written to is better found now than after the training.
    try:
        for folder in ("models", "checkpoints"):
            check_writable(root / folder)
    except RunError as error:
        error.is_shared = True
        raise
    values = config.model_dump(mode="json")
    experiment = Experiment(
        root / "logs",
        config.model_name,
        parameters=values,
        kind="train",
        echo=lambda line: emit("log", line=line),
        latest=True,
    )
    statuses: dict[Ended, Status] = {**dict.fromkeys(UNFINISHED, "interrupted"), "diverged": "failed"}
    with frozen_scope(values), experiment:  # hooks read the config by `param_scope`, also in threads that they start
        experiment.open(METRICS, "a").close()  # there even if the run ends before its first evaluation
        bound = bind_hooks(hooks, experiment, root)
        result = _recorded(ready, experiment, bound, root, emit, should_stop, limits, started)
        experiment.finish(statuses.get(result.ended, "done"), results=asdict(result), error=result.error)
    return result


def _recorded(
    ready: Prepared,
    record: Experiment,
    hooks: Mapping[str, Hook],
    root: Path,
    emit: Emit,
    should_stop: Callable[[], bool],
    limits: Limits,
    started: float,
) -> RunResult:
    """Train, export and sum up, telling the record and the caller of each step."""
    config, state, progress = ready.config, ready.state, ready.state.progress
    spec = config.training_spec
    assert config.seed is not None
    previous = _previous_loss(root, config.model_name, but=record.path)
    seconds = {
        "load": time.perf_counter() - started - ready.baseline_seconds,
        "baselines": ready.baseline_seconds,
    }
    n_parameters = sum(parameter.numel() for parameter in state.model.parameters())
    reset_peak_memory(ready.device.type)
    say = record.log

    def told(event: str, **fields: Any) -> None:
        if event in ("epoch", "evaluation"):
            fields = with_class_names(fields, ready.metadata.id_maps)
            record.add_metrics({key: value for key, value in fields.items() if key not in ("epochs", "is_best")})
            say(epoch_line(fields) if event == "epoch" else evaluation_line(fields))
            for line in share_lines(fields.get("class_shares", {})):
                say(line)
        elif event == "step" and fields["step"] != fields["steps"]:
            record.log(step_line(fields), echo=False)
        emit(event, **fields)

    def call(point: str, **context: Any) -> None:
        if point in hooks:
            parts = {"model": state.model, "optimizer": state.optimizer}
            hooks[point](step=state.progress.step, **parts, **context)

    def save(state: TrainState) -> None:
        ready.check_unchanged()
        before = time.perf_counter()
        shape = ready.architecture.as_json()
        written = save_checkpoints(state, config, ready.metadata.fingerprint, shape, root / "checkpoints")
        seconds["checkpoints"] = seconds.get("checkpoints", 0.0) + time.perf_counter() - before
        for path in written:
            call("after_checkpoint", epoch=state.progress.running_epoch, path=path)

    def sample(state: TrainState) -> None:
        with evaluation_mode(state.optimizer):
            text = sample_text(
                state.model,
                ready.metadata,
                config,
                prompt=spec.sampling_prompt,
                temperature=spec.sampling_temperature,
                max_length=spec.sampling_max_length,
                seed=spec.sampling_seed,
            )
        say(f"sample after step {state.progress.step}:\n{printable(text)}")

    config_hash = identity(config, ready.metadata.fingerprint)
    write_text(record.path / CONFIG, _described_config(ready, config_hash))
    emit("started", record=str(record.path.relative_to(root)), parameters=n_parameters)
    say(
        f"{config.model_name}: {n_parameters:,} parameters, {len(ready.train):,} training windows of "
        f"{config.seq_length} events, {ready.valid.windows.n_targets:,} validation targets, on {_how(ready)}"
    )
    say(f"config {config_hash[:16]}, data {ready.metadata.fingerprint}, seed {config.seed}")
    say(run_line(config))
    for warning in ready.warnings:
        say(f"warning: {warning}")
    scores_of_baselines = {name: found.scores for name, found in ready.baselines.items()}
    name, best = min(scores_of_baselines.items(), key=lambda item: item[1]["val_loss"])
    say(f"to beat: validation loss {best['val_loss']:.4f}{accuracies(best)} ({name})")
    for entry in progress.entries():
        record.add_metrics(with_class_names(entry, ready.metadata.id_maps))
    if progress.step:
        say(f"goes on after epoch {progress.epoch}, step {progress.step}")
    call("before_training", epoch=progress.epoch)

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
            calls=Calls(
                emit=told,
                save=save,
                stop_reason=lambda progress: (
                    limits.reached(progress, config.direction) or ("interrupted" if should_stop() else None)
                ),
                sample=sample,
                hooks=hooks,
            ),
        )
    except DivergedError as diverged:
        ended, error = "diverged", diverged.what
        say(f"diverged: {diverged}")
    seconds["training"] = sum(entry["seconds"]["training"] for entry in progress.history)
    seconds["validation"] = sum(entry["seconds"]["validation"] for entry in progress.entries())
    files: dict[str, str] = {}
    if state.best_units is not None:
        write_unit_sums(record.path / SEQUENCE_LOSSES, {ONE_MODEL: state.best_units})
        of_baselines = {name: found.units for name, found in ready.baselines.items()}
        write_unit_sums(record.path / OF_BASELINES, of_baselines)
        files["sequence_losses"] = str((record.path / SEQUENCE_LOSSES).relative_to(root))
    if ended == "pruned":
        # Nothing goes on from it, but `sequifier export` makes its best weights a model.
        folder = root / "checkpoints"
        resume_path(folder, config.model_name).replace(epoch_path(folder, config.model_name, progress.epoch))
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
        best_step=progress.best_step,
        last_epoch=progress.epoch,
        metrics=finite(progress.best_metrics),
        skill=skill(
            progress.best_value,
            [scores[config.metric] for scores in scores_of_baselines.values() if config.metric in scores],
            maximize=config.direction == "maximize",
        ),
        curve=[entry[config.metric] for entry in progress.history],
        n_targets={target: int(ready.valid.n_known_targets(target).sum()) for target in config.target_columns},
        parameters=n_parameters,
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
        throughput=progress.throughput(),
        peak_memory_bytes=peak_memory_bytes(ready.device.type),
        files={"record": str(record.path.relative_to(root)), **files},
        baselines=scores_of_baselines,
        seed=config.seed,
        batch_size=spec.batch_size,
        accumulation_steps=spec.accumulation_steps,
        facts=_facts(ready),
        inputs=ready.inputs,
        error=error,
    )
    say(_last_line(result, previous))
    if ended not in UNFINISHED:
        paths = {what: root / path for what, path in result.files.items()}
        call("after_training", epoch=progress.epoch, ended=ended, metrics=result.metrics, paths=paths)
    return result


def _versions(state: TrainState, *, with_last: bool) -> list[Version]:
    progress, versions = state.progress, []
    if state.best_weights is not None:
        versions.append(Version("best", state.best_weights, progress.best_epoch, progress.best_metrics))
    if with_last:
        last = {key: value for key, value in progress.history[-1].items() if key not in OF_THE_MACHINE}
        with evaluation_mode(state.optimizer):
            versions.append(Version("last", state.weights(), progress.epoch, last))
    return versions


def _previous_loss(root: Path, name: str, *, but: Path) -> float | None:
    """The best validation loss of the run of this name before this one, if it ended."""
    records = sorted(path for path in (root / "logs" / name).glob(f"[0-9]*/{DATA}") if path.parent != but)
    if not records:
        return None
    # A record that somebody edited says nothing; it is no reason to stop.
    results = (object_or_none(records[-1]) or {}).get("results")
    if not isinstance(results, dict):
        return None  # nor does that of an inference: a model may be called `infer`
    loss = results.get("best_val_loss")
    return loss if isinstance(loss, float) and results.get("ended") not in UNFINISHED else None


def _how(ready: Prepared) -> str:
    """The device, and what differs from plain float32 on it."""
    words = [ready.device.type]
    if ready.state.precision.linear != torch.float32:
        words.append(f"products in {str(ready.state.precision.linear).removeprefix('torch.')}")
    if ready.state.model.is_compiled:
        words.append("compiled")
    return ", ".join(words)


def _facts(ready: Prepared) -> dict[str, Any]:
    """What a result depends on besides config and data."""
    precision = ready.state.precision
    linear, decoder = (str(dtype).removeprefix("torch.") for dtype in (precision.linear, precision.decoder))
    return {
        "device": device_name(ready.device, str(machine()["processor"])),
        "products": linear if linear == decoder else f"{linear}, decoder {decoder}",
        "torch": torch.__version__,
        "cpu_threads": torch.get_num_threads(),
        "sequifier": __version__,
        "arithmetic": ARITHMETIC,
    }


def _described_config(ready: Prepared, config_hash: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in installed_versions().items())
    facts = _facts(ready)
    header = [
        f"resolved config of one run; config hash {config_hash}",
        f"data {ready.metadata.fingerprint}; device {_how(ready)}; {torch.get_num_threads()} threads",
        f"{facts['device']}; arithmetic {facts['arithmetic']}",
        versions,
    ]
    return dump_yaml(ready.config.model_dump(mode="json"), header=header)


def _last_line(result: RunResult, previous: float | None) -> str:
    if result.ended in UNFINISHED:
        return f"{result.ended} after epoch {result.last_epoch}; the same command goes on from there"
    if result.best_val_loss is None:
        return "ended without a finite validation loss: no model"
    baseline = min(scores["val_loss"] for scores in result.baselines.values())
    line = f"best validation loss {result.best_val_loss!r} in epoch {result.best_epoch} of {result.last_epoch}"
    line += f" (step {result.best_step})"
    if baseline:
        below = 1 - result.best_val_loss / baseline
        line += f", {percent(below)} {'below' if below >= 0 else 'above'} the best baseline"
    if previous is not None:
        same = "the same" if previous == result.best_val_loss else f"{result.best_val_loss - previous:+.3g}"
        line += f"; the run before: {previous!r} ({same})"
    return line
