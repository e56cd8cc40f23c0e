"""An analysis -> one HTML page that needs nothing but itself. Numbers come in; here they are only drawn."""

from collections.abc import Callable, Sequence
from html import escape

from sequifier.report.analysis import Analysis
from sequifier.report.curves import best_so_far
from sequifier.report.groups import top_count
from sequifier.report.numbers import number, seconds_text
from sequifier.report.page.charts import Axis, Line, Point, learning_curves, parallel_coordinates, scatter, stacked
from sequifier.report.page.frame import Page, copied, figures, section
from sequifier.report.page.tables import groups_table, importance_table, interaction_part, ranges_table, runs_table
from sequifier.results.ranking import Configuration
from sequifier.results.trials import Trial, run_label
from sequifier.shares import percent

MOST_CURVES = 200
MOST_LINES = 400
MOST_POINTS = 2000
MOST_AXES = 8
READOUT = '<p class="readout note" role="status" aria-live="polite">Rest on a curve, or walk with the arrow keys.</p>'
"""What the script writes values into."""

LABELLED = 3
"""Curves with their name at the end."""


def render(
    analysis: Analysis, *, next_search: tuple[str, str] | None = None, source: str = "", refresh: int | None = None
) -> str:
    """The report.

    Args:
        analysis: of one search or several.
        next_search: the YAML of the next search, and the command that starts it; None where there is none.
        source: the command that made the page, for its foot.
        refresh: seconds after which a browser reads the file again; None: never.
    """
    table, page = analysis.table, Page(f"{analysis.table.name}: {analysis.table.kind} search")
    page.header(_header(analysis))
    if refresh is not None:
        page.refresh(refresh)
    parts: list[tuple[str, str, str, str]] = [
        ("findings", "Findings", "Findings", _findings(analysis)),
        ("runs", "Runs", "Runs", runs_table(analysis)),
        ("importance", "Importance", "Importance", _importance(analysis)),
        ("ranges", "Best ranges", "Ranges", ranges_table(analysis)),
        (
            "groups",
            f"By {table.group_name}" if analysis.groups.groups else "By value",
            "Groups",
            groups_table(analysis),
        ),
        ("interactions", "Interactions", "Interactions", interaction_part(analysis)),
        ("parallel", "All settings", "Settings", _parallel(analysis)),
        ("curves", "Learning curves", "Curves", _curves(analysis, page)),
        ("trade-off", "Trade-offs", "Trade-offs", _trade_offs(analysis)),
        ("certainty", "Certainty", "Certainty", _certainty(analysis)),
        ("budget", "Budget", "Budget", _budget(analysis)),
        ("compare", "Searches", "Searches", _comparison(analysis)),
        ("next", "Next search", "Next", _next(next_search)),
    ]
    for key, title, short, content in parts:
        if content:
            page.add(key, short, section(key, title, content))
    page.footer(source)
    return page.html()


def _header(analysis: Analysis) -> str:
    table, overview = analysis.table, analysis.overview
    states = " ".join(
        f'<span class="tag{" bad" if state in ("failed", "oom") else ""}">{count:,} {state}</span>'
        for state, count in sorted(overview.states.items(), key=lambda item: -item[1])
    )
    running = " It is running now." if table.is_running else ""
    about = (
        f"{table.kind.capitalize()} search, ranked by {escape(table.metric)} ({table.direction}). {states}"
        f"{running}{f' Data {escape(table.data)}.' if table.data else ''}"
    )
    best = f"{number(overview.best)}" if overview.best is not None else "–"
    error = f"± {number(overview.best_error)} (se), " if overview.best_error is not None else ""
    run = f"{error}run {overview.best_run}" if overview.best_run is not None else "no run has a result yet"
    told = [
        ("Best " + table.metric, best, run),
        ("Configurations", f"{overview.n_configurations:,}", f"{overview.n_trials:,} runs"),
        (
            "Time spent",
            seconds_text(overview.budget.total),
            f"{_share_text(overview.budget.useful, overview.budget.total)} useful",
        ),
    ]
    if overview.skill is not None and overview.baseline is not None:
        known = None if overview.skill <= 0 else overview.beats_baseline
        sure = {True: "significant", False: "not significant", None: ""}[known]
        told.insert(
            1,
            (
                "Over the best baseline",
                percent(overview.skill, signed=True),
                f"baseline {number(overview.baseline)}{', ' if sure else ''}{sure}",
            ),
        )
    if analysis.over_tuning is not None:
        told.append(
            ("On the test split", number(analysis.over_tuning.test), f"run {analysis.over_tuning.run}, scored once")
        )
    return f"<h1>{escape(table.name)}</h1></div><p class='about'>{about}</p>{figures(told)}"


