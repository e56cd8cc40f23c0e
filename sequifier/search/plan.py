"""What a search would run: every cell validated, equal ones merged, numbered, and written as standalone run files.

A run's number belongs to its identity: runs of the ledger keep theirs, new ones follow without holes. So the same
command again finds the same runs, and added values get new numbers.
"""

import os
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import Record, latest_by_run
from sequifier.config.dump import dump_yaml
from sequifier.config.identity import plain
from sequifier.config.resolve import DataSchema
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem, RunError
from sequifier.search.differences import differences, field_of
from sequifier.search.expand import FROM_METADATA, Expanded, Expander, StepsOf
from sequifier.search.space import Cell, Space, build_space
from sequifier.search.strategies import Grid, Sample, Strategy

MAX_GRID = 100_000
"""Cells of a grid; nobody trains more, and all of them are validated first."""

MAX_REPETITIONS = 10_000
"""Proposals in a row that bring nothing new, after which a space without end counts as exhausted."""

MAX_PROBLEMS = 20
"""Different problems of cells that are reported at once."""

DRY_RUN_FILES = 1_000
"""Run files that a dry run writes."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a search.

    Attributes:
        number: from 0, the same for the whole life of the search.
        name: [hp_search_name]-run-[number].
        config: resolved and canonical; what its run file says.
        identity: of config and data.
        changed: the searched fields in which runs of this search differ, as plain values by field name.
        parameters: trainable numbers of the model.
        path: of the run file.
        record: the last ledger record of this run; None for a new one.
    """

    number: int
    name: str
    config: TrainConfig
    identity: str
    changed: Mapping[str, Any]
    parameters: int
    path: Path
    record: Record | None


@dataclass(frozen=True)
class EarlierRun:
    """A run of the ledger that the config does not ask for any more: its values left the space, or n_samples fell.

    Attributes:
        record: its last ledger record.
        changed: as in `PlannedRun`; empty where its run file is gone.
    """

    record: Record
    changed: Mapping[str, Any]


