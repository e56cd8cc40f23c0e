"""Results by group (feature set, sampler, value of a setting), and the ranges of the best configurations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from sequifier.results.ranking import Configuration
from sequifier.results.settings import Setting, text_of
from sequifier.results.trials import Table, Trial, by, is_continuous, is_number

TOP_SHARE = 0.25
"""Fraction of the configurations with a result that count as the best."""

BINS = 4
"""Number of bins with equally many trials, into which a continuous setting is divided."""

LOG_FROM = 100
"""Positive numbers that span this factor were hardly meant on a linear scale."""

ABSENT = "–"
"""The level of trials that do not have a setting."""


@dataclass(frozen=True)
class Group:
    """The results of one group.

    Attributes:
        name: the feature set, the sampler, or the value.
        count: number of trials that were trained to their end and have a result.
        n_all: number of all its trials.
        mean, deviation, minimum, maximum, median: statistics of the results; None without any.
        best: the best result.
        best_run: number of the run with the best result.
        paired_difference: mean difference to the reference over pairs of runs that differ only in the group; below 0 is
            better where lower is better. None for the reference, and where there is no pair.
        paired_error: standard error of the paired difference; None with fewer than two pairs.
        n_pairs: number of pairs.
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
    """The groups, best first, and the reference that they are compared with: the smallest feature set."""

    name: str
    reference: str | None
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class BestRange:
    """The values of one setting in the best quarter of the configurations.

    Attributes:
        parameter: name of the setting.
        linked: settings that always change together with it.
        is_numeric: the values are numbers and have a range.
        low, high: range of the best quarter.
        core_low, core_high: range without the outer tenth at each end, from ten configurations on; else low and high.
        tried_low, tried_high: range of all configurations.
        at_low, at_high: the range reaches this end of the tried range and not the other: better values may be beyond.
        shares: value -> (proportion in the best quarter, proportion in all); of numbers only where they are few.
        best: the value of the best configuration; None where it does not have the setting.
        n_top: number of configurations in the best quarter that have the setting.
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
    """The groups of the table; empty where all trainings are in one group. A single sampler is a group."""
    groups = by((trial for trial in table.trials if trial.group), lambda trial: trial.group)
    if len(groups) < (1 if table.kind == "sampler" else 2):
        return Groups(table.group_name, None, ())
    sizes = {name: trials[0].group_size for name, trials in groups.items()}
    known = {name: size for name, size in sizes.items() if size is not None}
    reference = min(known, key=lambda name: known[name]) if known else None
    own = {"input_columns", *table.linked.get("input_columns", ()), "sampler_type"}
    found = [_group(name, trials, table, groups.get(reference or ""), own) for name, trials in groups.items()]
    return Groups(table.group_name, reference, tuple(_from_best(found, table)))


def value_performance(table: Table, parameter: str) -> tuple[Group, ...]:
    """The results by value of a setting, or by bin of a continuous one."""
    levels = levels_of([trial.settings.get(parameter, ABSENT) for trial in table.trials])
    groups: dict[str, list[Trial]] = {}
    for level, trial in zip(levels, table.trials, strict=True):
        groups.setdefault(level, []).append(trial)
    return tuple(_group(name, trials, table, None, set()) for name, trials in groups.items())


def best_ranges(table: Table, rows: Sequence[Configuration]) -> list[BestRange]:
    """For each setting, the values in the best quarter of the configurations with a result."""
    with_result = [row for row in rows if row.rank is not None]
    top = with_result[: top_count(len(with_result))]
    return [_range(name, table, with_result, top) for name in table.settings if with_result]


def top_count(n: int) -> int:
    """Number of configurations in the best quarter of n."""
    return math.ceil(TOP_SHARE * n)


def levels_of(values: Sequence[Setting]) -> list[str]:
    """The level of each value: the value itself, or the bin of a continuous number.

    Bins hold equally many values, as far as equal values allow.
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
    """Differences of trials that are the same in everything except their group."""

    def key(trial: Trial) -> tuple[object, ...]:
        settings = tuple(repr(trial.settings.get(name)) for name in table.settings if name not in own)
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
    every = [row.settings[name] for row in rows if name in row.settings]
    good = [row.settings[name] for row in top if name in row.settings]
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
        best=rows[0].settings.get(name),
        n_top=len(good),
    )


def _core(good: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest value, without a tenth of the values at each end where there are ten or more."""
    ordered = sorted(good)
    cut = len(ordered) // 10
    return ordered[cut], ordered[len(ordered) - 1 - cut]


def _ends_reached(good: Sequence[float], every: Sequence[float]) -> tuple[bool, bool]:
    """Whether the good values reach the lowest, or the highest, of all; neither where they reach both.

    Of a continuous setting, a twentieth of the tried range counts as its end. 0 means off: there is nothing below it.
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
    """Whether numbers that span this much are treated as logarithmic, as in the Optuna export."""
    return low > 0 and high / low >= LOG_FROM


def _share(value: Setting, among: Sequence[Setting]) -> float:
    return sum(repr(other) == repr(value) for other in among) / len(among) if among else 0.0
