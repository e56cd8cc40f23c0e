"""What a run records and prints: its experiment record, its log lines and its result."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sequifier import ARITHMETIC, __version__
from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.forecasts import write_forecasts
from sequifier.artifacts.read_file import object_or_none
from sequifier.artifacts.sequence_losses import FILE as SEQUENCE_LOSSES
from sequifier.artifacts.sequence_losses import OF_BASELINES, ONE_MODEL, write_unit_sums
from sequifier.callbacks import Emit
from sequifier.config.dump import dump_yaml
from sequifier.config.identity import identity
from sequifier.config.loading.active import active_line, run_line
from sequifier.config.scoring import unknown_text
from sequifier.experiment.environment import installed_versions, machine
from sequifier.experiment.experiment import Experiment
from sequifier.experiment.hooks import Hook, bind_hooks
from sequifier.experiment.record import CONFIG, DATA, METRICS, Status
from sequifier.model.device import device_index, device_name
from sequifier.params import frozen_scope
from sequifier.percent import percent
from sequifier.prepare import Prepared
from sequifier.training.baselines.scores import PREFIX
from sequifier.training.forecasts import some_forecasts
from sequifier.training.log_lines import (
    baseline_lines,
    digits,
    epoch_lines,
    evaluation_lines,
    share_lines,
    step_line,
    with_class_names,
)

Ended = Literal["finished", "early_stopping", "interrupted", "paused", "pruned", "diverged"]
UNFINISHED: tuple[Ended, ...] = ("interrupted", "paused")
"""The run resumes from its checkpoint when it is started again."""


@dataclass(frozen=True)
class RunResult:
    """The result of a run, as it is stored in its record and in the ledger of a search."""

    name: str
    ended: Ended
    best_val_loss: float | None  # None: no evaluation was finite
    best_epoch: int  # the epoch in or after which the best evaluation was
    best_step: int  # optimizer steps at the best evaluation
    last_epoch: int
    metrics: dict[str, float]  # of the best evaluation
    metric_by_length: dict[str, dict[str, list[float | None]]]  # of labels that are predicted from prefixes
    skill: float | None  # see `metrics.skill`; of the metric that ranks
    curve: list[float]  # that metric after each epoch
    n_targets: dict[str, int]  # evaluated targets of each target column
    parameters: int  # weights of the model
    seconds: dict[str, float]  # of each stage, and in total
    throughput: dict[str, float]  # windows and events per second of training
    peak_memory_bytes: int
    files: dict[str, str]  # kind of file -> path below project_root
    baselines: dict[str, dict[str, float]]  # name -> metrics on the same targets
    seed: int
    batch_size: int
    accumulation_steps: int
    facts: dict[str, Any]  # what else results depend on, see `facts`
    inputs: dict[str, str]  # what comparable runs have in common beside the data fingerprint: field -> value or digest
    error: str | None = None  # why it diverged


@contextmanager
def open_record(ready: Prepared, hooks: Mapping[str, Sequence[tuple[str, Hook]]], emit: Emit) -> Iterator["RunRecord"]:
    """Make the record of a run; it is closed with how the block ended.

    Args:
        ready: the run.
        hooks: the user's functions, as `load_hooks` returns them. They read the config by `param_scope`, also in
            threads that they start.
        emit: receives log lines and events.
    """
    config = ready.config
    values = config.model_dump(mode="json")
    experiment = Experiment(
        config.root / "logs",
        config.model_name,
        parameters=values,
        kind="train",
        echo=lambda line: emit("log", line=line),
        latest=True,
    )
    with frozen_scope(values), experiment:
        experiment.open(METRICS, "a").close()  # there even if the run ends before its first evaluation
        yield RunRecord(ready, experiment, bind_hooks(hooks, experiment, config.root), emit)


class RunRecord:
    """The record of a running training: all that it writes to `logs/NAME/TIME/` and prints.

    Args:
        ready: the run.
        experiment: its open record.
        hooks: point -> function that calls the user's hooks.
        emit: receives events; log lines reach it through the experiment.
    """

    def __init__(self, ready: Prepared, experiment: Experiment, hooks: Mapping[str, Hook], emit: Emit) -> None:
        self._ready, self._experiment, self._emit, self.hooks = ready, experiment, emit, hooks
        self._root = ready.config.root.absolute()  # as the path of the record is
        self.log = experiment.log
        self._previous = previous_loss(self._root, ready.config.model_name, but=experiment.path)

    @property
    def path(self) -> str:
        """The folder of the record, below project_root."""
        return self._below_root(self._experiment.path)

    def begin(self, n_parameters: int) -> None:
        """Write the config, and print the model, the data and the best baseline."""
        ready, log = self._ready, self.log
        config, progress = ready.config, ready.state.progress
        config_hash = identity(config, ready.metadata.fingerprint)
        write_text(self._experiment.path / CONFIG, _described_config(ready, config_hash))
        self._emit("started", record=self.path, parameters=n_parameters, max_steps=config.training_spec.max_steps)
        n_targets = sum(part.windows.n_targets for part in ready.valid.parts)
        what = "targets" if config.prediction_horizon == 1 else f"origins of {config.prediction_horizon} steps"
        log(
            f"{config.model_name}: {n_parameters:,} weights, {ready.train.n_windows:,} training windows of "
            f"{config.seq_length} events, {n_targets:,} validation {what}, on {_computation(ready)}"
        )
        for target in config.target_columns:
            if n_unknown := int(ready.valid.of(target).n_unknown_targets(target).sum()):
                log(unknown_text(target, n_unknown))
        log(f"config {config_hash[:16]}, data {ready.metadata.fingerprint}, seed {config.seed}")
        log(run_line(config))
        log(active_line(config), echo=False)
        for warning in ready.warnings:
            log(f"warning: {warning}")
        sign, needed = 1 if config.direction == "minimize" else -1, {"val_loss", config.metric}
        scores = [(name, each.scores) for name, each in ready.baselines.items() if needed <= each.scores.keys()]
        if scores:  # an error that is infinite is not among them
            name, best = min(scores, key=lambda item: sign * item[1][config.metric])
            for line in baseline_lines(name.removeprefix(PREFIX), best, config.metric):
                log(line)
        for entry in progress.entries():
            self._experiment.add_metrics(with_class_names(entry, ready.metadata.id_maps))
        if progress.step:
            log(f"resumes after epoch {progress.epoch}, step {progress.step}")
        self.call("before_training", epoch=progress.epoch)

    def event(self, event: str, **fields: Any) -> None:
        """Record an event of the training loop, and pass it on."""
        if event in ("epoch", "evaluation"):
            fields = with_class_names(fields, self._ready.metadata.id_maps)
            entry = {key: value for key, value in fields.items() if key not in ("epochs", "is_best")}
            self._experiment.add_metrics(entry)
            results = epoch_lines if event == "epoch" else evaluation_lines
            for line in (
                *results(fields, self._ready.config.metric),
                *share_lines(fields.get("class_shares", {})),
            ):
                self.log(line)
        elif event == "step" and fields["step"] != fields["steps"]:
            self.log(step_line(fields), echo=False)
        self._emit(event, **fields)

    def call(self, point: str, **context: Any) -> None:
        """Call the user's hooks of a point."""
        if point in self.hooks:
            state = self._ready.state
            self.hooks[point](step=state.progress.step, model=state.model, optimizer=state.optimizer, **context)

    def write_unit_sums(self) -> dict[str, str]:
        """Write the sums by sampling unit of the best weights and of the baselines; returns the files."""
        ready, folder = self._ready, self._experiment.path
        if ready.state.best_units is None:
            return {}
        write_unit_sums(folder / SEQUENCE_LOSSES, {ONE_MODEL: ready.state.best_units})
        write_unit_sums(folder / OF_BASELINES, {name: found.units for name, found in ready.baselines.items()})
        return {"sequence_losses": self._below_root(folder / SEQUENCE_LOSSES)}

    def write_forecasts(self) -> dict[str, str]:
        """Write some forecasts by the best weights, which the model has afterwards; returns the file.

        Only a model with a horizon forecasts.
        """
        ready = self._ready
        state = ready.state
        if ready.config.prediction_horizon == 1 or state.best_weights is None:
            return {}
        state.model.load_state_dict(state.best_weights)
        found = [*some_forecasts(state.model, ready.train.events, ready.valid, ready.objective)]
        return {"forecasts": self._below_root(write_forecasts(self._experiment.path, found))} if found else {}

    def finish(self, result: RunResult) -> None:
        """Store the result, and print it."""
        if result.ended in UNFINISHED:
            self.log(f"{result.ended} {self._place()}")
        else:
            self.log(_last_line(result, self._ready.config.metric, self._previous))
        if result.ended not in UNFINISHED:
            paths = {kind: self._ready.config.root / path for kind, path in result.files.items()}
            self.call(
                "after_training", epoch=result.last_epoch, ended=result.ended, metrics=result.metrics, paths=paths
            )
        statuses: dict[Ended, Status] = {**dict.fromkeys(UNFINISHED, "interrupted"), "diverged": "failed"}
        status = statuses.get(result.ended, "done")
        self._experiment.finish(status, results=asdict(result), error=result.error)

    def _place(self) -> str:
        """Where the training is: `after epoch 2`, or `in epoch 3, after step 12 of 40`."""
        ready, progress = self._ready, self._ready.state.progress
        if not progress.steps_in_epoch:
            return f"after epoch {progress.epoch}"
        n_steps = ready.config.training_spec.steps_per_epoch(ready.train.n_windows)
        return f"in epoch {progress.running_epoch}, after step {progress.steps_in_epoch} of {n_steps}"

    def _below_root(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def previous_loss(root: Path, name: str, *, but: Path) -> float | None:
    """The best validation loss of the run of this name before this one, if it ended.

    Args:
        root: the project's folder.
        name: of the model.
        but: folder of the record of this run.
    """
    records = sorted(path for path in (root / "logs" / name).glob(f"[0-9]*/{DATA}") if path.parent != but)
    if not records:
        return None
    # A record that somebody edited is no reason to stop.
    results = (object_or_none(records[-1]) or {}).get("results")
    if not isinstance(results, dict):
        return None  # nor is the record of an inference: a model may be called `infer`
    loss = results.get("best_val_loss")
    return loss if isinstance(loss, float) and results.get("ended") not in UNFINISHED else None


def facts(ready: Prepared) -> dict[str, Any]:
    """What a result depends on besides config and data."""
    return {
        "device": device_name(ready.device, str(machine()["processor"])),
        "device_index": device_index(ready.device),
        "products": _products(ready),
        "torch": torch.__version__,
        "cpu_threads": torch.get_num_threads(),
        "sequifier": __version__,
        "arithmetic": ARITHMETIC,
    }


def _products(ready: Prepared) -> str:
    """The number formats of products, in training and, where it has another one on this device, in validation."""
    precision = ready.state.precision
    linear, decoder = (str(dtype).removeprefix("torch.") for dtype in (precision.linear, precision.decoder))
    training = linear if linear == decoder else f"{linear}, decoder {decoder}"
    return f"{training}, validation tf32" if ready.device.type == "cuda" else training


def _computation(ready: Prepared) -> str:
    """The device, and in what the computation differs from plain float32 on it."""
    words = [str(ready.device)]
    if ready.state.precision.linear != torch.float32:
        words.append(f"products in {str(ready.state.precision.linear).removeprefix('torch.')}")
    if ready.state.model.is_compiled:
        words.append("compiled")
    return ", ".join(words)


def _described_config(ready: Prepared, config_hash: str) -> str:
    """The resolved config as YAML, below comments on what else the run depends on."""
    versions = ", ".join(f"{name} {number}" for name, number in installed_versions().items())
    found = facts(ready)
    header = [
        f"resolved config of one run; config hash {config_hash}",
        f"data {ready.metadata.fingerprint}; device {_computation(ready)}; {torch.get_num_threads()} threads",
        f"{found['device']}; arithmetic {found['arithmetic']}",
        versions,
    ]
    return dump_yaml(ready.config.model_dump(mode="json"), header=header)


def _last_line(result: RunResult, metric: str, previous: float | None) -> str:
    loss = result.best_val_loss
    if loss is None:
        return "no model: the validation loss was never finite"
    best = f"validation loss {digits(loss)}" if metric == "val_loss" else f"{metric} {digits(result.metrics[metric])}"
    line = f"best {best} in epoch {result.best_epoch} of {result.last_epoch} (step {result.best_step})"
    if result.skill is not None:
        line += f", {percent(result.skill)} {'better' if result.skill >= 0 else 'worse'} than the best baseline"
    if metric != "val_loss":
        line += f"; validation loss {digits(loss)}"
    if previous is not None:
        same = "identical" if previous == loss else f"{loss - previous:+.3g}"
        line += f"; previous run: {digits(previous)} ({same})"
    return line
