"""The commands as functions: config in, result out. The only place that joins the stages."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sequifier.config.inference import InferConfig
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig

if TYPE_CHECKING:
    from sequifier.artifacts.events import Events
    from sequifier.artifacts.metadata import Metadata
    from sequifier.inference.predict import Inference
    from sequifier.run import RunResult
    from sequifier.search.plan import Plan
    from sequifier.search.results import Row

Report = Callable[[str], None]


def make(name: str, *, example: str | None, folder: Path) -> list[str]:
    """Make a project; see `project.make.make`."""
    from sequifier.project.make import make

    return make(name, example=example, folder=folder)


def preprocess(config: PreprocessConfig, *, report: Report) -> Path:
    """Encode a table of events; returns the metadata file. See `preprocess.pipeline.preprocess`."""
    from sequifier.preprocess.pipeline import preprocess

    return preprocess(config, report=report)


def train(
    config: TrainConfig, *, resume: Literal["auto", "always", "never"] | None = None, emit: Callable[..., None]
) -> "RunResult":
    """Train one model; see `run.run`.

    Ctrl-C once finishes the epoch, saves and ends; twice ends at once.

    Args:
        config: a null seed is drawn here, and recorded.
        resume: None follows `continue_training`.
        emit: is told of what happens.
    """
    from sequifier.execution.interrupt import Interrupt
    from sequifier.execution.threads import share_processors

    share_processors()
    from sequifier.run import run  # torch loads here

    if config.seed is None:
        config = config.model_copy(update={"seed": secrets.randbelow(2**31)})
    if resume is None:
        resume = "auto" if config.training_spec.continue_training else "never"
    with Interrupt() as interrupt:
        return run(config, emit=emit, resume=resume, should_stop=interrupt.is_set)


def infer(config: InferConfig, *, report: Report) -> "list[Inference]":
    """Predict with exported models; see `inference.predict.infer`."""
    from sequifier.inference.predict import infer

    return infer(config, report=report)


def search(
    config: SearchConfig,
    *,
    dry_run: bool = False,
    write_all: bool = False,
    retry_failed: bool = False,
    confirm: Callable[["Plan", int], bool] = lambda plan, n_runs: True,
    emit: Callable[..., None],
) -> "SearchResult":
    """Plan a search and train what is left of it.

    Args:
        config: the search.
        dry_run: validate and write the run files, train nothing. Imports no torch.
        write_all: in a dry run, write all run files instead of the first 1,000.
        retry_failed: run failed runs again.
        confirm: gets the plan and the number of runs that would train; False ends it there.
        emit: is told of what happens, see `search.runner.run_search`.

    Raises:
        ConfigError, DataError, RunError: before anything trains.
    """
    from sequifier.artifacts.ledger import Ledger, read_ledger
    from sequifier.artifacts.metadata import read_metadata
    from sequifier.config.paths import find_input
    from sequifier.execution.interrupt import Interrupt
    from sequifier.execution.local import LocalExecutor
    from sequifier.search.plan import DRY_RUN_FILES, make_plan, write_run_files
    from sequifier.search.results import results, write_results
    from sequifier.search.runner import left_to_run, run_search

    root = Path(config.project_root)
    folder = root / "logs" / config.hp_search_name
    metadata = read_metadata(find_input(config.metadata_config_path, config.project_root, "metadata_config_path"))
    baselines = Baselines(folder / "baselines.json")
    steps_of = _StepCounter(metadata)
    if dry_run:
        records = read_ledger(folder)
        plan = make_plan(config, metadata, records=records, steps_of=steps_of)
        written = write_run_files(plan, limit=None if write_all else DRY_RUN_FILES)
        emit("planned", plan=plan, to_run=left_to_run(plan, retry_failed=retry_failed), files=written)
        return SearchResult(plan, results(plan, records, baselines.scores), "planned")

    executor = LocalExecutor(folder / "worker.log")
    with Ledger.open(folder) as ledger:
        plan = make_plan(config, metadata, records=ledger.records, steps_of=steps_of)
        written = write_run_files(plan)
        to_run = left_to_run(plan, retry_failed=retry_failed)
        emit("planned", plan=plan, to_run=to_run, files=written)
        ended: Literal["complete", "stopped"] = "complete"
        if to_run:
            if not confirm(plan, len(to_run)):
                return SearchResult(plan, results(plan, ledger.records, baselines.scores), "stopped")
            try:
                executor.start()
                with Interrupt(executor.stop) as interrupt:
                    ended = run_search(
                        plan,
                        ledger,
                        executor,
                        retry_failed=retry_failed,
                        emit=emit,
                        should_stop=interrupt.is_set,
                        on_baselines=baselines.keep,
                    )
            finally:
                executor.close()
                rows = results(plan, ledger.records, baselines.scores)
                write_results(folder / "results.csv", rows, metric=config.metric)
        return SearchResult(plan, results(plan, ledger.records, baselines.scores), ended)


@dataclass(frozen=True)
class SearchResult:
    """A search, as far as it has come."""

    plan: "Plan"
    rows: "list[Row]"  # the ranked table
    ended: Literal["planned", "complete", "stopped"]


class Baselines:
    """The baselines of a search, kept in a file: every run finds the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.scores: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}

    def keep(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Remember the scores; the first ones are written down."""
        from sequifier.artifacts.atomic import write_text

        if not self.scores:
            self.scores = {name: dict(values) for name, values in scores.items()}
            write_text(self._path, json.dumps(self.scores, indent=1) + "\n")


class _StepCounter:
    """Optimizer steps of a run, for schedules that count them; reads the training split when first asked."""

    def __init__(self, metadata: "Metadata") -> None:
        self._metadata = metadata
        self._counted: dict[tuple[object, ...], int] = {}
        self._events: dict[Path, Events] = {}

    def __call__(self, config: TrainConfig) -> int:
        from sequifier.artifacts.events import read_events
        from sequifier.config.paths import find_input
        from sequifier.dataset.windows import training_windows

        assert config.training_data_path and config.seq_length and config.window_stride
        path = find_input(config.training_data_path, config.project_root, "training_data_path")
        if path not in self._events:
            self._events[path] = read_events(path, [], expected_hashes=None)
        key = (path, config.seq_length, config.window_stride)
        if key not in self._counted:
            events = self._events[path]
            self._counted[key] = len(
                training_windows(
                    events.offsets,
                    events.n_context,
                    seq_length=config.seq_length,
                    stride=config.window_stride,
                    mode=self._metadata.sequifier.subsequence_start_mode,
                )
            )
        return config.training_spec.optimizer_steps(self._counted[key])
