"""Planning: every cell validated, duplicates merged, runs numbered.

A run's number belongs to its identity: runs of the ledger keep theirs, and new ones get the numbers that are free, in
order. So the same command again finds the same runs, and added values get new numbers. (Several slots start the last
runs out of order, so that free numbers may lie between those of the ledger.) A bayesian search is planned as far as its
ledger goes; search/proposals.py proposes the other runs one by one.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import DONE, FAILED, Record, latest_by_run
from sequifier.config.catalogue.metric_names import script_problems
from sequifier.config.fields import FROM_METADATA
from sequifier.config.identity import canonical
from sequifier.config.resolve import DataSchema, metric_kinds, resolve
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem
from sequifier.results.run_files import RunFiles
from sequifier.results.settings import field_of
from sequifier.search.build_space import build_space
from sequifier.search.comparable import check_comparable
from sequifier.search.distinct_runs import DistinctRuns
from sequifier.search.expand import Expanded, Expander, StepsOf
from sequifier.search.known_cells import KnownCells
from sequifier.search.plan import EarlierRun, MergedCell, Plan, PlannedRun, Replacement, free_numbers
from sequifier.search.run_file import run_folder
from sequifier.search.run_parts import merge_key_of
from sequifier.search.space import Space
from sequifier.search.start_with import start_runs
from sequifier.search.strategy_kinds import STRATEGIES

MAX_RUNS = 100_000
"""Runs of a search; more cannot be trained, and all of them are validated first."""

MANY_STEPS = 4
"""Window lengths per mean length of a sequence from which a plan notes that windows are mostly padding."""


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
        ConfigError: cells that are not valid runs, or more runs than can be trained.
        RunError: the ledger is of other data.
    """
    check_comparable(config, records, data)
    _check_script(config, data)
    space = build_space(config)
    _check_number(config, space)
    expander = Expander(config, space, data, seed=_seed(config, records), steps_of=steps_of)
    known = {record.identity: record for record in latest_by_run(records).values()}
    folder = run_folder(config)
    files = RunFiles(records, config.root, folder=folder, searched=searched_keys(space))
    distinct, sampled = _find_runs(config, data, expander, known, files)
    kind = STRATEGIES[config.search_strategy]

    numbers = {identity: record.run for identity, record in known.items()}
    free = free_numbers(record.run for record in records)
    numbers |= {identity: next(free) for identity in distinct.found if identity not in numbers}
    earlier = [files.completed(record) for identity, record in known.items() if identity not in distinct.found]
    # What a strategy that learns will vary is not known yet.
    changed = differing_keys(space, [*distinct.found.values()], earlier, keep_equal=kind.learns)
    runs = [
        planned_run(config, folder, numbers[identity], expanded, _values(expanded, changed), known.get(identity))
        for identity, expanded in distinct.found.items()
    ]
    return Plan(
        runs=tuple(sorted(runs, key=lambda run: run.number)),
        earlier=tuple(
            EarlierRun(record, {} if record.settings is None else _values(record, changed)) for record in earlier
        ),
        merged=tuple(MergedCell(values, numbers[identity], reason) for values, identity, reason in distinct.merged),
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
        seed=expander.seed,
        config=config,
        changed=tuple(_replacements(space, earlier, [run for run in runs if run.record is None])),
        n_to_propose=_to_propose(config, distinct),
        searched=tuple(searched_keys(space)),
        not_sampled=frozenset(
            numbers[identity] for identity in distinct.found if not kind.learns and identity not in sampled
        ),
    )


def _check_script(config: SearchConfig, data: DataSchema) -> None:
    """Raise ConfigError where the metrics of an evaluation_script do not fit the search."""
    if config.evaluation_script is None:
        return
    targets = [target for target in config.target_columns if target in data.columns]
    searched: Any = config.searched("distribution")
    distributions = {target: name for each in searched for target, name in each.items()}
    kinds = metric_kinds(targets, data, distributions)
    scripted = config.evaluation_script.metrics
    if problems := list(script_problems(config.metric, config.direction, scripted, kinds, config.ranking)):
        raise ConfigError(problems)


