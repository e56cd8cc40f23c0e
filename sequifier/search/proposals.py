"""The runs of a Bayesian search, one by one: each follows from the records of the runs before it.

A proposal depends on the ledger alone, so a search that was killed resumes with the configuration that it would have
tried next. It does not wait for runs that are training: their cells count as tried, without a result.
"""

from collections.abc import Sequence

from sequifier.artifacts.ledger import DONE, FAILED, Record, latest_by_run
from sequifier.config.resolve import DataSchema
from sequifier.errors import ConfigError
from sequifier.results.run_files import RunFiles
from sequifier.results.settings import field_of
from sequifier.search.build_space import build_space
from sequifier.search.distinct_runs import MAX_REPETITIONS
from sequifier.search.expand import Expanded, Expander, StepsOf
from sequifier.search.known_cells import KnownCells
from sequifier.search.make_plan import planned_run, sampling_seed, searched_keys
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.run_file import run_folder
from sequifier.search.space import Cell
from sequifier.search.start_with import start_runs
from sequifier.search.strategies import Observation
from sequifier.search.strategy_kinds import STRATEGIES


class Proposer:
    """Proposes the next run of a Bayesian search.

    Args:
        plan: plan of the search; its runs are trained before any proposal.
        data: metadata of the data set.
        steps_of: optimizer steps of a run, for schedules that count them.
    """

    def __init__(self, plan: Plan, data: DataSchema, *, steps_of: StepsOf | None = None) -> None:
        config = plan.config
        self._plan, self._config = plan, config
        self._space = build_space(config)
        self._expander = Expander(config, self._space, data, seed=plan.seed, steps_of=steps_of)
        self._folder = run_folder(config)
        self._cells = KnownCells(self._space, self._expander)
        self._files = RunFiles((), config.root, folder=self._folder, searched=searched_keys(self._space))
        build = STRATEGIES[config.search_strategy].build
        self._strategy = build(self._space, sampling_seed(config, plan.seed), config.direction == "maximize")
        first = start_runs(config, self._expander)[: config.n_samples]
        self._first = [run.identity for run in first]
        self._first_alike = {key for run in first for key in (run.identity, run.merge_key)}
        self._refused: dict[str, set[Cell]] = {}

    @property
    def refused(self) -> dict[str, int]:
        """Why cells were skipped that are not valid runs: reason -> number of cells."""
        return {reason: len(cells) for reason, cells in self._refused.items()}

    def next(self, records: Sequence[Record]) -> PlannedRun | None:
        """The next run, whose file is still to be written; None when there are n_samples, or no new cell is left.

        Args:
            records: the ledger. Unfinished runs do not count as results, but their cells are not proposed again, nor
                the cells around them.
        """
        latest = latest_by_run(records)
        configurations = [record for record in latest.values() if record.seed == self._plan.seed]
        observations: list[Observation] = []
        taken, alike = set(self._first), set(self._first_alike)
        for record in configurations:
            found = self._cells.find(self._files.completed(record))
            if found is None and not _is_settled(record):
                # Its file was lost in a power cut: then it is proposed again, under its number. Or it is outside the
                # space: then it is not trained any more.
                continue
            taken.add(record.identity)
            alike |= {record.identity, record.merge_key}
            if found is not None and (outcome := _observation(record, found[0], self._config.metric)) is not None:
                observations.append(outcome)
        if self._config.n_samples is not None and len(taken) >= self._config.n_samples:
            return None
        expanded = self._first_new(len(taken), alike, observations)
        if expanded is None:
            return None
        lost = next((record for record in configurations if record.identity == expanded.identity), None)
        numbers = [*(record.run for record in records), *(run.number for run in self._plan.runs)]
        number = max(numbers, default=-1) + 1 if lost is None else lost.run
        return planned_run(self._config, self._folder, number, expanded, self._changed(expanded), lost)

    def _first_new(self, n_taken: int, alike: set[str], observations: Sequence[Observation]) -> Expanded | None:
        for tried, cell in enumerate(self._strategy.candidates(n_taken, observations)):
            if not self._space.is_finite and tried >= MAX_REPETITIONS:
                return None
            try:
                expanded = self._expander.expand(cell)
            except ConfigError as error:
                reason = "; ".join(problem.message for problem in error.problems)
                self._refused.setdefault(reason, set()).add(cell)
                continue
            if not {expanded.identity, expanded.merge_key} & alike:
                return expanded
        return None

    def _changed(self, expanded: Expanded) -> dict[str, object]:
        return {field_of(key): expanded.settings[key] for key in searched_keys(self._space)}


def _is_settled(record: Record) -> bool:
    return record.state in DONE | FAILED


def _observation(record: Record, cell: Cell, metric: str) -> Observation | None:
    """The result of a cell, from its record; None while there is none."""
    value = record.value_of(metric)
    match record.state:
        case "finished" if value is not None:
            return Observation(cell, "finished", value=value)
        case "diverged":
            return Observation(cell, "diverged")
        case "pruned" | "interrupted" | "running" if record.curve:  # up to a rung it tells as much as a pruned one
            return Observation(cell, "pruned", curve=tuple(record.curve))
        case "running":
            return Observation(cell, "running")
        case "finished" | "pruned" | "failed" | "oom":
            return Observation(cell, "failed")
    return None
