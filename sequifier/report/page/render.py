"""An analysis -> the report, one HTML page. Numbers come in; here is chosen what of them is shown."""

from collections.abc import Sequence

from sequifier.artifacts.forecasts import Forecast
from sequifier.percent import loss_text, percent
from sequifier.report.analysis import Analysis
from sequifier.report.groups import top_count
from sequifier.report.numbers import number, seconds_text
from sequifier.report.page.chart_sections import curves_section, parallel_section, trade_offs_section
from sequifier.report.page.forecast_charts import forecast_section
from sequifier.report.page.frame import Section, fill, section
from sequifier.report.page.run_details import page_metrics, run_details
from sequifier.report.page.tables import group_rows, interaction_map, range_row
from sequifier.report.setting_findings import CLEARLY
from sequifier.results.ranking import verdict, with_baselines
from sequifier.results.trials import run_label

MOST_ROWS = 1000
"""Rows of the table; more are in results.csv, and a browser is slow with them."""

MOST_PAIRS = 6
MOST_GROUPS = 40


def render(
    analysis: Analysis,
    *,
    next_search: tuple[str, str] | None = None,
    forecasts: Sequence[Forecast] = (),
    model_report: str | None = None,
    source: str = "",
    refresh: int | None = None,
) -> str:
    """Return the report.

    Args:
        analysis: of one search or several.
        next_search: the YAML of the next search, and the command that starts it; None where there is none.
        forecasts: of the best run.
        model_report: link to the report of the model to deploy; None where it was not written.
        source: the command that wrote the page.
        refresh: seconds after which a browser reads the file again; None: never.
    """
    table = analysis.table
    charts: dict[str, object] = {}
    sections = [
        *section(
            "findings",
            "Findings",
            "Findings",
            "findings.html",
            findings=analysis.recommendations,
            model_report=model_report,
        ),
        *_searches(analysis),
        *_runs(analysis),
        *section(
            "importance",
            "Importance",
            "Importance",
            "importance.html",
            found=analysis.importances,
            in_groups=analysis.in_groups,
        ),
        *_ranges(analysis),
        *_groups(analysis),
        *_interactions(analysis),
        *parallel_section(analysis),
        *forecast_section([("", forecasts)]),
        *curves_section(analysis, charts, page_metrics(analysis, analysis.rows[:MOST_ROWS])),
        *trade_offs_section(analysis),
        *_certainty(analysis),
        *_budget(analysis),
    ]
    if next_search is not None:
        text, command = next_search
        sections += section("next", "Next", "Next search", "next.html", text=text, command=command)
    return fill(
        "search.html",
        title=f"{table.name}: {table.kind} search",
        sections=sections,
        charts=charts,
        runs=run_details(analysis, analysis.rows[:MOST_ROWS]),
        command=source,
        refresh=refresh,
        table=table,
        states=sorted(analysis.overview.states.items(), key=lambda item: -item[1]),
        key_figures=_key_figures(analysis),
    )


def _key_figures(analysis: Analysis) -> list[tuple[str, str, str]]:
    """The numbers in the header: name, value, note."""
    table, overview = analysis.table, analysis.overview
    error = f"± {number(overview.best_error)} (se), " if overview.best_error is not None else ""
    names = {trial.number: run_label(table, trial) for trial in table.trials}
    run = f"{error}{names[overview.best_run]}" if overview.best_run is not None else "no run has a result yet"
    found = [("Best " + table.metric, number(overview.best), run)]
    if overview.skill is not None and overview.baseline is not None:
        certainty = {True: ", significant", False: ", not significant", None: ""}
        known = None if overview.skill <= 0 else overview.beats_baseline
        better = "Better" if overview.skill >= 0 else "Worse"
        note = f"baseline {number(overview.baseline)}{certainty[known]}"
        found.append((f"{better} than the best baseline", percent(overview.skill), note))
    found.append(("Configurations", f"{overview.n_configurations:,}", f"{overview.n_trials:,} runs"))
    budget = overview.budget
    useful = f"{100 * budget.useful / budget.total:.0f} % in completed runs" if budget.total else ""
    found.append(("Time spent", seconds_text(budget.total), useful))
    if analysis.over_tuning is not None:
        test = analysis.over_tuning
        found.append(("On the test split", number(test.test), f"{names[test.run]}, scored once"))
    return found


def _searches(analysis: Analysis) -> list[Section]:
    if analysis.comparison is None:
        return []
    context = {"table": analysis.table, "comparison": analysis.comparison}
    return section("compare", "Searches", "Searches", "comparison.html", **context)