def _findings(analysis: Analysis) -> str:
    lines = "".join(
        f'<li class="{each.kind}{" bad" if each.figures.get("is_over_tuned") else ""}">{escape(each.text)}</li>'
        for each in analysis.recommendations
    )
    return f'<ul class="findings">{lines}</ul>' if lines else '<p class="empty">Nothing to say yet.</p>'


def _importance(analysis: Analysis) -> str:
    found = analysis.importances
    if not found.parameters:
        return f'<p class="empty">{escape(found.missing.capitalize())}.</p>'
    few = "" if found.n_trials >= 20 else " With so few, the intervals say more than the bars."
    content = (
        f"<p>Which settings it takes to be among the best {100 * found.quantile:.0f} % of {found.n_trials:,} runs "
        f"(PED-ANOVA, as a share of all). Lines are 95 % intervals over {found.draws} bootstrap draws.{few}</p>"
        + importance_table(analysis)
    )
    for group in analysis.in_groups:
        if group.importances.parameters:
            content += f"<h3>Within {escape(group.name)}</h3>{importance_table(analysis, group)}"
    return content


def _trial_of(analysis: Analysis) -> dict[int, Trial]:
    return {trial.number: trial for trial in analysis.table.trials}


def _kind(rank: int, n_top: int) -> str:
    return "best" if rank == 1 else "top" if rank <= n_top else "rest"


def _parallel(analysis: Analysis) -> str:
    rows = [row for row in analysis.rows if row.rank is not None]
    names = [each.parameter for each in analysis.importances.parameters] or list(analysis.table.parameters)
    names = names[:MOST_AXES]
    if len(rows) < 2 or not names:
        return ""
    n_top = top_count(len(rows))
    shown = _thinned(rows, MOST_LINES)
    axes = [
        Axis(name, [row.parameters.get(name, "–") if name in row.parameters else None for row in shown])
        for name in names
    ]
    axes = [Axis(axis.name, [_axis_value(value) for value in axis.values]) for axis in axes]
    drawn = parallel_coordinates(
        [*axes, Axis(analysis.table.metric, [row.value for row in shown])],
        [_key(row.first) for row in shown],
        ["pruned" if row.state == "pruned" else _kind(row.rank or 0, n_top) for row in shown],
        [f"run {row.first.number}: {analysis.table.metric} {number(row.value)}" for row in shown],
        title=f"A line for each of {len(shown)} configurations through its settings and its result",
    )
    left = len(rows) - len(shown)
    less = f" {left:,} in the middle are left out." if left else ""
    hidden = len(analysis.table.parameters) - len(names)
    more = (
        f" The {len(names)} most important of {len(analysis.table.parameters)} settings are shown."
        if hidden > 0
        else ""
    )
    return (
        "<p>One line per configuration: the best strong, the best quarter coloured, pruned ones dotted. A line that "
        f"does not have a setting passes its axis by.{more}{less}</p>"
        '<figure><div class="plot" tabindex="0" role="group" aria-label="All settings, drawn">'
        f"{drawn.svg}</div></figure>"
    )


def _axis_value(value: object) -> object:
    """Text stays text, a boolean becomes it."""
    return str(value).lower() if isinstance(value, bool) else value


def _curves(analysis: Analysis, page: Page) -> str:
    table = analysis.table
    rank = {number: row.rank for row in analysis.rows for number in row.trials}
    n_top = top_count(sum(row.rank is not None for row in analysis.rows))
    known = [trial for trial in table.trials if sum(value is not None for value in trial.curve) > 1]
    if not known:
        return '<p class="empty">No run has two epochs behind it yet.</p>' if table.kind == "training" else ""
    known.sort(key=lambda trial: (rank.get(trial.number) is None, rank.get(trial.number) or 0, trial.number))
    shown = known[:MOST_CURVES]
    lines = [_line(trial, rank.get(trial.number), n_top, run_label(table, trial)) for trial in shown]
    drawn = learning_curves(
        lines,
        title=f"{table.curve_metric} after each epoch of {len(lines)} runs",
        metric=table.curve_metric,
        maximize=table.maximize and table.curve_metric == table.metric,
    )
    page.chart(
        "curves",
        drawn.scales,
        table.curve_metric,
        [(_key(t), run_label(table, t), t.curve, t.train_curve if place < 20 else ()) for place, t in enumerate(shown)],
    )
    facts = analysis.curves
    said = ""
    if facts.n_trials:
        said = (
            f" Of the {facts.n_trials} best that were trained to their end, {facts.n_still_learning} were best in "
            f"their last epoch and {facts.n_overfit} got clearly worse after their best."
        )
    left = f" The best {len(shown)} of {len(known):,} are drawn." if len(known) > len(shown) else ""
    return (
        f"<p>{escape(table.curve_metric)} after each epoch.{said}{left} {drawn.note}</p>"
        '<figure class="curves" data-chart="curves"><div class="plot" tabindex="0" role="group" '
        f'aria-label="Learning curves; the arrow keys walk through runs and epochs">{drawn.svg}</div>'
        f"{READOUT}</figure>" + curve_values(shown[:10], table.curve_metric, name=lambda trial: run_label(table, trial))
    )


