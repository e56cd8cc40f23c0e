"""One search on this machine: planned on its data, worked through, its best confirmed and scored."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sequifier.errors import RunError

if TYPE_CHECKING:
    from sequifier.artifacts.events import Events
    from sequifier.artifacts.ledger import Ledger, Record
    from sequifier.artifacts.metadata import Metadata
    from sequifier.config.search import SearchConfig
    from sequifier.config.train import TrainConfig
    from sequifier.search.agenda import Agenda
    from sequifier.search.folder import SearchFolder
    from sequifier.search.plan import Plan, PlannedRun
    from sequifier.search.proposals import Proposer

Ended = Literal["planned", "complete", "stopped", "budget"]


class Planner:
    """Plans a search on its data, and plans again when its ledger has grown."""

    def __init__(self, config: "SearchConfig") -> None:
        from sequifier.artifacts.metadata import find_metadata, read_metadata
        from sequifier.artifacts.shard_folder import content_stat

        self.config = config
        self._path = find_metadata(config.metadata_config_path, config.project_root)
        self._stat = content_stat(self._path)
        self.metadata = read_metadata(self._path)
        self.proposes = config.search_strategy == "bayesian"
        self._steps_of = StepCounter(self.metadata)
        self._proposer: Proposer | None = None

    def plan(self, records: "Sequence[Record]") -> "Plan":
        """The plan with all repeats."""
        from sequifier.search.plan import make_plan
        from sequifier.search.repeats import with_repeats

        return with_repeats(make_plan(self.config, self.metadata, records=records, steps_of=self._steps_of), records)

    def check_inputs(self) -> None:
        """Look whether what every run needs is still there: the planned metadata, splits and evaluation script.

        Raises:
            ConfigError: a file that the config names is not there.
            DataError: nor is one that the metadata name, the test split included; or the metadata are not the planned
                ones, or cannot be read.
        """
        from sequifier.artifacts.metadata import check_planned, find_split, read_metadata
        from sequifier.artifacts.shard_folder import content_stat
        from sequifier.search.program_check import check_programs

        check_programs(self.config)
        splits, config = self.metadata.split_paths, self.config
        wanted = [
            ("training_data_path", config.training_data_path or splits[0]),
            ("validation_data_path", config.validation_data_path or splits[min(1, len(splits) - 1)]),
            *[("metadata_config_path", path) for path in splits[2:3]],  # scores the winner
        ]
        for key, path in wanted:
            find_split(self.metadata, path, config.project_root, key)
        if not self._path.exists() or (stat := content_stat(self._path)) != self._stat:
            check_planned(read_metadata(self._path), self.metadata.fingerprint, self._path)
            self._stat = stat

    @property
    def refused(self) -> dict[str, int]:
        """Why proposals were no valid runs, and how many for each reason."""
        return {} if self._proposer is None else self._proposer.refused

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


class Session:
    """One process working on a search: trains, confirms the best, scores the winner."""

    def __init__(
        self, planner: Planner, plan: "Plan", ledger: "Ledger", notes: "SearchFolder", emit: Callable[..., None]
    ) -> None:
        from sequifier.config.identity import plain
        from sequifier.execution.local import LocalExecutor
        from sequifier.search.recording import logged, search_experiment

        self._planner, self._ledger, self._notes = planner, ledger, notes
        parameters = plain(plan.config) | {"seed": plan.seed}
        self._record = search_experiment(plan.config.root, plan.config.hp_search_name, parameters)
        self._emit = logged(self._record, emit)
        self._executor = LocalExecutor(notes.folder / "worker.log", stall_seconds=60 * plan.config.stall_minutes)
        self.plan = plan

    def run(self, agenda: "Agenda") -> "Ended":
        """Work through the agenda, then confirm and score; record and results are written whatever happens."""
        from sequifier.search.recording import summary

        with self._record:
            try:
                ended = self._work(agenda)
            except BaseException:
                self._executor.close()
                with suppress(RunError):  # what ended the search is to be said; the next start writes the table
                    self._notes.write_results(self.plan, self._ledger.records)
                raise
            self._executor.close()
            self._notes.write_results(self.plan, self._ledger.records)
            found = summary(self._notes.rows(self.plan, self._ledger.records), ended)
            self._record.finish("interrupted" if ended == "stopped" else "done", results=found)
        return ended

    def _work(self, agenda: "Agenda") -> "Ended":
        from sequifier.execution.interrupt import Interrupt
        from sequifier.search.agenda import Agenda
        from sequifier.search.keep_models import remove_surplus
        from sequifier.search.plan import write_run_files
        from sequifier.search.repeats import with_confirmations
        from sequifier.search.runner import Search, run_search

        self._executor.start()
        device = dict(self._planner.config.training_hyperparameter_sampling)["device"]
        if device not in ("auto", "cpu"):
            self._executor.check(device)
        with Interrupt(self._executor.stop) as interrupt:
            search = Search(
                self.plan,
                self._ledger,
                self._executor,
                self._emit,
                interrupt.is_set,
                self._notes.keep_baselines,
                self._planner.check_inputs,
            )
            ended = run_search(search, agenda)
            self.plan = self._planner.plan(self._ledger.records)
            if ended == "complete" and self._planner.proposes and self._planner.config.repeats > 1:
                write_run_files(self.plan)  # further seeds of what was proposed
                repeating = Agenda(self.plan, self._ledger, retry_failed=False)
                ended = run_search(replace(search, plan=self.plan), repeating)
            if ended == "complete" and self._planner.config.confirm_top:
                self.plan = with_confirmations(self.plan, self._ledger.records)
                write_run_files(self.plan)
                confirming = Agenda(self.plan, self._ledger, retry_failed=False, prunes=False)
                ended = run_search(replace(search, plan=self.plan), confirming)
            if ended == "complete":
                remove_surplus(self.plan, self._ledger.records)
                self._score_winner()
        return ended

    def _score_winner(self) -> None:
        """Score the best run once on the test split, when there is one."""
        from sequifier.artifacts.sequence_losses import OF_TEST

        splits = self._planner.metadata.split_paths
        rows = self._notes.rows(self.plan, self._ledger.records)
        winner = next((row for row in rows if row.rank == 1), None)
        if len(splits) < 3 or winner is None or winner.run is None or self._notes.is_scored(winner.run):
            return
        run_file = Path(winner.run_file)  # that of a run which the config no longer asks for may be gone
        if not run_file.exists() or not winner.model_path.endswith(".onnx"):
            return
        model = self._planner.config.root / winner.model_path
        sums = self._notes.folder / OF_TEST
        metrics = self._executor.score(run_file, model, splits[2], data=self.plan.fingerprint, sums=sums)
        self._notes.keep_test(winner.run, metrics)


class StepCounter:
    """Optimizer steps of a run, for schedules that count them; reads the training split when first asked."""

    def __init__(self, metadata: "Metadata") -> None:
        self._metadata = metadata
        self._counted: dict[tuple[object, ...], int] = {}
        self._events: dict[Path, Events] = {}

    def __call__(self, config: "TrainConfig") -> int:
        from sequifier.artifacts.events import read_events
        from sequifier.config.loading.paths import find_input
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
