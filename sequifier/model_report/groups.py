"""Metrics by group of targets, with standard errors; and the groups: classes, lengths, values, steps.

Shapes: M targets of one column, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.sequence_losses import Units
from sequifier.metrics.predictions import AtPositions, Sums, find_metric
from sequifier.model_report.positions import Positions, Rows

MOST = 31
"""Groups of a table: as many as a month has days. The others are one group."""

OF_ALL = frozenset({"expected_events"})
"""Sums that groups do not have: the likelihood of whole sequences is not that of some of their events."""

N_PARTS = 5
"""Parts of equal size into which numbers are cut."""


@dataclass(frozen=True)
class Group:
    """The metrics of some targets.

    Attributes:
        name: of the group.
        n: number of targets that count in the main metric.
        metrics: name -> value.
        error: standard error of the main metric; None where it is not known.
    """

    name: str
    n: int
    metrics: dict[str, float]
    error: float | None


@dataclass(frozen=True)
class Grouping:
    """The targets of a column in groups.

    Attributes:
        by: what the groups differ in.
        groups: the groups.
    """

    by: str
    groups: tuple[Group, ...]


def grouping(by: str, found: Positions, group: Rows, names: Sequence[str], main: str) -> Grouping:
    """Return the metrics of each group.

    Args:
        by: what the groups differ in.
        found: the predictions.
        group: number of the group of each target, (M,); -1: in none.
        names: of the groups.
        main: the metric with a standard error.
    """
    here = [(name, np.flatnonzero(group == number)) for number, name in enumerate(names)]
    groups = (of_group(name, found, chosen, main) for name, chosen in here if len(chosen))
    return Grouping(by, tuple(each for each in groups if each.n))


def of_group(name: str, found: Positions, chosen: Rows | slice, main: str) -> Group:
    """Return the metrics of some targets."""
    sums, is_part = Sums(), not isinstance(chosen, slice)
    parts = {
        key: AtPositions(part.value[chosen], None if part.cell is None else part.cell[chosen], part.n_cells)
        for key, part in found.parts.items()
        if not (is_part and key in OF_ALL)
    }
    sums.add(parts)
    units = units_of(found, chosen, main)
    metrics = sums.metrics(unit=found.unit)
    if units is None:
        return Group(name, sums.count, metrics, None)
    return Group(name, int(units.count.sum()), metrics, units.standard_error)


def units_of(found: Positions, chosen: Rows | slice, main: str) -> Units | None:
    """Return a metric by sampling unit; None for one that is not a mean over targets."""
    metric = find_metric(main)
    if metric is None or not metric.is_mean:
        return None
    (name,) = metric.sums
    counted = metric.counts(found.parts)
    weights = np.ones(len(found)) if counted is None else counted.value
    return by_unit(found, chosen, found.parts[name].value * (found.unit if metric.in_units else 1.0), weights)


def by_unit(found: Positions, chosen: Rows | slice, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Units:
    """Return the sums of some targets' values and weights, (M,) each, by sampling unit."""
    _, owner = np.unique(found.owner[chosen], return_inverse=True)
    total, count = (np.bincount(owner, each[chosen]).astype(np.float64) for each in (values, weights))
    return Units(total, count, found.by)


def by_length(history: Rows) -> tuple[Rows, list[str]]:
    """Return groups by number of events: 1, 2, 3 to 4, 5 to 8 and so on."""
    group = np.ceil(np.log2(np.maximum(history, 1))).astype(np.int64) + (history > 0)
    names = ["no event", "1 event", "2 events"]
    return group, [*names, *(f"{2**power + 1:,} to {2 ** (power + 1):,} events" for power in range(1, 62))]


def by_class(ids: Rows, names: Sequence[str]) -> tuple[Rows, list[str]]:
    """Return groups by class, the most frequent ones first, but numbers in their order where all are shown.

    Beyond MOST, the others are one group.

    Args:
        ids: class of each target, (M,), from 0; negative ones are in no group.
        names: of the classes.
    """
    counts = np.bincount(ids[ids >= 0], minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    shown = order if len(order) <= MOST else order[: MOST - 1]
    if len(shown) == len(order) and all(names[number].isdecimal() for number in shown):
        shown = np.array(sorted(shown, key=lambda number: int(names[number])), dtype=np.int64)
    place = np.full(len(names) + 1, len(shown) if len(order) > len(shown) else -1)
    place[shown] = np.arange(len(shown))
    place[-1] = -1
    n_others = len(order) - len(shown)
    return place[np.maximum(ids, -1)], [*(names[number] for number in shown), f"{n_others:,} other classes"]


def by_frequency(truth: Rows, counts: Rows) -> tuple[Rows, list[str]]:
    """Return groups by how often the true class occurs in training: each group has a fifth of the training targets.

    Args:
        truth: true class of each target, (M,).
        counts: number of training targets of each class.
    """
    order = np.argsort(-counts, kind="stable")
    share = np.cumsum(counts[order]) / max(int(counts.sum()), 1)
    part = np.minimum(((share - 1e-12) * N_PARTS).astype(np.int64), N_PARTS - 1)
    part[counts[order] == 0] = N_PARTS
    of_class = np.empty_like(part)
    of_class[order] = part
    sizes = np.bincount(part, minlength=N_PARTS + 1)
    names = [f"{size:,} classes, the {_nth(number)} fifth of training" for number, size in enumerate(sizes[:N_PARTS])]
    return of_class[truth], [*names, f"{sizes[N_PARTS]:,} classes that training does not have"]


def by_value(values: NDArray[np.float64]) -> tuple[Rows, list[str]]:
    """Return groups of about equal size by a number; NaN is in none."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), -1), []
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, N_PARTS + 1)))
    group = np.where(known, np.clip(np.searchsorted(edges, values, side="left") - 1, 0, max(len(edges) - 2, 0)), -1)
    ends = pairwise(edges) if len(edges) > 1 else [(edges[0], edges[0])]
    return group, [f"{low:.4g} to {high:.4g}" for low, high in ends]


def by_step(step: Rows, horizon: int) -> tuple[Rows, list[str]]:
    """Return groups by step of a horizon."""
    return step, [str(number) for number in range(1, horizon + 1)]


def _nth(number: int) -> str:
    return ("most frequent", "second", "third", "fourth", "rarest")[number]