@dataclass(frozen=True)
class Merged:
    """A cell that is the same run as another one.

    Attributes:
        values: what tells the cell from others, by field name.
        run: the number of the run that stands for it.
        reason: why they are the same.
    """

    values: Mapping[str, Any]
    run: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before anything trains.

    Attributes:
        runs: by number, kept and new ones.
        earlier: other runs of the ledger.
        merged: cells that are no runs of their own.
        changes: reason -> numbers of the runs that were brought to another form for it (n_kv_heads).
        notes: what else a user should know.
        n_cells: cells of the space; None when ranges have no end.
        fingerprint: of the data.
        seed: trains every run; drawn here when the config has none.
        config: the search.
    """

    runs: tuple[PlannedRun, ...]
    earlier: tuple[EarlierRun, ...]
    merged: tuple[Merged, ...]
    changes: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]
    n_cells: int | None
    fingerprint: str
    seed: int
    config: SearchConfig

    @property
    def new(self) -> tuple[PlannedRun, ...]:
        """Runs that the ledger does not know."""
        return tuple(run for run in self.runs if run.record is None)

    @property
    def kept(self) -> tuple[PlannedRun, ...]:
        """Runs that the ledger knows, in whatever state."""
        return tuple(run for run in self.runs if run.record is not None)


def make_plan(
    config: SearchConfig,
    data: DataSchema,
    *,
    records: Sequence[Record] = (),
    steps_of: StepsOf | None = None,
) -> Plan:
    """Decide what a search runs.

    Args:
        config: the search.
        data: metadata of the data set.
        records: the ledger so far.
        steps_of: optimizer steps of a run, for schedules that count them.

    Raises:
        ConfigError: cells that are no valid runs, a grid too large to run.
        RunError: the ledger is of other data.
    """
    _same_data(records, data)
    seed = _seed(config, records)
    space = build_space(config)
    if config.search_strategy == "grid" and space.size > MAX_GRID:
        raise ConfigError(
            [
                Problem(
                    "search_strategy",
                    f"the grid has {space.size:,} cells, more than anybody can train",
                    fix="use search_strategy: sample with n_samples, or give fewer values",
                )
            ]
        )
    known = {record.identity: record for record in latest_by_run(records).values()}
    expander = Expander(config, space, data, seed=seed, steps_of=steps_of)
    walk = _Walk(config, space, expander, known, _strategy(config, space, seed))
    walk.run()

    numbers = {identity: record.run for identity, record in known.items()}
    next_number = max(numbers.values(), default=-1) + 1
    for identity in walk.found:
        if identity not in numbers:
            numbers[identity] = next_number
            next_number += 1
    earlier = [record for identity, record in known.items() if identity not in walk.found]
    folder = _run_folder(config)
    paths = [folder / f"{record.name}.yaml" for record in earlier]
    changed, changed_earlier = differences(space, [expanded.config for expanded in walk.found.values()], paths)
    runs = [
        _planned(config, folder, numbers[identity], identity, expanded, values, known.get(identity))
        for (identity, expanded), values in zip(walk.found.items(), changed, strict=True)
    ]
    changes: dict[str, list[int]] = {}
    for identity, expanded in walk.found.items():
        for reason in expanded.changes:
            changes.setdefault(reason, []).append(numbers[identity])
    warnings: dict[str, list[int]] = {}
    for identity, expanded in walk.found.items():
        for warning in expanded.warnings:
            warnings.setdefault(warning, []).append(numbers[identity])
    return Plan(
        runs=tuple(sorted(runs, key=lambda run: run.number)),
        earlier=tuple(EarlierRun(record, values) for record, values in zip(earlier, changed_earlier, strict=True)),
        merged=tuple(Merged(values, numbers[identity], reason) for values, identity, reason in walk.merged),
        changes={reason: tuple(sorted(found)) for reason, found in changes.items()},
        notes=(*space.notes, *walk.notes, *(f"{warning} ({_runs(found)})" for warning, found in warnings.items())),
        n_cells=space.size if space.is_finite else None,
        fingerprint=data.fingerprint,
        seed=seed,
        config=config,
    )


def write_run_files(plan: Plan, *, limit: int | None = None) -> list[Path]:
    """Write the run files of new runs, and of kept ones whose file is missing.

    A kept run's file stays as it is: it may say what was changed to fit into memory. Files appear whole, but are not
    synced to disk one by one: after a power cut the same command writes them again.

    Args:
        plan: what to write.
        limit: write at most so many, the first ones by number.

    Returns:
        The files written.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    wanted = [run for run in plan.runs if run.record is None or not run.path.exists()][:limit]
    for run in wanted:
        _write_whole(run.path, run_file(run, plan))
    return [run.path for run in wanted]


def run_file(run: PlannedRun, plan: Plan, *, comments: Mapping[str, str] | None = None) -> str:
    """The text of a run file: a complete `train.yaml`, except for what the metadata gives.

    Args:
        run: the run.
        plan: that it belongs to.
        comments: dotted key -> comment behind its line.
    """
    header = [
        f"Run {run.number} of the search {plan.config.hp_search_name}, written by sequifier hyperparameter-search.",
        f"Data fingerprint: {plan.fingerprint}",
        f"Run it alone: sequifier train --config-path {run.path}",
    ]
    values = plain(run.config)
    for name in (*FROM_METADATA, "target_column_types"):
        del values[name]
    return dump_yaml(values, header=header, comments=comments)


