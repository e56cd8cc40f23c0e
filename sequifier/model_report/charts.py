"""The drawings of a model's report: metrics over the steps of a horizon, and calibration curves."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import NamedTuple

from sequifier.artifacts.forecasts import Values
from sequifier.model_report.found import Bin, OfTarget
from sequifier.model_report.groups import Group, Grouping
from sequifier.report.numbers import in_percent, number
from sequifier.report.page.charts import (
    BOTTOM,
    LEFT,
    SERIES,
    SMALL_HEIGHT,
    SMALL_WIDTH,
    TOP,
    Chart,
    Curve,
    Dot,
    at,
    framed,
    path_of,
)
from sequifier.report.page.forecast_charts import band
from sequifier.report.page.scale import Scale, fitted
from sequifier.report.page.tables import Span

LIMIT = 1.96
"""Standard errors from a value to the ends of its 95 % interval."""

SIZE = (SMALL_WIDTH, SMALL_HEIGHT)
COVERAGE = "coverage_80"


class Named(NamedTuple):
    """A line of a legend: the class of its colour, and its name."""

    kind: str
    name: str


class StepCharts(NamedTuple):
    """The charts of a target over the steps of a horizon.

    Attributes:
        main: the main metric, beside that of the baselines.
        legend: its lines.
        coverage: of the interval of 80 %; None without a distribution.
    """

    main: Chart
    legend: Sequence[Named]
    coverage: Chart | None


def step_charts(target: OfTarget) -> StepCharts | None:
    """Draw the metrics over steps; None without a horizon."""
    if target.steps is None:
        return None
    groups = target.steps.model.groups
    baselines = sorted(target.steps.baselines.items(), key=lambda each: _mean(each[1]), reverse=target.maximize)
    baselines = baselines[: SERIES - 1]
    lines = [(Named(f"s{place}", name), values) for place, (name, values) in enumerate(baselines, 1)]
    coverage = None
    if any(COVERAGE in group.metrics for group in groups):
        covered = [group.metrics.get(COVERAGE) for group in groups]
        goal = [0.8] * len(groups)
        coverage = _over_steps("80 % intervals", covered, [(Named("mean dashed", "80 %"), goal)], [None] * len(groups))
    main = [group.metrics.get(target.main) for group in groups]
    chart = _over_steps(target.main, main, lines, [group.error for group in groups])
    return StepCharts(chart, [Named("best", "this model"), *(named for named, _ in lines)], coverage)


def _over_steps(
    name: str, model: Values, others: Sequence[tuple[Named, Values]], errors: Sequence[float | None]
) -> Chart:
    """Draw the model over steps, with its 95 % interval, and other lines behind it."""
    ends = [
        None if value is None else (value - LIMIT * (error or 0), value + LIMIT * (error or 0))
        for value, error in zip(model, errors, strict=True)
    ]
    low, high = ([None if pair is None else pair[place] for pair in ends] for place in (0, 1))
    known = [
        value for values in (low, high, *(values for _, values in others)) for value in values if value is not None
    ]
    x = Scale(1, max(2, len(model)), LEFT, SMALL_WIDTH - 16)
    y = fitted(known, SMALL_HEIGHT - BOTTOM, TOP, log=False)

    def curve(kind: str, label: str, values: Values) -> Curve:
        places = [None if value is None else (x(step), y(value)) for step, value in enumerate(values, 1)]
        return Curve(f"line k-{kind}", "", path_of(places), label)

    curves = [Curve("band", "", band(low, high, x, y), "95 % interval")] if any(errors) else []
    curves += [curve(named.kind, named.name, values) for named, values in others]
    chart = framed(x, y, title=f"{name} by step", x_title="step", y_title=name, whole_x=True, size=SIZE)
    return replace(chart, curves=[*curves, curve("best", "this model", model)])


def _mean(values: Values) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def calibration_chart(bins: Sequence[Bin], *, expected: str, observed: str) -> Chart:
    """Draw a calibration curve beside the diagonal."""
    x, y = Scale(0, 1, LEFT, SMALL_WIDTH - 16), Scale(0, 1, SMALL_HEIGHT - BOTTOM, TOP)
    diagonal = Curve("line dashed k-mean", "", path_of([(x(0), y(0)), (x(1), y(1))]), "equal")
    places = [(x(each.expected), y(each.observed)) for each in bins]
    whiskers = path_of(
        [
            place
            for each in bins
            if each.error
            for place in (
                (x(each.expected), y(each.observed - LIMIT * each.error)),
                (x(each.expected), y(each.observed + LIMIT * each.error)),
                None,
            )
        ]
    )
    dots = [
        Dot("best", "", at(place[0]), at(place[1]), 3.5, f"{in_percent(each.expected)}: {number(each.observed)}")
        for each, place in zip(bins, places, strict=True)
    ]
    chart = framed(
        x, y, title=f"{observed} by {expected}", x_title=expected, y_title=observed, whole_x=False, size=SIZE
    )
    line = Curve("line k-best", "", path_of(places), observed)
    intervals = [Curve("whisker", "", whiskers, "95 % intervals")] if whiskers else []
    return replace(chart, curves=[diagonal, line, *intervals], dots=dots)


class DrawnGroup(NamedTuple):
    """A group with its drawing: a bar from 0 with the ends of its interval, or where values are negative a span."""

    group: Group
    bar: tuple[float, float, float] | None
    span: Span | None


def drawn_groups(found: Grouping, main: str) -> list[DrawnGroup]:
    """Return the groups of a table with their main metric drawn on one scale."""
    ends = {
        group.name: (value, value - LIMIT * (group.error or 0), value + LIMIT * (group.error or 0))
        for group in found.groups
        if (value := group.metrics.get(main)) is not None and isfinite(value)
    }
    is_negative = any(value < 0 for value, _, _ in ends.values())
    every = [each for triple in ends.values() for each in triple]
    # A bar from 0 would be longest for the best of negative likelihoods.
    low, high = (min(every) if is_negative else 0.0), max(every, default=1.0)
    size = high - low or 1.0

    def drawn(group: Group) -> DrawnGroup:
        if group.name not in ends:
            return DrawnGroup(group, None, None)
        mark, start, end = (min(max((each - low) / size, 0.0), 1.0) for each in ends[group.name])
        if is_negative:
            return DrawnGroup(group, None, Span(start, end, mark))
        return DrawnGroup(group, (mark, start, end), None)

    return [drawn(group) for group in found.groups]
