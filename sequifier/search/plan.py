"""What a search would run: every cell validated, equal ones merged, numbered, and written as standalone run files.

A run's number belongs to its identity: runs of the ledger keep theirs, new ones follow without holes. So the same
command again finds the same runs, and added values get new numbers. A bayesian search is planned as far as its ledger
goes; search/proposals.py gives the rest one by one.
"""

import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import DONE, FAILED, Record, State, latest_by_run
from sequifier.config import identity as identities
from sequifier.config.catalogue.metric_names import script_problems
from sequifier.config.dump import dump_yaml
from sequifier.config.fields import FROM_METADATA
from sequifier.config.identity import canonical, plain
from sequifier.config.resolve import DataSchema, resolve
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem, RunError
from sequifier.results.run_files import RunFiles
from sequifier.results.settings import field_of
from sequifier.search.build_space import build_space
from sequifier.search.comparable import check_comparable
from sequifier.search.distinct_runs import DistinctRuns
from sequifier.search.expand import Expanded, Expander, StepsOf, merge_key_of
from sequifier.search.known_cells import KnownCells
from sequifier.search.space import Space
from sequifier.search.start_with import start_runs
from sequifier.search.strategies import Grid, Sample, Strategy

MAX_RUNS = 100_000
"""Runs of a search; nobody trains more, and all of them are validated first."""

MANY_STEPS = 4
"""Window lengths per mean length of a sequence from which a plan says that windows are mostly padding."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a search.

    Attributes:
        number: from 0, the same for the whole life of the search.
        name: [hp_search_name]-run-[number].
        config: resolved and canonical; what its run file says.
        identity: of config and data; of a run that the ledger knows the one that it has there.
        normal: the config in normal form, see config/normal_form.py.
        merge_key: the identity of the normal form.
        changed: the searched fields in which runs of this search differ, as plain values by field name.
        parameters: trainable numbers of the model.
        path: of the run file.
        record: the last ledger record of this run; None for a new one.
        settings, proposed, fixed, configuration: see `expand.Expanded`.
    """

    number: int
    name: str
    config: TrainConfig
    identity: str
    normal: TrainConfig = field(compare=False)
    merge_key: str
    changed: Mapping[str, Any]
    parameters: int
    path: Path
    record: Record | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    proposed: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    configuration: str = ""

    def new_record(self, data: str, state: State, **fields: Any) -> Record:
        """A record of this run, with what the run is.

        Args:
            data: fingerprint of the data.
            state: of the run.
            fields: what else the record holds; the batch is the planned one where they do not say another.
        """
        spec = self.config.training_spec
        assert self.config.seed is not None
        batch = {"batch_size": spec.batch_size, "accumulation_steps": spec.accumulation_steps}
        known: dict[str, Any] = {
            "run": self.number,
            "name": self.name,
            "identity": self.identity,
            "merge_key": self.merge_key,
            "data": data,
            "state": state,
            "seed": self.config.seed,
        }
        return Record(**{**known, **batch, **self.description(), **fields})

    def description(self) -> dict[str, Any]:
        """What the run is, as fields of its record."""
        return {
            "settings": dict(self.settings),
            "proposed": dict(self.proposed),
            "fixed": dict(self.fixed),
            "configuration": self.configuration,
            "n_parameters": self.parameters,
            "columns": list(self.config.target_columns),
        }