def _runs(analysis: Analysis) -> list[Section]:
    table, rows = analysis.table, analysis.rows
    best = table.best_baseline
    return section(
        "runs",
        "Runs",
        "Runs",
        "runs.html",
        table=table,
        rows=with_baselines(rows[:MOST_ROWS], table),
        n_rows=len(rows),
        n_ranked=sum(row.rank is not None for row in rows),
        baseline=best,
        several=analysis.comparison is not None,
        verdict=verdict(table, rows),
        label=lambda trial: run_label(table, trial),
    )


def _ranges(analysis: Analysis) -> list[Section]:
    n_ranked = sum(row.rank is not None for row in analysis.rows)
    return section(
        "ranges",
        "Ranges",
        "Best ranges",
        "ranges.html",
        rows=[range_row(each) for each in analysis.ranges] if n_ranked > 1 else [],
        in_groups=[(group.name, [*map(range_row, group.ranges)]) for group in analysis.in_groups if group.ranges],
        n_top=top_count(n_ranked),
        n_ranked=n_ranked,
    )


def _groups(analysis: Analysis) -> list[Section]:
    table, groups = analysis.table, analysis.groups
    labels = {trial.number: run_label(table, trial) for trial in table.trials}
    values = {name: found for name, found in analysis.values.items() if 1 < len(found) <= MOST_GROUPS}
    return section(
        "groups",
        "Groups",
        f"By {table.group_name}" if groups.groups else "By value",
        "groups.html",
        groups=groups,
        rows=group_rows(groups.groups, labels.__getitem__),
        values=[(name, group_rows(found, labels.__getitem__)) for name, found in values.items()],
    )


def _interactions(analysis: Analysis) -> list[Section]:
    found = analysis.interactions
    if not found:
        return []
    return section(
        "interactions",
        "Interactions",
        "Interactions",
        "interactions.html",
        table=analysis.table,
        interactions=found[:MOST_PAIRS],
        n_pairs=len(found),
        is_chance=found[0].p_value * len(found) > 2 * CLEARLY,
        map=interaction_map(found[0], maximize=analysis.table.maximize),
    )


_UNITS = {"blocks": "blocks of targets", "sequences": "sequences", "groups": "sequences", "prompts": "prompts"}


def _certainty(analysis: Analysis) -> list[Section]:
    rows = [row for row in analysis.rows if row.rank is not None]
    if not rows:
        return []
    is_training = analysis.table.kind == "training"
    compared = [row for row in rows if row.is_indistinguishable is not None]
    items = []
    if compared:
        n_same = sum(bool(row.is_indistinguishable) for row in compared)
        units = f"{'validation ' if is_training else ''}{_UNITS.get(rows[0].standard_error_by, 'units')}"
        note = f"paired t tests over {units}, 95 % confidence for all of them together"
        items.append(("Statistically indistinguishable from the best", f"{n_same} of {len(compared)}", note))
    seeds = analysis.seeds
    if seeds.deviation is not None:
        note = f"{seeds.n_configurations} configurations, {seeds.n_trials} runs"
        items.append(("Standard deviation between seeds", number(seeds.deviation), note))
    if seeds.between is not None:
        items.append(("Standard deviation between configurations", number(seeds.between), ""))
    if seeds.gap is not None:
        items.append(("Lead of the best over the second", number(seeds.gap), ""))
    if (check := analysis.over_tuning) is not None:
        error = f"± {number(check.error)} (se), " if check.error is not None else ""
        run = next(run_label(analysis.table, trial) for trial in analysis.table.trials if trial.number == check.run)
        items.append(("Test minus validation", loss_text(analysis.table.sign * check.gap, sign="+"), f"{error}{run}"))
    context = {"items": items, "is_training": is_training, "has_seeds": seeds.deviation is not None}
    return section("certainty", "Certainty", "Certainty", "certainty.html", **context)


_BUDGET = {
    "useful": "completed runs",
    "pruned": "pruned runs",
    "retried": "attempts that were started again",
    "wasted": "runs without a result",
    "open": "runs that have not ended",
}


def _budget(analysis: Analysis) -> list[Section]:
    budget = analysis.overview.budget
    return section(
        "budget",
        "Budget",
        "Budget",
        "budget.html",
        budget=budget,
        parts=[(name, getattr(budget, name)) for name in _BUDGET],
        meaning=_BUDGET,
        wall=analysis.overview.wall_seconds,
    )