class _Walk:
    """Asks a strategy for cells until the plan is full; keeps the distinct ones in order of proposal."""

    def __init__(
        self,
        config: SearchConfig,
        space: Space,
        expander: Expander,
        known: Mapping[str, Record],
        strategy: Strategy,
    ) -> None:
        self._config, self._space, self._expander, self._known = config, space, expander, known
        self._strategy = strategy
        self._wanted = None if config.search_strategy == "grid" else config.n_samples
        self._problems: dict[tuple[str, str], Problem] = {}
        self._visited: dict[str, Expanded] = {}
        self._n_new = self._repetitions = 0
        self.found: dict[str, Expanded] = {}
        self.merged: list[tuple[Mapping[str, Any], str, str]] = []
        self.notes: list[str] = []

    def run(self) -> None:
        """Fill `found`, `merged` and `notes`."""
        exhausted = False
        while not self._is_full():
            cell = self._strategy.ask()
            if cell is None or self._repetitions >= MAX_REPETITIONS:
                exhausted = True
                break
            self._visit(cell)
            if len(self._problems) >= MAX_PROBLEMS:
                break
        if self._problems:
            raise ConfigError(list(self._problems.values()))
        self._explain(exhausted)

    def _is_full(self) -> bool:
        """Whether enough was seen: n_samples counts the configurations of the ledger too."""
        if self._wanted is None:
            return False
        return len(self._visited) >= self._wanted and len(self._known) + self._n_new >= self._wanted

    def _visit(self, cell: Cell) -> None:
        try:
            expanded = self._expander.expand(cell)
        except ConfigError as error:
            self._problems |= {(problem.key, problem.message): problem for problem in error.problems}
            return
        identity = expanded.identity
        if identity in self._visited:
            self._repetitions += 1 if not self._space.is_finite else 0
            self._merge(cell, expanded)
            return
        self._repetitions = 0
        self._visited[identity] = expanded
        if identity in self._known:
            self.found[identity] = expanded
        elif self._wanted is None or len(self._known) + self._n_new < self._wanted:
            self._n_new += 1
            self.found[identity] = expanded

    def _merge(self, cell: Cell, expanded: Expanded) -> None:
        if expanded.identity not in self.found:
            return
        reasons = expanded.changes or self.found[expanded.identity].changes or ("the same values are given twice",)
        values = {field_of(key): plain(value) for key, value in self._space.values(cell).items()}
        self.merged.append((values, expanded.identity, "; ".join(reasons)))

    def _explain(self, exhausted: bool) -> None:
        if self._config.search_strategy == "grid":
            if self._config.n_samples is not None:
                self.notes.append(f"n_samples: {self._config.n_samples} is ignored, a grid runs every cell")
            return
        assert self._wanted is not None
        total = len(self._known) + self._n_new
        if exhausted and total < self._wanted:
            self.notes.append(
                f"the space is exhausted: n_samples is {self._wanted}, but there are only {len(self._visited)} "
                f"distinct configurations; each runs once"
            )
        elsewhere = len(self._known) - sum(identity in self._known for identity in self.found)
        if elsewhere:
            self.notes.append(
                f"n_samples: {self._wanted} counts the {len(self._known)} configurations in the ledger, {elsewhere} of "
                f"them from an earlier state of this config; raise n_samples to run more"
            )


def _same_data(records: Sequence[Record], data: DataSchema) -> None:
    for record in records:
        if record.data != data.fingerprint:
            raise RunError(
                f"the data changed: {record.name} was trained on data {record.data}, the metadata says "
                f"{data.fingerprint}; their results cannot be compared",
                fix="choose another hp_search_name for the new data, or preprocess the old data again",
            )


def _seed(config: SearchConfig, records: Sequence[Record]) -> int:
    """The training seed: the config's, else that of the runs there are, else a new one."""
    if config.seed is not None:
        return config.seed
    return records[0].seed if records else random.SystemRandom().randrange(2**31)


def _strategy(config: SearchConfig, space: Space, seed: int) -> Strategy:
    if config.search_strategy == "grid":
        return Grid(space)
    return Sample(space, seed if config.sampler_seed is None else config.sampler_seed)


def _planned(
    config: SearchConfig,
    folder: Path,
    number: int,
    identity: str,
    expanded: Expanded,
    changed: Mapping[str, Any],
    record: Record | None,
) -> PlannedRun:
    name = f"{config.hp_search_name}-run-{number}"
    return PlannedRun(
        number=number,
        name=name,
        config=expanded.config.model_copy(update={"model_name": name}),
        identity=identity,
        changed=changed,
        parameters=expanded.parameters,
        path=folder / f"{name}.yaml",
        record=record,
    )


def _run_folder(config: SearchConfig) -> Path:
    """Outputs are written below project_root, unless the path is absolute or begins with it."""
    root, folder = Path(config.project_root).expanduser(), Path(config.model_config_write_path).expanduser()
    given = folder.is_absolute() or (root.parts and folder.parts[: len(root.parts)] == root.parts)
    return folder if given else root / folder


def _runs(numbers: Sequence[int]) -> str:
    """`run 3`, or `runs 0, 1, 2 and 9 more`."""
    shown = ", ".join(map(str, numbers[:3]))
    more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return f"run{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise RunError(
            f"cannot write {path.name}: {error.strerror}",
            where=str(path.parent),
            fix="free some space or set model_config_write_path to a folder that can be written to",
        ) from error
    finally:
        with suppress(OSError):  # the first error says what is wrong
            temporary.unlink(missing_ok=True)
