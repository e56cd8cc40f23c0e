"""The commands as functions: config in, result out. The only place that joins the stages."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sequifier.callbacks import Emit, Log
from sequifier.errors import ModelError
from sequifier.printable import command_line

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sequifier.artifacts.events import Events
    from sequifier.artifacts.metadata import Metadata
    from sequifier.artifacts.model_file import ModelFile
    from sequifier.check import Checked
    from sequifier.config.inference import InferConfig
    from sequifier.config.preprocess import PreprocessConfig
    from sequifier.config.sampler_search import SamplerSearchConfig
    from sequifier.config.search import SearchConfig
    from sequifier.config.train import TrainConfig
    from sequifier.inference.predict import Inference
    from sequifier.report.report import Report
    from sequifier.run_record import RunResult
    from sequifier.sampler_search.session import SamplerSearchResult
    from sequifier.sampler_search.setup import Setup
    from sequifier.search.executor import Engine
    from sequifier.search.plan import Plan
    from sequifier.search.session import SearchResult
    from sequifier.search.verify import Verified

DRY_RUN_FILES = 1_000
"""Run files that a dry run writes."""


def make(
    name: str,
    *,
    example: str | None,
    folder: Path,
    data: Path | None = None,
    columns: Sequence[str] = (),
    sequence: str | None = None,
    order: str | None = None,
    targets: Sequence[str] = (),
    drop_duplicates: bool = False,
) -> list[str]:
    """Make a project, empty, from an example or for the table `data`; see `project.make.make`."""
    from sequifier.project.make import OwnTable, make

    table = None if data is None else OwnTable(data, sequence or "", order or "", targets, columns, drop_duplicates)
    return make(name, example=example, folder=folder, data=table)


def check_config(config: "BaseModel") -> "Checked":
    """Everything that can be known to be wrong before a command runs; see `check.check`."""
    from sequifier.check import check

    return check(config)


def preprocess(config: "PreprocessConfig", *, log: Log) -> Path:
    """Encode a table of events; returns the metadata file. See `preprocess.pipeline.preprocess`."""
    from sequifier.config.loading.active import log_line
    from sequifier.preprocess.pipeline import preprocess

    log(log_line(config))
    return preprocess(config, log=log)


def write_given_metadata(config: "TrainConfig | SearchConfig") -> str:
    """Write the metadata that a config gives instead of a file; see `artifacts.given_metadata`."""
    from sequifier.artifacts.given_metadata import write_given_metadata

    return write_given_metadata(config)


def train(
    config: "TrainConfig",
    *,
    config_path: Path | None = None,
    resume: Literal["auto", "always", "never"] | None = None,
    emit: Emit,
) -> "RunResult":
    """Train one model; see `run.run`.

    Ctrl-C once finishes the epoch, saves and ends. Twice, or SIGTERM, ends after the optimizer step or within the
    validation, with a checkpoint too; a third one ends at once.

    Args:
        config: a null seed is replaced by a random one, which is recorded.
        config_path: the file it was loaded from. A search's run file gives a warning when the data are not the planned.
        resume: None follows `continue_training`.
        emit: receives events, see `run.run`, and `stopping` from a signal handler.
    """
    from sequifier.execution.interrupt import Interrupt
    from sequifier.execution.threads import share_processors
    from sequifier.model.deterministic import fix_workspaces

    share_processors()
    fix_workspaces()
    from sequifier.run import run  # torch loads here
    from sequifier.search.stored_run import check_owner, planned_data

    if config.seed is None:
        config = config.model_copy(update={"seed": secrets.randbelow(2**31)})
    if resume is None:
        resume = "auto" if config.training_spec.continue_training else "never"
    planned = None if config_path is None else planned_data(config_path)

    def check(resolved: "TrainConfig", metadata: "Metadata") -> list[str]:
        check_owner(resolved, metadata)
        if planned in (None, metadata.fingerprint):
            return []
        return [f"this run was planned on data {planned}, the metadata describe data {metadata.fingerprint}"]

    with Interrupt(on_first=lambda: emit("stopping")) as interrupt:

        def watched(event: str, **fields: Any) -> None:
            if event == "stage":
                # Elsewhere nothing is lost, or, in a validation, the loop saves what there is.
                interrupt.is_deferred = fields["stage"] in ("training", "checkpoint")
            emit(event, **fields)

        return run(
            config,
            emit=watched,
            resume=resume,
            should_stop=interrupt.is_set,
            stops_now=interrupt.is_urgent,
            check=check,
        )


def verify(config: "TrainConfig", *, emit: Emit) -> "Verified":
    """Train a run of a search again and compare its validation loss with the ledger; see `search.verify`.

    It is trained under the name NAME-verify, whose record in `logs/` stays; no model and no checkpoint does.

    Raises:
        RunError: the ledger has no finished run of this name, or its config or data changed since.
        ConfigError, DataError: as `train`.
    """
    from sequifier.artifacts.checkpoint import checkpoints_of
    from sequifier.artifacts.metadata import find_metadata, read_metadata
    from sequifier.config.resolve import resolve
    from sequifier.search.verify import check_same, compared, stored

    record = stored(config)
    metadata = read_metadata(find_metadata(config.metadata_config_path, config.project_root))
    check_same(resolve(config, metadata), metadata, record)
    name = f"{config.model_name}-verify"
    exports = dict.fromkeys(("export_generative_model", "export_embedding_model", "export_end_to_end"), False)
    again = config.model_copy(update={"model_name": name, **exports, "export_top_k": None})

    def remove_checkpoints() -> None:
        for path in checkpoints_of(config.root / "checkpoints", name):
            path.unlink()

    remove_checkpoints()  # of a verification that was killed
    try:
        result = train(again, resume="never", emit=emit)
    finally:
        remove_checkpoints()
    if result.ended == "interrupted":
        raise KeyboardInterrupt
    return compared(record, result.best_val_loss, result.facts)


def infer(config: "InferConfig", *, log: Log) -> "list[Inference]":
    """Predict with exported models; see `inference.predict.infer`. The record is `logs/infer/[stamp__id]/`."""
    from dataclasses import asdict

    from sequifier.config.loading.active import active_line, log_line
    from sequifier.experiment.experiment import Experiment
    from sequifier.inference.check import check_jobs
    from sequifier.inference.predict import infer

    def encode_raw(path: Path, file: "ModelFile", future: Path | None) -> "Iterator[Events]":
        from sequifier.preprocess.new_events import encode_new_events

        return encode_new_events(
            path, file, future, sequence_table=config.sequence_table, project_root=config.project_root
        )

    notes = [log_line(config)]
    log(notes[0])

    def note(line: str) -> None:
        notes.append(line)
        log(line)

    jobs = check_jobs(config, note)  # what is wrong in the config leaves no record
    values = config.model_dump(mode="json")
    with Experiment(config.root / "logs", "infer", parameters=values, kind="infer", echo=log, latest=True) as record:
        for line in (active_line(config), *notes):
            record.log(line, echo=False)
        found = infer(config, encode_raw=encode_raw, log=record.log, jobs=jobs)
        record["results"] = {"models": [asdict(inference) for inference in found]}
    return found


def export(
    source: str,
    *,
    end_to_end: bool = False,
    top_k: int | None = None,
    pt: bool = False,
    embedding: bool = False,
    card: bool = False,
    report: bool = False,
    project_root: str | None = None,
    log: Log,
) -> list[Path]:
    """Export a run from its checkpoint, without training: the best weights, and those of the checkpoint itself.

    Args:
        source: the name of a run, or the path of a checkpoint, see `export.checkpoints.open_checkpoint`.
        end_to_end: also the ONNX that takes raw values.
        top_k: number of most probable classes that it returns; None: the `export_top_k` of the run.
        pt: also the weights for torch.
        embedding: also the model that embeds.
        card: also a page about the models.
        report: also a page on what the model does well, measured on the validation split.
        project_root: None for the checkpoint's own, or the working folder.
        log: receives lines for the user.

    Returns:
        The files written.

    Raises:
        RunError, ModelError, ConfigError: nothing was written, or each file whole or not at all.
    """
    from sequifier.artifacts.read_file import wrap_read_errors
    from sequifier.export.card import write_card
    from sequifier.export.checkpoints import open_checkpoint
    from sequifier.export.models import Exports, export_models
    from sequifier.model.build import build_model
    from sequifier.training.optimizers import build_optimizer, evaluation_mode

    exports = Exports(predictions=True, embedding=embedding, onnx=True, pt=pt, end_to_end=end_to_end, top_k=top_k)
    found = open_checkpoint(source, project_root, exports)
    spec = found.config.training_spec
    model = build_model(found.architecture)
    optimizer = build_optimizer(spec.optimizer, model, learning_rate=spec.learning_rate, decay_all=spec.decay_all)
    with wrap_read_errors("the checkpoint", found.path, fix="give another checkpoint of the run", error=ModelError):
        model.load_state_dict(found.content["model"])
        optimizer.load_state_dict(found.content["optimizer"])
        with evaluation_mode(optimizer):  # schedule-free optimizers train on other weights than they stand for
            last = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
        versions = found.versions(last)
    log(f"{found.path}: " + ", ".join(f"{version.name} weights of epoch {version.epoch}" for version in versions))
    files = export_models(
        model,
        found.architecture,
        versions,
        found.config,
        found.metadata,
        last_epoch=found.ending,
        root=found.root,
        exports=exports,
    )
    written = [found.root / path for path in files.values()]
    if card:
        written.append(write_card(found, versions[0]))
    if report:
        from sequifier.model_report.measure import measure
        from sequifier.model_report.page import write_files
        from sequifier.results.deployed import report_path

        page = report_path(found.root, found.config.model_name)
        written += write_files(
            measure(found, versions[0], log), page, command=command_line("export", source, "--report")
        )
    return written


def search(
    config: "SearchConfig",
    *,
    dry_run: bool = False,
    write_all: bool = False,
    retry_failed: bool = False,
    confirm: Callable[["Plan", int], bool] = lambda plan, n_runs: True,
    engine: "Engine | None" = None,
    emit: Emit,
) -> "SearchResult":
    """Plan a search and train what is left of it.

    Args:
        config: the search.
        dry_run: validate and write the run files, train nothing. Imports no torch.
        write_all: in a dry run, write all run files instead of the first 1,000.
        retry_failed: run failed runs again.
        confirm: gets the plan and the number of runs that would train; False ends it there.
        engine: trains the runs; None for the one that `execution.engine` names.
        emit: receives events, see `search.attempts.Search`.

    Raises:
        ConfigError, DataError, RunError: before anything trains.
    """
    from sequifier.config.loading.active import log_line
    from sequifier.execution.engines import engine_of
    from sequifier.execution.interrupt import Interrupt
    from sequifier.experiment.hooks import check_hooks
    from sequifier.search import session
    from sequifier.search.program_check import check_programs

    check_hooks(config.hooks, config.root)
    check_programs(config)
    emit("config", line=log_line(config))

    def log(line: str) -> None:
        emit("log", line=line)

    with engine_of(config, connects=not dry_run, log=log) if engine is None else nullcontext(engine) as used:
        if dry_run:
            return session.dry_run(config, used, limit=None if write_all else DRY_RUN_FILES, emit=emit)
        return session.search(config, used, Interrupt, retry_failed=retry_failed, confirm=confirm, emit=emit)


def slurm_script(config: "SearchConfig", words: Sequence[str]) -> Path:
    """Write the batch script that starts a search on Slurm; see `execution.cluster.slurm.write_script`."""
    from sequifier.execution.cluster.slurm import write_script

    return write_script(config, words)


def sampler_search(
    config: "SamplerSearchConfig",
    *,
    check_only: bool = False,
    retry_failed: bool = False,
    confirm: Callable[["Setup", int], bool] = lambda setup, n_left: True,
    emit: Emit,
) -> "SamplerSearchResult":
    """Search for the sampler that continues sequences best, and try what is left of the search.

    Model, endpoint and judge are called once before anything else is. Ctrl-C once finishes the configuration; twice
    ends at once, and the same search resumes from what is written.

    Args:
        config: the search.
        check_only: end after the check.
        retry_failed: try failed configurations again.
        confirm: gets the search and the number of configurations that would be tried; False ends it there.
        emit: receives events, see `sampler_search.session.Session`.

    Raises:
        ConfigError, DataError, ModelError, RunError: before anything is spent; RunError also when endpoint or judge
            stop answering.
    """
    from sequifier.config.loading.active import log_line
    from sequifier.execution.interrupt import Interrupt
    from sequifier.sampler_search.session import Session
    from sequifier.search.program_check import check_programs

    check_programs(config)
    emit("note", line=log_line(config))
    with Session(config, retry_failed=retry_failed, emit=emit) as session:
        n_left = session.n_left
        emit("planned", setup=session.setup, n_left=n_left)
        if check_only or n_left:
            session.check()
        if check_only:
            return session.result("checked")
        if n_left and not confirm(session.setup, n_left):
            return session.result("declined")
        with Interrupt() as interrupt:
            return session.run(interrupt.is_set)


def export_optuna(
    search: str,
    url: str,
    *,
    metric: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
) -> int:
    """Write a search into an Optuna storage; returns the number of trials. See `report.exports.optuna`."""
    from sequifier.report.exports.optuna import export_optuna
    from sequifier.results.find import find_search

    return export_optuna(find_search(search), url, metric=metric, direction=direction)


def read_report(
    names: Sequence[str] = (),
    *,
    latest: bool = False,
    metric: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
    fanova: bool = False,
) -> "Report":
    """Read and analyse searches, finished or running; see `report.report.read_report`."""
    from sequifier.report.report import read_report

    return read_report(names, latest=latest, metric=metric, direction=direction, fanova=fanova)


def visualize_training(
    names: Sequence[str],
    *,
    metric: str = "val_loss",
    log_scale: bool = False,
    forecasts: bool = False,
    path: Path | None = None,
) -> Path:
    """Draw learning curves of runs on one page; returns its path. See `report.page.learning_curves.visualize`."""
    from sequifier.report.page.learning_curves import visualize

    return visualize(names, metric=metric, log_scale=log_scale, forecasts=forecasts, path=path)
