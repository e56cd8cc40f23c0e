"""Numbers -> the rows of the report's tables, some with small drawings in their cells."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sequifier.report.groups import BestRange, Group, is_logarithmic
from sequifier.report.interactions import Interaction
from sequifier.results.settings import text_of
from sequifier.results.trials import Trial, is_number


class Span(NamedTuple):
    """A part of a track from 0 to 1, and a mark on it."""

    low: float
    high: float
    mark: float | None
    outer: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class RangeRow:
    """The best quarter in one setting; `columns` of a categorical setting, `span` of a numeric one."""

    found: BestRange
    top: str
    tried: str
    best: str
    note: str
    columns: Sequence[tuple[float, float]] = ()
    span: Span | None = None


def range_row(found: BestRange) -> RangeRow:
    """The best quarter in one setting as a row."""
    best = text_of(found.best) if found.best is not None or not found.is_numeric else "–"
    end = "below" if found.at_low else "above" if found.at_high else ""
    note = f"at the end: try values {end}" if end else ""
    if found.shares:
        top = ", ".join(f"{name}: {100 * share:.0f}\u00a0%" for name, (share, _) in found.shares.items() if share)
        tried = ", ".join(f"{name}: {100 * share:.0f}\u00a0%" for name, (_, share) in found.shares.items())
        return RangeRow(found, top or "–", tried, best, note, columns=[*found.shares.values()] if found.n_top else [])
    tried = f"{text_of(found.tried_low)} to {text_of(found.tried_high)}"
    if found.low is None or found.high is None or found.tried_low is None or found.tried_high is None:
        return RangeRow(found, "–", tried, best, "not in the best quarter")
    low, high = found.tried_low, found.tried_high
    is_log = is_logarithmic(low, high) or (low > 0 and high / low >= 10)
    scale = math.log if is_log else float

    def fraction(value: float) -> float:
        return (scale(value) - scale(low)) / (scale(high) - scale(low)) if low != high else 0.5

    mark = fraction(found.best) if is_number(found.best) else None
    return RangeRow(
        found,
        f"{text_of(found.low)} to {text_of(found.high)}",
        tried + (" (log)" if is_log else ""),
        best,
        note,
        span=Span(fraction(found.low), fraction(found.high), mark),
    )


@dataclass(frozen=True)
class GroupRow:
    """The results of one group; `best_run` names the best one of it."""

    group: Group
    best_run: str
    span: Span | None


def group_rows(groups: Sequence[Group], label: Callable[[int], str]) -> list[GroupRow]:
    """Groups as rows, drawn on one scale.

    Args:
        groups: the groups.
        label: number of a trial -> its name.
    """
    known = [value for group in groups for value in (group.minimum, group.maximum) if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)

    def fraction(value: float) -> float:
        return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5

    def span(group: Group) -> Span | None:
        if group.mean is None or group.minimum is None or group.maximum is None:
            return None
        wide, mark = group.deviation or 0.0, group.median or group.mean
        return Span(
            fraction(group.mean - wide),
            fraction(group.mean + wide),
            fraction(mark),
            (fraction(group.minimum), fraction(group.maximum)),
        )

    return [GroupRow(each, "" if each.best_run is None else label(each.best_run), span(each)) for each in groups]


class MapCell(NamedTuple):
    """The mean of one combination; `heat` is 1 for the best and 0 for the worst."""

    mean: float
    n_runs: int
    heat: float


@dataclass(frozen=True)
class InteractionMap:
    """The mean result of each combination of two settings."""

    parameters: tuple[str, str]
    across: Sequence[str]
    rows: Sequence[tuple[str, Sequence[MapCell | None]]]
    best: float
    worst: float


def interaction_map(found: Interaction, *, maximize: bool) -> InteractionMap:
    """The cells of an interaction as a map."""
    down = sorted({one for one, _, _, _ in found.cells}, key=_order)
    across = sorted({other for _, other, _, _ in found.cells}, key=_order)
    means = {(one, other): (mean, count) for one, other, mean, count in found.cells}
    values = sorted((mean for mean, _ in means.values()), reverse=maximize)

    def cell(one: str, other: str) -> MapCell | None:
        if (one, other) not in means:
            return None
        mean, count = means[one, other]
        # By rank among the cells, so that a loss that exploded leaves the others their shades.
        return MapCell(mean, count, 1 - values.index(mean) / max(1, len(values) - 1))

    rows = [(one, [cell(one, other) for other in across]) for one in down]
    return InteractionMap(found.parameters, across, rows, values[0], values[-1])


def _order(level: str) -> tuple[int, float, str]:
    """Levels in the order of their first number, strings behind."""
    try:
        return 0, float(level.partition(" to ")[0]), level
    except ValueError:
        return 1, 0.0, level


@dataclass(frozen=True)
class CurveValues:
    """Learning curves as a table: ten epochs, and a row (name, values) for each run."""

    epochs: Sequence[int]
    rows: Sequence[tuple[str, Sequence[float | None]]]


def curve_values(runs: Sequence[tuple[str, Trial]]) -> CurveValues:
    """The values of some learning curves: of (name, run)."""
    last = max((len(trial.curve) for _, trial in runs), default=1)
    epochs = sorted({1, last, *(round(1 + part * (last - 1) / 9) for part in range(10))})
    rows = [
        (name, [trial.curve[epoch - 1] if epoch <= len(trial.curve) else None for epoch in epochs])
        for name, trial in runs
    ]
    return CurveValues(epochs, rows)