def _line(trial: Trial, rank: int | None, n_top: int, label: str) -> Line:
    kind = _kind(rank, n_top) if rank is not None else "rest"
    more = f", {trial.state}" if trial.state != "finished" else ""
    return Line(
        key=_key(trial),
        label=label if rank is not None and rank <= LABELLED else "",
        values=trial.curve,
        kind=kind,
        is_dashed=trial.state == "pruned" and kind == "rest",
        title=f"{label}: best {number(trial.value)} in epoch {trial.best_epoch or '–'}{more}",
    )


def curve_values(trials: Sequence[Trial], metric: str, *, name: Callable[[Trial], str] | None = None) -> str:
    """The drawn numbers as a table, for whoever does not see the drawing."""
    last = max(len(trial.curve) for trial in trials)
    epochs = sorted({1, last, *(round(1 + part * (last - 1) / 9) for part in range(10))})
    heads = "".join(f'<th scope="col" class="n">{epoch}</th>' for epoch in epochs)
    body = "".join(
        f'<tr><th scope="row">{escape(name(trial) if name else f"run {trial.number}")}</th>'
        + "".join(f'<td class="n">{number(trial.curve[e - 1] if e <= len(trial.curve) else None)}</td>' for e in epochs)
        + "</tr>"
        for trial in trials
    )
    return (
        f"<details><summary>The best {len(trials)} as numbers</summary><div class='scroll' tabindex='0' role='region' "
        f"aria-label='Curves as numbers'><table><caption>{escape(metric)} by epoch</caption>"
        f"<thead><tr><th scope='col'>run</th>{heads}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _trade_offs(analysis: Analysis) -> str:
    table, parts = analysis.table, []
    rows = [row for row in analysis.rows if row.value is not None and row.state != "pruned"]
    for front in analysis.fronts:
        if front.n < 2:
            continue
        on_front = {point.run for point in front.front}
        points = [
            Point(
                _key(row.first),
                float(cost),
                row.value or 0.0,
                "best" if row.rank == 1 else "front" if row.first.number in on_front else "rest",
                f"run {row.first.number}: {table.metric} {number(row.value)}, {number(cost)} {front.cost}",
            )
            for row in _thinned(rows, MOST_POINTS)
            if (cost := row.n_parameters if front.cost == "parameters" else row.seconds) is not None
        ]
        drawn = scatter(
            points,
            title=f"{table.metric} against {front.cost}, with the front of those that none beats in both",
            x_title=front.cost,
            y_title=table.metric,
            line=[(point.cost, point.value) for point in front.front],
            maximize=table.maximize,
        )
        names = ", ".join(f"run {point.run}" for point in front.front[-6:])
        parts.append(
            f'<figure><h3>Against {front.cost}</h3><div class="plot">{drawn.svg}</div><p class="note">{drawn.note} '
            f"On the front: {names}{' and cheaper ones' if len(front.front) > 6 else ''}.</p></figure>"
        )
    history = _history(analysis)
    if not parts and not history:
        return ""
    return (
        "<p>Configurations on the line are the best for their cost: none is both better and cheaper.</p>"
        f'<div class="pair">{"".join(parts)}{history}</div>'
    )


def _history(analysis: Analysis) -> str:
    table = analysis.table
    known = [trial for trial in table.trials if trial.value is not None]
    if len(known) < 3:
        return ""
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
    drawn = scatter(
        points,
        title=f"{table.metric} of the runs in their order, and the best so far",
        x_title="run",
        y_title=table.metric,
        line=[(float(place), value) for place, value in steps],
        maximize=table.maximize,
        whole_x=True,
    )
    since = known[-1].number - best
    return (
        f'<figure><h3>In order of runs</h3><div class="plot">{drawn.svg}</div><p class="note">{drawn.note} The line is '
        f"the best so far; {since:,} runs came after the best one.</p></figure>"
    )


def _certainty(analysis: Analysis) -> str:
    rows = [row for row in analysis.rows if row.rank is not None]
    if not rows:
        return ""
    told = [row for row in rows if row.is_indistinguishable is not None]
    same = [row for row in told if row.is_indistinguishable]
    items = []
    if told:
        items.append(
            (
                "Statistically indistinguishable from the best",
                f"{len(same)} of {len(told)}",
                f"paired t tests over {'validation ' if analysis.table.kind == 'training' else ''}"
                f"{_UNITS.get(rows[0].standard_error_by, 'units')}, 95 % for all together",
            )
        )
    seeds = analysis.seeds
    if seeds.deviation is not None:
        items.append(
            (
                "Deviation between seeds",
                number(seeds.deviation),
                f"{seeds.n_configurations} configurations, {seeds.n_trials} runs",
            )
        )
    if seeds.between is not None:
        items.append(("Deviation between configurations", number(seeds.between), ""))
    if seeds.gap is not None:
        items.append(("Best ahead of the second", number(seeds.gap), ""))
    check = analysis.over_tuning
    if check is not None:
        error = f"± {number(check.error)} (se), " if check.error is not None else ""
        items.append(
            (
                "Test less validation",
                f"{check.gap:+.4f}" if not analysis.table.maximize else f"{-check.gap:+.4f}",
                f"{error}run {check.run}",
            )
        )
    text = "" if seeds.deviation is not None else "<p>No configuration was trained with several seeds.</p>"
    if analysis.table.kind == "sampler":
        text = ""
    return f"{text}{figures(items)}" if items or text else ""


_UNITS = {"blocks": "blocks of targets", "sequences": "sequences", "groups": "sequences", "prompts": "prompts"}


def _budget(analysis: Analysis) -> str:
    budget = analysis.overview.budget
    if not budget.total:
        return ""
    parts = [(name, getattr(budget, name)) for name in ("useful", "pruned", "retried", "wasted", "open")]
    meaning = {
        "useful": "runs trained to their end",
        "pruned": "runs that were cut",
        "retried": "attempts begun again",
        "wasted": "runs without a result",
        "open": "runs that are not over",
    }
    legend = "".join(
        f'<li><span class="swatch b-{name}"></span>{name}: {seconds_text(value)} '
        f"({_share_text(value, budget.total)}), {meaning[name]}</li>"
        for name, value in parts
        if value
    )
    saved = ""
    if budget.epochs_saved:
        saved = (
            f"<p>Pruning trained {budget.epochs_trained:,} of {budget.epochs_planned:,} epochs and spared "
            f"{budget.epochs_saved:,}.</p>"
        )
    wall = analysis.overview.wall_seconds
    all_over = f" over {seconds_text(wall)} from the first run to the last, pauses included" if wall else ""
    return (
        f"<p>{seconds_text(budget.total)} of work{all_over}.</p>{stacked(parts)}<ul class='legend'>{legend}</ul>{saved}"
    )


def _comparison(analysis: Analysis) -> str:
    if analysis.comparison is None:
        return ""
    metric = escape(analysis.table.metric)
    heads = (
        "search",
        f"best {metric}",
        "rank of it",
        "in the best quarter",
        "runs",
        "with a result",
        "shared",
        "time",
        "per result",
    )
    body = "".join(
        f'<tr><th scope="row">{escape(each.name)}</th>'
        + "".join(
            f'<td class="n">{value}</td>'
            for value in (
                number(each.best),
                each.rank or "–",
                each.in_top,
                f"{each.n_trials:,}",
                f"{each.n_complete:,}",
                each.n_shared,
                seconds_text(each.seconds),
                seconds_text(each.seconds_per_trial),
            )
        )
        + "</tr>"
        for each in analysis.comparison.searches
    )
    row = "".join(f'<th scope="col"{"" if place == 0 else " class=n"}>{head}</th>' for place, head in enumerate(heads))
    return (
        "<p>The searches together are one table here; a run that two of them have counts once. Runs are numbered anew."
        f"</p><div class='scroll' tabindex='0' role='region' aria-label='Searches'><table><thead><tr>{row}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _next(next_search: tuple[str, str] | None) -> str:
    if next_search is None:
        return ""
    text, command = next_search
    return (
        "<p>The search narrowed to where the best quarter lies, ready to run. Save it and start it with "
        f"{copied(command, 'the command')}</p><div class='copy-place'><pre class='copy' tabindex='0' "
        f"data-name='the next search'>{escape(text)}</pre></div>"
    )


def _thinned(rows: Sequence[Configuration], most: int) -> list[Configuration]:
    """At most so many rows: the best half of them, and every so many-th of the others."""
    if len(rows) <= most:
        return list(rows)
    first = most // 2
    step = -(-(len(rows) - first) // (most - first))
    return [*rows[:first], *rows[first::step]]


def _share_text(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _key(trial: Trial) -> str:
    return f"r{trial.number}"
