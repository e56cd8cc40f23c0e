"""How groups of trials did: feature sets, samplers, and the values of each parameter; and where the best ones lie."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from sequifier.results.ranking import Configuration
from sequifier.results.run_files import Setting
from sequifier.results.trials import Table, Trial, by, is_continuous, is_number

TOP_SHARE = 0.25
"""The configurations whose values are called good."""

BINS = 4
"""Parts with equally many trials, into which a continuous parameter is cut."""

LOG_FROM = 100
"""Positive numbers that span this factor were hardly meant on a linear scale."""

ABSENT = "–"
"""The level of trials that do not have a parameter."""


@dataclass(frozen=True)
class Group:
    """The results of one group.

    Attributes:
        name: the feature set, the sampler, or the value.
        count: trials trained to their end, with a result.
        n_all: all its trials.
        mean, deviation, minimum, maximum, median: of their values; None without any.
        best: the best of them.
        best_run: its number.
        paired_difference: mean difference to the reference over pairs that differ in the group alone; below 0 is
            better where less is better. None for the reference and where there is no pair.
        paired_error: its standard error; None with fewer than two pairs.
        n_pairs: how many those are.
    """

    name: str
    count: int
    n_all: int
    mean: float | None = None
    deviation: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    median: float | None = None
    best: float | None = None
    best_run: int | None = None
    paired_difference: float | None = None
    paired_error: float | None = None
    n_pairs: int = 0


@dataclass(frozen=True)
class Groups:
    """The groups, best first, and the one that the others are compared with: the smallest feature set."""

    name: str
    reference: str | None
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class BestRange:
    """Where the best quarter of the configurations lies in one parameter.

    Attributes:
        parameter: its name.
        linked: settings that always change with it.
        is_numeric: numbers have a range, other values shares.
        low, high: of the best quarter.
        core_low, core_high: of its middle four fifths, where it has ten configurations or more; else low and high.
        tried_low, tried_high: of all.
        at_low, at_high: the range reaches this end of what was tried and not the other: better values may lie beyond.
        shares: value -> (share among the best quarter, share among all); of numbers only where they are few.
        best: the value of the winner; None where it does not have the parameter.
        n_top: configurations in the best quarter that have it.
    """

    parameter: str
    linked: tuple[str, ...]
    is_numeric: bool
    low: float | None
    high: float | None
    core_low: float | None
    core_high: float | None
    tried_low: float | None
    tried_high: float | None
    at_low: bool
    at_high: bool
    shares: Mapping[str, tuple[float, float]]
    best: Setting
    n_top: int


def group_performance(table: Table) -> Groups:
    """The groups of the table; none where all trials are in one."""
    groups = by((trial for trial in table.trials if trial.group), lambda trial: trial.group)
    if len(groups) < 2:
        return Groups(table.group_name, None, ())
    sizes = {name: trials[0].group_size for name, trials in groups.items()}
    known = {name: size for name, size in sizes.items() if size is not None}
    reference = min(known, key=lambda name: known[name]) if known else None
    own = {"input_columns", *table.linked.get("input_columns", ()), "sampler_type"}
    found = [_group(name, trials, table, groups.get(reference or ""), own) for name, trials in groups.items()]
    return Groups(table.group_name, reference, tuple(_from_best(found, table)))


def value_performance(table: Table, parameter: str) -> tuple[Group, ...]:
    """The results by each value of a parameter, or by each quarter of a continuous one."""
    levels = levels_of([trial.settings.get(parameter, ABSENT) for trial in table.trials])
    groups: dict[str, list[Trial]] = {}
    for level, trial in zip(levels, table.trials, strict=True):
        groups.setdefault(level, []).append(trial)
    return tuple(_group(name, trials, table, None, set()) for name, trials in groups.items())


def best_ranges(table: Table, rows: Sequence[Configuration]) -> list[BestRange]:
    """For each parameter, where the best quarter of the configurations with a result lies."""
    with_result = [row for row in rows if row.rank is not None]
    top = with_result[: top_count(len(with_result))]
    return [_range(name, table, with_result, top) for name in table.parameters if with_result]


def top_count(n: int) -> int:
    """How many of n are the best quarter."""
    return math.ceil(TOP_SHARE * n)


def levels_of(values: Sequence[Setting]) -> list[str]:
    """A name for the part that each value falls into: itself, or for numbers of which there are many, a quarter.

    Quarters have equally many of the values, as far as equal ones allow.
    """
    numbers = [value for value in values if is_number(value)]
    if not is_continuous(value for value in values if value != ABSENT) or not numbers:
        return [text_of(value) for value in values]
    ordered = sorted(numbers)
    edges = [ordered[len(ordered) * part // BINS] for part in range(BINS)]
    ends = [ordered[max(0, len(ordered) * (part + 1) // BINS - 1)] for part in range(BINS)]
    names = [f"{text_of(low)} to {text_of(high)}" for low, high in zip(edges, ends, strict=True)]
    result = []
    for value in values:
        if not is_number(value):
            result.append(text_of(value))
            continue
        part = max(place for place, low in enumerate(edges) if value >= low)
        result.append(names[part])
    return result


def text_of(value: Setting) -> str:
    """A value in few characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _group(name: str, trials: Sequence[Trial], table: Table, reference: Sequence[Trial] | None, own: set[str]) -> Group:
    complete = [trial for trial in trials if trial.is_complete]
    values = [trial.value for trial in complete if trial.value is not None]
    if not values:
        return Group(name, 0, len(trials))
    best = min(complete, key=lambda trial: table.sign * (trial.value or 0.0))
    differences: list[float] = []
    if reference is not None and reference is not trials:
        differences = _paired(complete, [trial for trial in reference if trial.is_complete], table, own)
    return Group(
        name=name,
        count=len(values),
        n_all=len(trials),
        mean=fmean(values),
        deviation=stdev(values) if len(values) > 1 else None,
        minimum=min(values),
        maximum=max(values),
        median=median(values),
        best=best.value,
        best_run=best.number,
        paired_difference=fmean(differences) if differences else None,
        paired_error=stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None,
        n_pairs=len(differences),
    )


