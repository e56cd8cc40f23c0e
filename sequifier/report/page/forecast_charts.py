"""Pictures of forecasts: the values before an origin, and after it truth, forecast with its interval, and season."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sequifier.artifacts.forecasts import Forecast, Values
from sequifier.report.page.charts import (
    BOTTOM,
    LEFT,
    SMALL_HEIGHT,
    SMALL_WIDTH,
    TOP,
    Chart,
    Curve,
    Rule,
    at,
    framed,
    path_of,
)
from sequifier.report.page.frame import Section, section
from sequifier.report.page.scale import Scale, fitted

BEFORE = 2
"""The values before the origin are drawn over at most this many horizons."""


def forecast_section(by_run: Sequence[tuple[str, Sequence[Forecast]]]) -> list[Section]:
    """Draw the forecasts of runs; without a section where there are none.

    Args:
        by_run: (name, forecasts) of each run.
    """
    shown = [(name, forecasts) for name, forecasts in by_run if forecasts]
    if not shown:
        return []
    every = [each for _, forecasts in shown for each in forecasts]
    return section(
        "forecasts",
        "Forecasts",
        "Forecasts",
        "forecasts.html",
        runs=[(name, [forecast_chart(each) for each in forecasts]) for name, forecasts in shown],
        has_band=any(each.low is not None for each in every),
        has_season=any(each.seasonal is not None for each in every),
    )


def forecast_chart(forecast: Forecast) -> Chart:
    """Draw one forecast over steps from its origin."""
    horizon = len(forecast.truth)
    before = forecast.before[-BEFORE * horizon :]
    first = 1 - len(before)
    series = (before, forecast.truth, forecast.predicted, forecast.seasonal, forecast.low, forecast.high)
    known = [value for values in series for value in values or () if value is not None]
    x = Scale(min(first, 0), horizon, LEFT, SMALL_WIDTH - 16)
    y = fitted(known, SMALL_HEIGHT - BOTTOM, TOP, log=False)

    def line(kind: str, start: int, values: Values, hint: str) -> Curve:
        places = [None if v is None else (x(start + step), y(v)) for step, v in enumerate(values)]
        return Curve(kind, "", path_of(places), hint)

    curves = []
    if forecast.low is not None and forecast.high is not None:
        curves.append(Curve("band", "", band(forecast.low, forecast.high, x, y), "80 % interval"))
    if forecast.seasonal is not None:
        curves.append(line("line dashed k-mean", 1, forecast.seasonal, "seasonal mean"))
    curves.append(line("line k-truth", first, [*before, *forecast.truth], "truth"))
    curves.append(line("line k-best", 1, forecast.predicted, "forecast"))
    chart = framed(
        x,
        y,
        title=f"{forecast.target} of {forecast.sequence} after {forecast.origin}",
        x_title=f"steps after {forecast.origin}",
        y_title=forecast.target,
        whole_x=True,
        size=(SMALL_WIDTH, SMALL_HEIGHT),
    )
    origin = Rule(at(x(0)), at(x(0)), str(TOP), str(SMALL_HEIGHT - BOTTOM))
    return replace(chart, curves=curves, axes=[*chart.axes, origin])


def band(low: Values, high: Values, x: Scale, y: Scale) -> str:
    """Return the path of an area between two series over steps from 1, in pieces where one has no value."""
    parts = []
    for steps in _runs_of_known(low, high):
        lower = [(x(step + 1), y(value)) for step in steps if (value := low[step]) is not None]
        upper = [(x(step + 1), y(value)) for step in steps if (value := high[step]) is not None]
        parts.append(path_of([*lower, *reversed(upper)]) + "Z")
    return "".join(parts)


def _runs_of_known(low: Values, high: Values) -> Iterator[list[int]]:
    run: list[int] = []
    for step, pair in enumerate(zip(low, high, strict=True)):
        if None not in pair:
            run.append(step)
        elif run:
            yield run
            run = []
    if run:
        yield run