def _find_runs(
    config: SearchConfig, data: DataSchema, expander: Expander, known: Mapping[str, Record], files: RunFiles
) -> tuple[DistinctRuns, frozenset[str]]:
    """Return the runs of a search, and the identities of those that its strategy or start_with names.

    Args:
        config: the search.
        data: metadata of the data set.
        expander: of its space.
        known: the ledger by identity.
        files: the run files of the ledger.
    """
    space, seed = expander.space, expander.seed
    cells = KnownCells(space, expander)
    # A repeat has another seed and is not a configuration of its own. A run that left the space before it had a result
    # is not trained any more.
    configurations = [record for record in known.values() if record.seed == seed]
    counted = sum(
        record.state in DONE | FAILED or cells.find(files.completed(record)) is not None for record in configurations
    )
    distinct = DistinctRuns(config, space, expander, known, counted, lambda: _old_keys(known.values(), files, data))
    distinct.start_with(start_runs(config, expander))
    kind = STRATEGIES[config.search_strategy]
    if kind.learns:
        distinct.check(space.extremes())
    else:
        strategy = kind.build(space, sampling_seed(config, seed), config.direction == "maximize")
        distinct.through(strategy.candidates(0, ()))
    sampled = frozenset(distinct.found)
    if not kind.is_exhaustive:
        others = [record for record in configurations if record.identity not in sampled]
        distinct.add_known(found[1] for record in others if (found := cells.find(files.completed(record))) is not None)
    distinct.explain()
    return distinct, sampled


def _check_number(config: SearchConfig, space: Space) -> None:
    """Refuse more runs than can be trained, before time and memory are spent on planning them."""
    is_exhaustive = STRATEGIES[config.search_strategy].is_exhaustive
    if is_exhaustive:
        configurations = space.size
    else:
        assert config.n_samples is not None
        configurations = min(config.n_samples, space.size) if space.is_finite else config.n_samples
    if configurations > MAX_RUNS:
        if is_exhaustive:
            key, what = "search_strategy", f"the grid has {configurations:,} cells"
            fix = "use search_strategy: sample with n_samples, or give fewer values"
        else:
            key, what, fix = "n_samples", f"{configurations:,} configurations", f"at most {MAX_RUNS:,}"
        raise ConfigError([Problem(key, f"{what}, more than can be trained", fix=fix)])
    if configurations * config.repeats > MAX_RUNS:
        message = f"{configurations:,} configurations x {config.repeats:,} are more runs than can be trained"
        raise ConfigError([Problem("repeats", message, fix=f"at most {MAX_RUNS // configurations:,}, 3 to 5 will do")])


def _padding_notes(configs: Sequence[TrainConfig], data: DataSchema) -> Iterator[str]:
    """Notes on windows that are far longer than the sequences that they are cut from."""
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
        earlier: runs that are no longer part of it, whose fixed values may have been others.
        keep_equal: include searched fields in which runs do not differ.
    """
    searched = searched_keys(space)
    described = [record for record in earlier if record.settings is not None]
    every: Sequence[Expanded | Record] = [*runs, *described]
    fixed = [
        key
        for key in space.fixed
        if key not in FROM_METADATA and any(record.setting(key) != every[0].setting(key) for record in described)
    ]
    different = [key for key in searched if len({repr(run.setting(key)) for run in every}) > 1]
    return [*(searched if keep_equal else different), *fixed]


def _values(run: Expanded | Record, keys: Iterable[str]) -> dict[str, Any]:
    return {field_of(key): run.setting(key) for key in keys}


def _replacements(space: Space, earlier: Sequence[Record], new: Sequence[PlannedRun]) -> Iterator[Replacement]:
    """New runs that have the searched values of an earlier run, but other fixed ones."""
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
            yield Replacement(record.run, now.number, {key: pair for key, pair in values.items() if pair[0] != pair[1]})


def _old_keys(records: Iterable[Record], files: RunFiles, data: DataSchema) -> dict[str, str]:
    """Merge key -> identity of records of an older version, which have no merge key, from their run files."""
    found = {}
    for record in records:
        config = None if record.merge_key else files.config(record)
        with suppress(ConfigError):  # a file that was edited is ignored
            if config is not None:
                found[merge_key_of(canonical(resolve(config, data)), data)] = record.identity
    return found


def _seed(config: SearchConfig, records: Sequence[Record]) -> int:
    """The training seed: of the config, else of the runs in the ledger, else a new one."""
    if config.seed is not None:
        return config.seed
    return records[0].seed if records else random.SystemRandom().randrange(2**31)


def _to_propose(config: SearchConfig, distinct: DistinctRuns) -> int:
    if not STRATEGIES[config.search_strategy].learns or config.n_samples is None:
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


def sampling_seed(config: SearchConfig, seed: int) -> int:
    """The seed for sampling configurations.

    Args:
        config: the search.
        seed: the training seed of its runs.
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
        n_parameters=expanded.n_parameters,
        n_dense=expanded.n_dense,
        settings=expanded.settings,
        proposed=expanded.proposed,
        fixed=expanded.fixed,
        configuration=expanded.configuration,
        path=folder / f"{name}.yaml",
        record=record,
    )


def _runs(numbers: Sequence[int]) -> str:
    """`run 3`, or `runs 0, 1, 2 and 9 more`."""
    shown = ", ".join(map(str, numbers[:3]))
    more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return f"run{'s' if len(numbers) > 1 else ''} {shown}{more}"