@dataclass(frozen=True)
class EarlierRun:
    """A run of the ledger that the config does not ask for any more: its values left the space, or n_samples fell.

    Attributes:
        record: its last ledger record, completed from its run file where it is of an older version.
        changed: as in `PlannedRun`; empty where its settings are not known.
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
class Changed:
    """A run that comes again because something outside the search changed.

    Attributes:
        before: number of the run in the ledger.
        now: number of the new run, which has the same searched values.
        settings: dotted key -> (value then, value now), of what differs and counts.
    """

    before: int
    now: int
    settings: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Difference:
    """A plan and its ledger, as run numbers. Every run is of one kind.

    Attributes:
        kept: in both.
        new: in the plan alone.
        changed: new runs that take the place of earlier ones.
        undrawn: in both, but the sample of today does not hold them.
        gone: in the ledger alone: their values left the search.
    """

    kept: tuple[int, ...]
    new: tuple[int, ...]
    changed: tuple[Changed, ...]
    gone: tuple[int, ...]
    undrawn: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before anything trains.

    Attributes:
        runs: by number, kept and new ones.
        earlier: other runs of the ledger.
        merged: cells that are no runs of their own.
        changes: reason -> numbers of the runs that were brought to another form for it (n_kv_heads).
        notes: what else a user should know.
        changed: new runs that take the place of earlier ones.
        n_to_propose: configurations that a bayesian search will propose, if its space has so many.
        undrawn: numbers of kept runs that lie in the space, but that a sample of today does not draw.
        searched: dotted keys of the fields that the search varies.
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
    changed: tuple[Changed, ...] = ()
    n_to_propose: int = 0
    undrawn: frozenset[int] = frozenset()
    searched: tuple[str, ...] = ()

    def difference(self) -> Difference:
        """What is different from the ledger."""
        changed = {pair.now: pair for pair in self.changed}
        replaced = {pair.before for pair in self.changed}
        planned = {run.number for run in self.runs}  # repeats, added later, are no earlier runs
        gone = [run.record.run for run in self.earlier if run.record.run not in replaced | planned]
        return Difference(
            kept=tuple(run.number for run in self.kept if run.number not in self.undrawn),
            new=tuple(run.number for run in self.new if run.number not in changed),
            changed=tuple(pair for number, pair in sorted(changed.items()) if number in planned),
            gone=tuple(gone),
            undrawn=tuple(sorted(self.undrawn)),
        )

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
    check_comparable(config, records, data)
    if config.evaluation_script is not None:
        kinds = {target: data.kind(target) for target in config.target_columns if target in data.columns}
        if problems := list(script_problems(config.metric, config.direction, config.evaluation_script.metrics, kinds)):
            raise ConfigError(problems)
    seed = _seed(config, records)
    space = build_space(config)
    _check_number(config, space)
    known = {record.identity: record for record in latest_by_run(records).values()}
    expander = Expander(config, space, data, seed=seed, steps_of=steps_of)
    folder = run_folder(config)
    files = RunFiles(records, config.root, folder=folder, searched=searched_keys(space))
    cells = KnownCells(space, expander)
    # A repeat has another seed and is not a configuration of its own; a run that left the space before it had a result
    # never gets one.
    configurations = [record for record in known.values() if record.seed == seed]
    counted = sum(
        record.state in DONE | FAILED or cells.find(files.completed(record)) is not None for record in configurations
    )
    distinct = DistinctRuns(config, space, expander, known, counted, lambda: _old_keys(known.values(), files, data))
    distinct.start_with(start_runs(config, expander))
    if config.search_strategy == "bayesian":
        distinct.check(space.extremes())
    else:
        distinct.through(_strategy(config, space, seed).candidates(0, ()))
    drawn = frozenset(distinct.found)
    if config.search_strategy != "grid":
        others = [record for record in configurations if record.identity not in drawn]
        distinct.recall(found[1] for record in others if (found := cells.find(files.completed(record))) is not None)
    distinct.explain()

    numbers = {identity: record.run for identity, record in known.items()}
    next_number = max(numbers.values(), default=-1) + 1
    for identity in distinct.found:
        if identity not in numbers:
            numbers[identity] = next_number
            next_number += 1
    earlier = [files.completed(record) for identity, record in known.items() if identity not in distinct.found]
    # What a Bayesian search will vary is not known yet.
    keep_equal = config.search_strategy == "bayesian"
    changed = differing_keys(space, [*distinct.found.values()], earlier, keep_equal=keep_equal)
    runs = [
        planned_run(config, folder, numbers[identity], expanded, _values(expanded, changed), known.get(identity))
        for identity, expanded in distinct.found.items()
    ]
    return Plan(
        runs=tuple(sorted(runs, key=lambda run: run.number)),
        earlier=tuple(
            EarlierRun(record, {} if record.settings is None else _values(record, changed)) for record in earlier
        ),
        merged=tuple(Merged(values, numbers[identity], reason) for values, identity, reason in distinct.merged),
        changes=_by_reason(distinct.found, numbers, lambda expanded: expanded.changes),
        notes=(
            *space.notes,
            *distinct.notes,
            *_padding_notes([expanded.config for expanded in distinct.found.values()], data),
            *(
                f"{warning} ({_runs(found)})"
                for warning, found in _by_reason(distinct.found, numbers, lambda expanded: expanded.warnings).items()
            ),
        ),
        n_cells=space.size if space.is_finite else None,
        fingerprint=data.fingerprint,
        seed=seed,
        config=config,
        changed=tuple(_changed(space, earlier, [run for run in runs if run.record is None])),
        n_to_propose=_to_propose(config, distinct),
        searched=tuple(searched_keys(space)),
        undrawn=frozenset(
            numbers[identity]
            for identity in distinct.found
            if config.search_strategy == "sample" and identity not in drawn
        ),
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
    _write_whole((run.path, run_file(run, plan)) for run in wanted)
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


def _check_number(config: SearchConfig, space: Space) -> None:
    """Refuse what nobody can train, before time and memory are spent on it."""
    if config.search_strategy == "grid":
        configurations = space.size
    else:
        assert config.n_samples is not None
        configurations = min(config.n_samples, space.size) if space.is_finite else config.n_samples
    if configurations > MAX_RUNS:
        if config.search_strategy == "grid":
            key, what = "search_strategy", f"the grid has {configurations:,} cells"
            fix = "use search_strategy: sample with n_samples, or give fewer values"
        else:
            key, what, fix = "n_samples", f"{configurations:,} configurations", f"at most {MAX_RUNS:,}"
        raise ConfigError([Problem(key, f"{what}, more than can be trained", fix=fix)])
    if configurations * config.repeats > MAX_RUNS:
        message = f"{configurations:,} configurations x {config.repeats:,} are more runs than can be trained"
        raise ConfigError([Problem("repeats", message, fix=f"at most {MAX_RUNS // configurations:,}, 3 to 5 will do")])


def _padding_notes(configs: Sequence[TrainConfig], data: DataSchema) -> Iterator[str]:
    """Windows that are far longer than the sequences they are cut from."""
    mean = data.sequifier.rows[0] / max(data.sequifier.sequences[0], 1)
    for seq_length in sorted({config.seq_length for config in configs if config.seq_length is not None}):
        if seq_length >= MANY_STEPS * mean and seq_length > data.sequifier.seq_length:
            yield (
                f"seq_length {seq_length:,}: the training sequences have {mean:.4g} events on average, so most of each "
                f"window is padding, which costs time and memory and changes no result"
            )


def searched_keys(space: Space) -> list[str]:
    """The dotted keys that a search varies."""
    return [key for dimension in space.dimensions for key in dimension.keys if key not in FROM_METADATA]


def differing_keys(
    space: Space, runs: Sequence[Expanded], earlier: Sequence[Record], *, keep_equal: bool = False
) -> list[str]:
    """The dotted keys of searchable fields in which runs differ.

    Args:
        space: of the search.
        runs: of the search.
        earlier: runs that it does not ask for any more; what was fixed may have been another value then.
        keep_equal: searched fields in which runs do not differ too.
    """
    searched = searched_keys(space)
    described = [record for record in earlier if record.settings is not None]
    every: Sequence[Expanded | Record] = [*runs, *described]
    reference = next(iter(every), None)
    fixed = [
        key
        for key in space.fixed
        if key not in FROM_METADATA and any(_value(record, key) != _value(reference, key) for record in described)
    ]
    different = [key for key in searched if len({repr(_value(run, key)) for run in every}) > 1]
    return [*(searched if keep_equal else different), *fixed]


def _value(run: Expanded | Record | None, key: str) -> Any:
    """The value of a run at a dotted key."""
    if isinstance(run, Record):
        return run.setting(key)
    assert run is not None
    return run.settings.get(key, run.fixed.get(key, identities.default_values().get(key)))


def _values(run: Expanded | Record, keys: Iterable[str]) -> dict[str, Any]:
    return {field_of(key): _value(run, key) for key in keys}


def _changed(space: Space, earlier: Sequence[Record], new: Sequence[PlannedRun]) -> Iterator[Changed]:
    """Earlier runs that come again: with the same searched values, but other fixed ones."""
    keys = searched_keys(space)
    waiting: dict[str, list[PlannedRun]] = {}
    for run in new:
        waiting.setdefault(repr([run.settings.get(key) for key in keys]), []).append(run)
    for record in earlier:
        same = None if record.settings is None else waiting.get(repr([record.setting(key) for key in keys]))
        if same:
            now = same.pop(0)
            others = [key for key in {**record.fixed, **now.fixed} if key not in keys]
            described = now.new_record(record.data, "planned")
            values = {key: (record.setting(key), described.setting(key)) for key in others}
            yield Changed(record.run, now.number, {key: pair for key, pair in values.items() if pair[0] != pair[1]})


def _old_keys(records: Iterable[Record], files: RunFiles, data: DataSchema) -> dict[str, str]:
    """Merge key -> identity of the records of an older version, which do not say it, by their run files."""
    found = {}
    for record in records:
        config = None if record.merge_key else files.config(record)
        with suppress(ConfigError):  # a file that somebody edited says nothing
            if config is not None:
                found[merge_key_of(canonical(resolve(config, data)), data)] = record.identity
    return found


def _seed(config: SearchConfig, records: Sequence[Record]) -> int:
    """The training seed: the config's, else that of the runs there are, else a new one."""
    if config.seed is not None:
        return config.seed
    return records[0].seed if records else random.SystemRandom().randrange(2**31)


