"""The tables of the report, some with small drawings in their cells."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from sequifier.report.analysis import Analysis, InGroup
from sequifier.report.groups import BestRange, Group, is_logarithmic, text_of, top_count
from sequifier.report.numbers import number
from sequifier.report.page.charts import bar, columns, span
from sequifier.report.page.frame import copied
from sequifier.report.recommend import CLEARLY
from sequifier.results.ranking import Configuration, verdict
from sequifier.results.trials import is_number, own_number, run_label

MOST_ROWS = 1000
"""Rows of the table; more are in results.csv, and a browser is slow with them."""


def runs_table(analysis: Analysis) -> str:
    """The ranked table: every configuration with what was set, what came of it, and how to make it again."""
    table = analysis.table
    parameters = table.parameters
    linked = {
        name: f" title='changes together with {escape(', '.join(others))}'" for name, others in table.linked.items()
    }
    several = analysis.comparison is not None
    heads = [
        ('<th scope="col" class="n" aria-sort="ascending">rank</th>'),
        ('<th scope="col" class="n">run</th>'),
        *(['<th scope="col">search</th>'] if several else []),
        f'<th scope="col" class="n">{escape(table.metric)}</th>',
        '<th scope="col" class="n">± se</th>',
        *(f'<th scope="col"{linked.get(name, "")}>{escape(name)}</th>' for name in parameters),
        '<th scope="col" class="n">parameters</th>' if table.kind == "training" else "",
        '<th scope="col" class="n">seconds</th>',
        '<th scope="col">state</th>',
        '<th scope="col" data-fixed>again</th>',
    ]
    n_ranked = sum(row.rank is not None for row in analysis.rows)
    body = "".join(_run_row(row, analysis, several) for row in analysis.rows[:MOST_ROWS])
    left = len(analysis.rows) - MOST_ROWS
    more = f" The best {MOST_ROWS:,} of {len(analysis.rows):,} are shown; results.csv has all." if left > 0 else ""
    names = "".join(
        f"<li><b>{escape(name)}</b> stands also for {escape(', '.join(others))}, which always change with it.</li>"
        for name, others in table.linked.items()
    )
    baseline = table.best_baseline
    beat = f" To beat: {escape(baseline[0].removeprefix('baseline: '))}, {number(baseline[1])}." if baseline else ""
    return (
        f"<p>{n_ranked:,} configurations with a result, the best first.{beat}{more}</p>"
        "<div class='scroll tall' tabindex='0' role='region' aria-label='Runs'><table class='sortable'>"
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{body}</tbody></table></div>"
        + "".join(f"<p class='note'>{escape(line)}</p>" for line in verdict(analysis.rows))
        + (f"<ul class='note'>{names}</ul>" if names else "")
    )


def _run_row(row: Configuration, analysis: Analysis, several: bool) -> str:
    table, first = analysis.table, row.first
    kind = " class='best'" if row.rank == 1 else "" if row.rank is not None else " class='dim'"
    tags = [f'<span class="tag{" bad" if first.has_failed else ""}">{escape(row.state)}</span>']
    if row.is_indistinguishable:
        tags.append(
            '<span class="tag same" title="statistically indistinguishable from the best">indistinguishable</span>'
        )
    if row.n_seeds > 1:
        tags.append(f'<span class="tag">{row.n_seeds} seeds</span>')
    cells = [
        _cell(row.rank, "n"),
        _cell(first.number, "n", own_number(first)),
        *([f"<td>{escape(first.search)}</td>"] if several else []),
        _cell(row.value, "n", number(row.value)),
        _cell(row.standard_error, "n", _error(row)),
        *(_setting(row, name) for name in table.parameters),
        _cell(row.n_parameters, "n", "" if row.n_parameters is None else f"{row.n_parameters:,}")
        if table.kind == "training"
        else "",
        _cell(row.seconds, "n", "" if row.seconds is None else f"{row.seconds:,.1f}"),
        f'<td data-v="{escape(row.state)}"{_why(first.error)}>{"".join(tags)}</td>',
        f"<td>{copied(first.command, f'the command for {run_label(table, first)}') if first.command else ''}</td>",
    ]
    return f'<tr data-key="r{first.number}"{kind}>{"".join(cells)}</tr>'


def _error(row: Configuration) -> str:
    if row.standard_error is None:
        return "-" if row.rank is not None else ""
    return number(row.standard_error)


def _why(error: str) -> str:
    return f' title="{escape(error[:300])}"' if error else ""


def _cell(value: object, kind: str, text: str | None = None) -> str:
    sorts = "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
    return f'<td class="{kind}" data-v="{escape(sorts)}">{escape(sorts if text is None else text)}</td>'


def _setting(row: Configuration, name: str) -> str:
    if name not in row.parameters:
        return '<td data-v=""></td>'
    value = row.parameters[name]
    sorts = f"{value:.10g}" if isinstance(value, float) else text_of(value)
    return f'<td data-v="{escape(sorts)}" title="{escape(str(value))}">{escape(text_of(value))}</td>'


def importance_table(analysis: Analysis, group: InGroup | None = None) -> str:
    """A bar with its interval for each parameter, and the two other measures beside it."""
    found = group.importances if group else analysis.importances
    widest = max((each.high for each in found.parameters), default=1.0) or 1.0
    has_fanova = any(each.fanova is not None for each in found.parameters)
    body = "".join(
        f'<tr><th scope="row">{escape(each.parameter)}{_linked(each.linked)}</th>'
        f'<td class="draw">{bar(each.share / widest, each.low / widest, each.high / widest)}</td>'
        f'<td class="n">{100 * each.share:.0f} %</td><td class="n">{100 * each.low:.0f} to {100 * each.high:.0f} %</td>'
        f'<td class="n">{number(each.group_deviation)}</td>'
        + (f'<td class="n">{_fanova(each.fanova, each.fanova_low, each.fanova_high)}</td>' if has_fanova else "")
        + "</tr>"
        for each in found.parameters
    )
    last = '<th scope="col" class="n">fANOVA</th>' if has_fanova else ""
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='Importance'><table class='mid'><thead><tr>"
        "<th scope='col'>setting</th><th scope='col'>importance</th><th scope='col' class='n'>share</th>"
        "<th scope='col' class='n'>95 % interval</th><th scope='col' class='n' title='standard deviation of the mean "
        f"results of its values, in the unit of the metric'>group means differ by</th>{last}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _fanova(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "–"
    return f"{100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _linked(names: Sequence[str]) -> str:
    return f"<small>with {escape(', '.join(names))}</small>" if names else ""


def ranges_table(analysis: Analysis) -> str:
    """Where the best quarter lies in each parameter."""
    n = sum(row.rank is not None for row in analysis.rows)
    if n < 2 or not analysis.ranges:
        return ""
    content = (
        f"<p>Where the best quarter lies: {top_count(n):,} of {n:,} configurations. Filled is the best quarter, thin "
        "lines are what was tried, the upright mark is the best.</p>"
    ) + _ranges(analysis.ranges)
    for group in analysis.in_groups:
        if group.ranges:
            content += f"<h3>Within {escape(group.name)}</h3>{_ranges(group.ranges)}"
    return content


def _ranges(ranges: Sequence[BestRange]) -> str:
    body = "".join(_range_row(each) for each in ranges)
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='Best ranges'><table class='mid'><thead><tr>"
        "<th scope='col'>setting</th><th scope='col'>where the best quarter lies</th><th scope='col'>best quarter</th>"
        "<th scope='col'>tried</th><th scope='col'>best</th><th scope='col'>note</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _range_row(each: BestRange) -> str:
    head = f'<tr><th scope="row">{escape(each.parameter)}{_linked(each.linked)}</th>'
    best = escape(text_of(each.best)) if each.best is not None or not each.is_numeric else "–"
    if each.shares:
        good = ", ".join(f"{name}: {100 * top:.0f}\u00a0%" for name, (top, _) in each.shares.items() if top)
        every = ", ".join(f"{name}: {100 * whole:.0f}\u00a0%" for name, (_, whole) in each.shares.items())
        draw = columns(list(each.shares.values())) if each.n_top else ""
        return (
            f'{head}<td class="draw">{draw}</td><td class="wide">{escape(good) or "–"}</td>'
            f'<td class="wide">{escape(every)}</td><td>{best}</td><td class="note">{_end(each)}</td></tr>'
        )
    if each.low is None or each.high is None or each.tried_low is None or each.tried_high is None:
        tried = f"{text_of(each.tried_low)} to {text_of(each.tried_high)}"
        none = "none of the best quarter has it"
        return f"{head}<td></td><td>–</td><td>{tried}</td><td>{best}</td><td class='note'>{none}</td></tr>"
    low, high = each.tried_low, each.tried_high
    is_log = is_logarithmic(low, high) or (low > 0 and high / low >= 10)

    def share(value: float) -> float:
        if low == high:
            return 0.5
        if is_log:
            return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
        return (value - low) / (high - low)

    mark = share(each.best) if is_number(each.best) else None
    return (
        f'{head}<td class="draw">{span(share(each.low), share(each.high), mark)}</td>'
        f"<td>{text_of(each.low)} to {text_of(each.high)}</td><td>{text_of(low)} to {text_of(high)}"
        f"{' (log)' if is_log else ''}</td><td>{best}</td><td class='note'>{_end(each)}</td></tr>"
    )


def _end(each: BestRange) -> str:
    end = "below" if each.at_low else "above" if each.at_high else ""
    return f"at the end: try {end}" if end else ""


def groups_table(analysis: Analysis) -> str:
    """The groups, and under them the results by the values of each parameter."""
    groups = analysis.groups
    labels = {trial.number: run_label(analysis.table, trial) for trial in analysis.table.trials}
    content = ""
    if groups.groups:
        reference = f" Differences are to {escape(groups.reference)}." if groups.reference else ""
        paired = any(group.n_pairs for group in groups.groups)
        if groups.reference and not paired:
            reference = f" No two runs differ in the {groups.name} alone, so there is no paired difference."
        content = (
            f"<p>Results by {groups.name}: lines from best to worst, the bar one deviation around the mean, the mark "
            f"the median.{reference}</p>{_groups(groups.groups, groups.name, labels, paired=paired)}"
        )
    values = "".join(
        f"<h3>{escape(name)}</h3>{_groups(found, 'value', labels, paired=False)}"
        for name, found in analysis.values.items()
        if 1 < len(found) <= 40
    )
    if values:
        state = "" if content else " open"
        content += f"<details{state}><summary>Results by the values of each setting</summary>{values}</details>"
    return content


def _groups(groups: Sequence[Group], name: str, labels: Mapping[int, str], *, paired: bool) -> str:
    known = [value for group in groups for value in (group.minimum, group.maximum) if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)

    def share(value: float) -> float:
        return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5

    rows = []
    for group in groups:
        draw = ""
        if group.mean is not None and group.minimum is not None and group.maximum is not None:
            wide = group.deviation or 0.0
            draw = span(
                share(group.mean - wide),
                share(group.mean + wide),
                share(group.median or group.mean),
                outer=(share(group.minimum), share(group.maximum)),
            )
        pairs = ""
        if paired:
            error = f" ± {number(group.paired_error)}" if group.paired_error is not None else ""
            pairs = (
                f"{group.paired_difference:+.4f}{error} ({group.n_pairs} pairs)"
                if group.paired_difference is not None
                else "–"
            )
            pairs = f'<td class="n">{pairs}</td>'
        best = number(group.best) if group.best is not None else "–"
        best += f" ({labels[group.best_run]})" if group.best_run is not None else ""
        rows.append(
            f'<tr><th scope="row">{escape(group.name)}</th><td class="draw">{draw}</td><td class="n">{best}</td>'
            f'<td class="n">{number(group.median)}</td><td class="n">{number(group.mean)}</td>'
            f'<td class="n">{number(group.deviation)}</td><td class="n">{group.count:,} of {group.n_all:,}</td>'
            f"{pairs}</tr>"
        )
    last = '<th scope="col" class="n">paired difference</th>' if paired else ""
    return (
        f"<div class='scroll' tabindex='0' role='region' aria-label='Results by {escape(name)}'>"
        "<table class='mid'><thead><tr>"
        f"<th scope='col'>{escape(name)}</th><th scope='col'>results</th><th scope='col' class='n'>best</th>"
        "<th scope='col' class='n'>median</th><th scope='col' class='n'>mean</th>"
        "<th scope='col' class='n'>deviation</th>"
        f"<th scope='col' class='n'>complete</th>{last}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def interaction_part(analysis: Analysis) -> str:
    """The strongest pairs, and a map of the first one."""
    found = analysis.interactions[:6]
    if not found:
        return ""
    body = "".join(
        f'<tr><th scope="row">{escape(" and ".join(each.parameters))}</th><td class="n">{100 * each.added:.0f} %</td>'
        f'<td class="n">{100 * each.together:.0f} %</td><td class="n">{100 * each.share:.0f} %</td>'
        f'<td class="n">{each.p_value:.3f}</td></tr>'
        for each in found
    )
    first = found[0]
    count = len(analysis.interactions)
    chance = (
        ""
        if first.p_value * count <= 2 * CLEARLY
        else f" Of {count} pairs the first is no more than chance gives now and then."
        if count > 1
        else " It is no more than chance gives now and then."
    )
    return (
        "<p>How much more of the order two settings explain together than their effects added up, and how often chance "
        f"does as much.{chance}</p><div class='scroll' tabindex='0' role='region' aria-label='Interactions'><table>"
        "<thead><tr><th scope='col'>settings</th><th scope='col' class='n'>added up</th>"
        "<th scope='col' class='n'>together</th>"
        "<th scope='col' class='n'>interaction</th><th scope='col' class='n'>p</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>{_map(analysis)}"
    )


def _map(analysis: Analysis) -> str:
    each = analysis.interactions[0]
    downwards = sorted({one for one, _, _, _ in each.cells}, key=_order)
    across = sorted({other for _, other, _, _ in each.cells}, key=_order)
    means = {(one, other): (mean, count) for one, other, mean, count in each.cells}
    values = sorted(mean for mean, _ in means.values())
    best, worst = (values[-1], values[0]) if analysis.table.maximize else (values[0], values[-1])

    def cell(one: str, other: str) -> str:
        if (one, other) not in means:
            return "<td></td>"
        mean, count = means[one, other]
        # By rank among the cells: one that exploded leaves the others their shades.
        heat = 1 - values.index(mean) / max(1, len(values) - 1)
        heat = 1 - heat if analysis.table.maximize else heat
        return f'<td class="heat" style="--heat:{65 * heat:.0f}%" title="{count} runs">{number(mean)}</td>'

    heads = "".join(f'<th scope="col" style="text-align:center">{escape(other)}</th>' for other in across)
    rows = "".join(
        f'<tr><th scope="row">{escape(one)}</th>{"".join(cell(one, other) for other in across)}</tr>'
        for one in downwards
    )
    one, other = map(escape, each.parameters)
    return (
        f"<p class='note'>Mean {escape(analysis.table.metric)}: {one} downwards, {other} across; darker is better, "
        f"from {number(best)} to {number(worst)}.</p><div class='scroll' tabindex='0' role='region' aria-label='Map of "
        f"an interaction'><table style='width:auto'><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody>"
        "</table></div>"
    )


def _order(level: str) -> tuple[int, float, str]:
    """Levels in the order of their first number, words behind."""
    try:
        return 0, float(level.partition(" to ")[0]), level
    except ValueError:
        return 1, 0.0, level