def _paired(trials: Sequence[Trial], reference: Sequence[Trial], table: Table, own: set[str]) -> list[float]:
    """Differences of trials that are the same in everything but their group."""

    def key(trial: Trial) -> tuple[object, ...]:
        settings = tuple(repr(trial.settings.get(name)) for name in table.parameters if name not in own)
        return (*settings, trial.seed)

    values = {key(trial): trial.value for trial in reference}
    return [
        trial.value - other
        for trial in trials
        if trial.value is not None and (other := values.get(key(trial))) is not None
    ]


def _from_best(groups: Sequence[Group], table: Table) -> list[Group]:
    return sorted(groups, key=lambda group: (group.best is None, table.sign * (group.best or 0.0)))


def _range(name: str, table: Table, rows: Sequence[Configuration], top: Sequence[Configuration]) -> BestRange:
    every = [row.parameters[name] for row in rows if name in row.parameters]
    good = [row.parameters[name] for row in top if name in row.parameters]
    numbers = [value for value in every if is_number(value)]
    good_numbers = [value for value in good if is_number(value)]
    numeric = bool(every) and len(numbers) == len(every)
    shares: dict[str, tuple[float, float]] = {}
    if not is_continuous(every):
        different = sorted(set(every), key=lambda value: (not is_number(value), value if is_number(value) else 0))
        for value in different:  # 0.98226 and 0.982, from another search, are one value here
            of_top, of_all = shares.get(text_of(value), (0.0, 0.0))
            shares[text_of(value)] = (of_top + _share(value, good), of_all + _share(value, every))
    at_low, at_high = _ends_reached(good_numbers, numbers) if numeric and good else (False, False)
    return BestRange(
        parameter=name,
        linked=table.linked.get(name, ()),
        is_numeric=numeric,
        low=min(good_numbers) if numeric and good else None,
        high=max(good_numbers) if numeric and good else None,
        core_low=_core(good_numbers)[0] if numeric and good else None,
        core_high=_core(good_numbers)[1] if numeric and good else None,
        tried_low=min(numbers) if numeric else None,
        tried_high=max(numbers) if numeric else None,
        at_low=at_low,
        at_high=at_high,
        shares=shares,
        best=rows[0].parameters.get(name),
        n_top=len(good),
    )


def _core(good: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest, without a tenth at each end where that leaves enough."""
    ordered = sorted(good)
    cut = len(ordered) // 10
    return ordered[cut], ordered[len(ordered) - 1 - cut]


def _ends_reached(good: Sequence[float], every: Sequence[float]) -> tuple[bool, bool]:
    """Whether the good values reach the lowest, and the highest, of all; not both: then they tell nothing.

    Of a continuous parameter, a twentieth of what was tried is as good as its end. Below 0, which is off, lies nothing.
    """
    low, high, slack = min(every), max(every), 0.0
    if low == high:
        return False, False
    ends = [min(good), max(good)]
    if is_continuous(every):
        if is_logarithmic(low, high):
            low, high, *ends = map(math.log, (low, high, *ends))
        slack = (high - low) / 20
    at_low, at_high = ends[0] <= low + slack, ends[1] >= high - slack
    return at_low and not at_high and min(every) != 0, at_high and not at_low


def is_logarithmic(low: float, high: float) -> bool:
    """Whether numbers that span this much were hardly meant on a linear scale; as in the Optuna export."""
    return low > 0 and high / low >= LOG_FROM


def _share(value: Setting, among: Sequence[Setting]) -> float:
    return sum(repr(other) == repr(value) for other in among) / len(among) if among else 0.0