def _strategy(config: SearchConfig, space: Space, seed: int) -> Strategy:
    return Grid(space) if config.search_strategy == "grid" else Sample(space, draw_seed(config, seed))


def _to_propose(config: SearchConfig, distinct: DistinctRuns) -> int:
    if config.search_strategy != "bayesian" or config.n_samples is None:
        return 0
    return max(config.n_samples - distinct.n_configurations, 0)


def _by_reason(
    found: Mapping[str, Expanded], numbers: Mapping[str, int], reasons_of: Callable[[Expanded], Sequence[str]]
) -> dict[str, tuple[int, ...]]:
    """Reason -> the numbers of the runs that have it."""
    by_reason: dict[str, list[int]] = {}
    for identity, expanded in found.items():
        for reason in reasons_of(expanded):
            by_reason.setdefault(reason, []).append(numbers[identity])
    return {reason: tuple(sorted(runs)) for reason, runs in by_reason.items()}


def draw_seed(config: SearchConfig, seed: int) -> int:
    """The seed that draws configurations.

    Args:
        config: the search.
        seed: that trains its runs.
    """
    return seed if config.sampler_seed is None else config.sampler_seed


def planned_run(
    config: SearchConfig,
    folder: Path,
    number: int,
    expanded: Expanded,
    changed: Mapping[str, Any],
    record: Record | None,
) -> PlannedRun:
    """A run with its number, name and file."""
    name = f"{config.hp_search_name}-run-{number}"
    return PlannedRun(
        number=number,
        name=name,
        config=expanded.config.model_copy(update={"model_name": name}),
        identity=expanded.identity,
        normal=expanded.normal,
        merge_key=expanded.merge_key,
        changed=changed,
        parameters=expanded.parameters,
        settings=expanded.settings,
        proposed=expanded.proposed,
        fixed=expanded.fixed,
        configuration=expanded.configuration,
        path=folder / f"{name}.yaml",
        record=record,
    )


def run_folder(config: SearchConfig) -> Path:
    """The folder of the run files: below project_root, unless the path is absolute or begins with it."""
    root, folder = config.root, Path(config.model_config_write_path).expanduser()
    given = folder.is_absolute() or (root.parts and folder.parts[: len(root.parts)] == root.parts)
    return folder if given else root / folder


def _runs(numbers: Sequence[int]) -> str:
    """`run 3`, or `runs 0, 1, 2 and 9 more`."""
    shown = ", ".join(map(str, numbers[:3]))
    more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return f"run{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _write_whole(files: Iterable[tuple[Path, str]]) -> None:
    """Write small files, each under a temporary name first."""
    folders: set[Path] = set()
    for path, text in files:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):  # the first error says what is wrong
                temporary.unlink()
            raise RunError(
                f"cannot write {path.name}: {error.strerror}",
                where=str(path.parent),
                fix="free some space or set model_config_write_path to a folder that can be written to",
            ) from error
