"""The commands as functions: config in, result out. The only place that joins the stages."""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sequifier.config.inference import InferConfig
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig

if TYPE_CHECKING:
    from sequifier.artifacts.events import Events
    from sequifier.artifacts.ledger import Ledger, Record
    from sequifier.artifacts.metadata import Metadata
    from sequifier.inference.predict import Inference
    from sequifier.run import RunResult
    from sequifier.search.agenda import Agenda
    from sequifier.search.plan import Plan, PlannedRun
    from sequifier.search.proposals import Proposer
    from sequifier.search.pruning import Savings
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
        emit: is told of what happens, see `search.runner.Search`.

    Raises:
        ConfigError, DataError, RunError: before anything trains.
    """
    from sequifier.artifacts.ledger import Ledger, read_ledger
    from sequifier.search.agenda import Agenda
    from sequifier.search.plan import DRY_RUN_FILES, write_run_files
    from sequifier.search.results import savings

    folder = config.root / "logs" / config.hp_search_name
    planner = _Planner(config)
    notes = Notes(folder)
    if dry_run:
        records = read_ledger(folder)
        plan = planner.plan(records)
        write_run_files(plan, limit=None if write_all else DRY_RUN_FILES)
        emit("planned", plan=plan, to_run=[run for run in plan.runs if run.record is None])
        return SearchResult(plan, [], "planned")
    with Ledger.open(folder) as ledger:
        plan = planner.plan(ledger.records)
        write_run_files(plan)
        agenda = Agenda(plan, ledger, retry_failed=retry_failed, propose=lambda: planner.propose(plan, ledger.records))
        waiting = agenda.waiting()
        emit("planned", plan=plan, to_run=waiting)
        session = _Session(planner, plan, ledger, notes, emit)
        if (waiting or planner.proposes) and not (waiting and not confirm(plan, len(waiting))):
            ended = session.run(agenda)
        else:
            ended = "stopped" if waiting else "complete"
        saved = None if config.pruner.type == "none" else savings(session.plan, ledger.records)
        return SearchResult(session.plan, notes.rows(session.plan, ledger.records), ended, saved)


def export_optuna(search: str, url: str) -> int:
    """Write a search into an Optuna storage; returns the number of trials. See `report.optuna_export`."""
    from sequifier.report.optuna_export import export_optuna
    from sequifier.report.searches import find_search

    return export_optuna(find_search(search), url)


@dataclass(frozen=True)
class SearchResult:
    """A search, as far as it has come."""

    plan: "Plan"
    rows: "list[Row]"  # the ranked table
    ended: Literal["planned", "complete", "stopped", "budget"]
    saved: "Savings | None" = None  # by the pruner


class _Planner:
    """Plans a search on its data, and plans again when its ledger has grown."""

    def __init__(self, config: SearchConfig) -> None:
        from sequifier.artifacts.metadata import read_metadata
        from sequifier.config.paths import find_input

        self.config = config
        path = find_input(config.metadata_config_path, config.project_root, "metadata_config_path")
        self.metadata = read_metadata(path)
        self.proposes = config.search_strategy == "bayesian"
        self._steps_of = _StepCounter(self.metadata)
        self._proposer: Proposer | None = None

    def plan(self, records: "Sequence[Record]") -> "Plan":
        """The plan with all repeats."""
        from sequifier.search.plan import make_plan
        from sequifier.search.repeats import with_repeats

        return with_repeats(make_plan(self.config, self.metadata, records=records, steps_of=self._steps_of), records)

    def propose(self, plan: "Plan", records: "Sequence[Record]") -> "PlannedRun | None":
        """The next run of a strategy that learns from results, its run file written."""
        if not self.proposes:
            return None
        from sequifier.search.plan import write_run_files
        from sequifier.search.proposals import Proposer

        if self._proposer is None:
            self._proposer = Proposer(plan, self.metadata, steps_of=self._steps_of)
        proposed = self._proposer.next(records)
        if proposed is not None:
            write_run_files(replace(plan, runs=(proposed,)))
        return proposed


class _Session:
    """One process working on a search: trains, confirms the best, scores the winner."""

    def __init__(
        self, planner: _Planner, plan: "Plan", ledger: "Ledger", notes: "Notes", emit: Callable[..., None]
    ) -> None:
        from sequifier.execution.local import LocalExecutor

        self._planner, self._ledger, self._notes, self._emit = planner, ledger, notes, emit
        self._executor = LocalExecutor(notes.folder / "worker.log")
        self.plan = plan

    def run(self, agenda: "Agenda") -> Literal["complete", "stopped", "budget"]:
        """Work through the agenda, then confirm and score; the results are written whatever happens."""
        from sequifier.execution.interrupt import Interrupt
        from sequifier.search.agenda import Agenda
        from sequifier.search.plan import write_run_files
        from sequifier.search.repeats import with_confirmations
        from sequifier.search.runner import Search, run_search

        try:
            self._executor.start()
            device = dict(self._planner.config.training_hyperparameter_sampling)["device"]
            if device not in ("auto", "cpu"):
                self._executor.check(device)
            with Interrupt(self._executor.stop) as interrupt:
                search = Search(
                    self.plan, self._ledger, self._executor, self._emit, interrupt.is_set, self._notes.keep_baselines
                )
                ended = run_search(search, agenda)
                self.plan = self._planner.plan(self._ledger.records)
                if ended == "complete" and self._planner.config.confirm_top:
                    self.plan = with_confirmations(self.plan, self._ledger.records)
                    write_run_files(self.plan)
                    confirming = Agenda(self.plan, self._ledger, retry_failed=False, prunes=False)
                    ended = run_search(replace(search, plan=self.plan), confirming)
                if ended == "complete":
                    self._score_winner()
            return ended
        finally:
            self._executor.close()
            self._notes.write_results(self.plan, self._ledger.records)

    def _score_winner(self) -> None:
        """Score the best run once on the test split, when there is one."""
        splits = self._planner.metadata.split_paths
        rows = self._notes.rows(self.plan, self._ledger.records)
        winner = next((row for row in rows if row.rank == 1), None)
        if len(splits) < 3 or winner is None or winner.run is None or self._notes.is_scored(winner.run):
            return
        run = next((run for run in self.plan.runs if run.number == winner.run), None)
        if run is None or not winner.model_path.endswith(".onnx"):
            return
        model = self._planner.config.root / winner.model_path
        metrics = self._executor.score(run.path, model, splits[2])
        self._notes.keep_test(winner.run, metrics)


class Notes:
    """What a search keeps beside its ledger: baselines, the winner's test score, the table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.baselines: dict[str, dict[str, float]] = _read_json(folder / "baselines.json")
        self.test: dict[str, Any] = _read_json(folder / "test.json")

    def keep_baselines(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Remember the baselines; the first ones are written down, since all runs find the same."""
        from sequifier.artifacts.atomic import write_text

        if not self.baselines:
            self.baselines = {name: dict(values) for name, values in scores.items()}
            write_text(self.folder / "baselines.json", json.dumps(self.baselines, indent=1) + "\n")

    def is_scored(self, run: int) -> bool:
        """Whether this run has its test score."""
        return self.test.get("run") == run

    def keep_test(self, run: int, metrics: Mapping[str, float]) -> None:
        """Remember the winner's score on the test split."""
        from sequifier.artifacts.atomic import write_text

        self.test = {"run": run, "metrics": dict(metrics)}
        write_text(self.folder / "test.json", json.dumps(self.test, indent=1) + "\n")

    def rows(self, plan: "Plan", records: "Sequence[Record]") -> "list[Row]":
        """The ranked table."""
        from sequifier.search.results import results

        return results(plan, records, self.baselines, test=self.test or None)

    def write_results(self, plan: "Plan", records: "Sequence[Record]") -> None:
        """Write results.csv."""
        from sequifier.search.results import write_results

        write_results(self.folder / "results.csv", self.rows(plan, records), metric=plan.config.metric)


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


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
