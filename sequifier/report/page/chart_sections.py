"""The charts of the report: which runs are drawn, and how they are marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from sequifier.report.analysis import Analysis
from sequifier.report.curves import Pareto, best_so_far
from sequifier.report.groups import top_count
from sequifier.report.numbers import number
from sequifier.report.page.charts import RIGHT, SERIES, Line, Point, learning_curves, scatter
from sequifier.report.page.frame import DrawnRun, Section, readable, section
from sequifier.report.page.packed_curves import packed_curves
from sequifier.report.page.parallel import Axis, Trace, parallel_coordinates
from sequifier.report.page.tables import curve_values
from sequifier.results.ranking import Configuration
from sequifier.results.trials import Trial, run_label

MOST_CURVES = 200
MOST_LINES = 400
MOST_POINTS = 2000
MOST_AXES = 8
WIDEST_NAMES = 180
LABELLED = 3
"""Curves with their name at the end."""

FEW_RUNS = 3
"""Runs with a result below which they are not drawn in their order."""


def _kind(rank: int | None, n_top: int) -> str:
    return "rest" if rank is None or rank > n_top else "best" if rank == 1 else "top"


def parallel_section(analysis: Analysis) -> list[Section]:
    """Draw all settings as parallel coordinates."""
    table = analysis.table
    rows = [row for row in analysis.rows if row.rank is not None]
    names = [each.parameter for each in analysis.importances.parameters] or list(table.settings)
    shown_names = names[:MOST_AXES]
    if len(rows) < 2 or not names:
        return []
    shown = _thinned(rows, MOST_LINES)
    n_top = top_count(len(rows))
    axes = [Axis(name, [_on_axis(row, name) for row in shown]) for name in shown_names]
    traces = [
        Trace(
            _key(row.first),
            "pruned" if row.state == "pruned" else _kind(row.rank, n_top),
            f"{run_label(table, row.first)}: {table.metric} {number(row.value)}",
        )
        for row in shown
    ]
    chart = parallel_coordinates(
        [*axes, Axis(table.metric, [row.value for row in shown])],
        traces,
        title=f"A line for each of {len(shown)} configurations through its settings to its result",
    )
    counts = {"n_names": len(shown_names), "n_settings": len(table.settings), "n_left": len(rows) - len(shown)}
    return section("parallel", "Settings", "All settings", "parallel.html", chart=chart, **counts)


def _on_axis(row: Configuration, name: str) -> object:
    """A setting as an axis takes it: None is a gap, null is a dash."""
    if name not in row.settings:
        return None
    value = row.settings[name]
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else value


def curves_section(analysis: Analysis, charts: dict[str, object], maximized: Mapping[str, bool]) -> list[Section]:
    """Draw the learning curves; what the script reads off them is added to `charts`.

    Args:
        analysis: of the search.
        charts: of the page.
        maximized: the metrics of the page -> whether higher is better.
    """
    table, metric = analysis.table, analysis.table.curve_metric
    rank = {number: row.rank for row in analysis.rows for number in row.numbers}
    n_top = top_count(sum(row.rank is not None for row in analysis.rows))
    known = [trial for trial in table.trials if any(value is not None for value in trial.curve)]
    known.sort(key=lambda trial: (rank.get(trial.number) is None, rank.get(trial.number) or 0, trial.number))
    shown = known[:MOST_CURVES]
    labels = [run_label(table, trial) for trial in shown]
    searches = [] if analysis.comparison is None else [each.name for each in analysis.comparison.searches][:SERIES]
    chart = None
    if shown:
        chart = learning_curves(
            [
                _line(trial, rank.get(trial.number), n_top, label, searches)
                for trial, label in zip(shown, labels, strict=True)
            ],
            title=f"{metric} after each epoch of {len(shown)} runs",
            metric=metric,
            maximize=table.maximize and metric == table.metric,
            right=min(max(RIGHT, 8 * (max(map(len, labels)) + 2)), WIDEST_NAMES),
        )
        drawn = [
            DrawnRun(_key(trial), label, trial.curve, trial.train_curve if place < 20 else ())
            for place, (trial, label) in enumerate(zip(shown, labels, strict=True))
        ]
        others = {name: is_maximized for name, is_maximized in maximized.items() if name != metric}
        packed = packed_curves({_key(trial): trial.curves for trial in shown}, others)
        charts["curves"] = readable(chart, metric, drawn) | {"others": packed}
    return section(
        "curves",
        "Curves",
        "Learning curves",
        "curves.html",
        chart=chart,
        metric=metric,
        facts=analysis.curves,
        n_shown=len(shown),
        n_known=len(known),
        searches=searches,
        is_training=table.kind == "training",
        values=curve_values([*zip(labels[:10], shown[:10], strict=True)]),
    )


def _line(trial: Trial, rank: int | None, n_top: int, label: str, searches: Sequence[str]) -> Line:
    """Return a curve: coloured by its rank, or where searches are compared by its search."""
    kind = _kind(rank, n_top)
    colour = kind
    if trial.search in searches:
        colour = f"s{searches.index(trial.search)}{'' if kind == 'best' else ' k-rest'}"
    more = f", {trial.state}" if trial.state != "finished" else ""
    return Line(
        key=_key(trial),
        label=label if rank is not None and rank <= LABELLED else "",
        values=trial.curve,
        kind=colour,
        is_dashed=trial.state == "pruned" and kind == "rest",
        hint=f"{label}: best {number(trial.value)} in epoch {trial.best_epoch or '–'}{more}",
    )


def trade_offs_section(analysis: Analysis) -> list[Section]:
    """Draw the Pareto fronts, and the runs in their order."""
    fronts = [_front(analysis, front) for front in analysis.fronts if front.n > 1]
    history = _history(analysis)
    if not fronts and history is None:
        return []
    return section(
        "trade-off",
        "Trade-offs",
        "Trade-offs",
        "trade_offs.html",
        table=analysis.table,
        fronts=fronts,
        history=history,
    )


def _front(analysis: Analysis, front: Pareto) -> dict[str, Any]:
    table = analysis.table
    name = "number of parameters" if front.cost == "parameters" else front.cost
    rows = [row for row in analysis.rows if row.value is not None and row.state != "pruned"]
    on_front = {point.run for point in front.front}
    points = [
        Point(
            _key(row.first),
            float(cost),
            row.value or 0.0,
            "best" if row.rank == 1 else "front" if row.first.number in on_front else "rest",
            f"{run_label(table, row.first)}: {table.metric} {number(row.value)}, {number(cost)} {front.cost}",
        )
        for row in _thinned(rows, MOST_POINTS)
        if (cost := row.n_parameters if front.cost == "parameters" else row.seconds) is not None
    ]
    chart = scatter(
        points,
        title=f"{table.metric} and {name}, with the Pareto front",
        x_title=name,
        y_title=table.metric,
        step=[(point.cost, point.value) for point in front.front],
        maximize=table.maximize,
    )
    names = {trial.number: run_label(table, trial) for trial in table.trials}
    runs = [names[point.run] for point in front.front[-6:]]
    return {"cost": name, "chart": chart, "runs": runs, "has_more": len(front.front) > len(runs)}


def _history(analysis: Analysis) -> dict[str, Any] | None:
    table = analysis.table
    known = [trial for trial in table.trials if trial.value is not None]
    if len(known) < FEW_RUNS:
        return None
    steps = best_so_far(table, known)
    best = steps[-1][0]
    shown = known if len(known) <= MOST_POINTS else known[:: len(known) // MOST_POINTS + 1]
    points = [
        Point(
            _key(trial),
            trial.number,
            trial.value or 0.0,
            "best" if trial.number == best else "pruned" if trial.state == "pruned" else "rest",
            f"{run_label(table, trial)}: {table.metric} {number(trial.value)}",
        )
        for trial in shown
    ]
    chart = scatter(
        points,
        title=f"{table.metric} of the runs in their order, and the best so far",
        x_title="run",
        y_title=table.metric,
        step=[(float(place), value) for place, value in steps],
        maximize=table.maximize,
        whole_x=True,
    )
    return {"chart": chart, "since": known[-1].number - best}


def _thinned(rows: Sequence[Configuration], most: int) -> list[Configuration]:
    """At most `most` rows: the best half of that number, and the others evenly."""
    if len(rows) <= most:
        return list(rows)
    first = most // 2
    step = -(-(len(rows) - first) // (most - first))
    return [*rows[:first], *rows[first::step]]


def _key(trial: Trial) -> str:
    return f"r{trial.number}"
