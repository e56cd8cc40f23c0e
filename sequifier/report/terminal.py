"""The report in a terminal: the summary of an analysis, and the ranked table alone."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from sequifier.percent import loss_text, percent
from sequifier.report.analysis import Analysis
from sequifier.report.importance import Importances
from sequifier.report.numbers import number, seconds_text
from sequifier.results.metrics_table import metrics_table
from sequifier.results.ranking import Configuration, verdict
from sequifier.results.settings import text_of
from sequifier.results.terminal_table import WIDTH, ranked_table
from sequifier.results.trials import Table, run_label

SHOWN_ROWS = 15
SHOWN_PARAMETERS = 10
BAR = 16


def print_summary(console: Console, analysis: Analysis, *, all_metrics: bool = False) -> None:
    """Print the summary: counts, the ranked table, importance, ranges, and the findings.

    Args:
        console: prints it.
        analysis: of the searches.
        all_metrics: print every metric of the best configurations too.
    """
    width, console.width = console.width, WIDTH
    every_metric = None
    if all_metrics:
        every_metric = metrics_table(analysis.table, analysis.rows, width=width if console.is_terminal else None)
    console.print(_head(analysis))
    for part in (
        ranked_table(analysis.table, analysis.rows, most=SHOWN_ROWS, width=width, fits=console.is_terminal),
        _verdict(analysis),
        every_metric,
        _importance(analysis),
        _ranges(analysis),
        _groups(analysis),
        _comparison(analysis),
        _budget(analysis),
    ):
        if part is not None:
            console.print()
            console.print(part)
    console.print()
    if analysis.table.difference is not None:
        console.print(Text(f"warning: {analysis.table.difference}", style="yellow"))
    for each in analysis.recommendations:
        console.print(Text("• " + each.text))


def _verdict(analysis: Analysis) -> RenderableType | None:
    lines = verdict(analysis.table, analysis.rows)
    return Text("\n".join(lines), style="dim") if lines else None


def status_line(table: Table, rows: Sequence[Configuration]) -> str:
    """Return the state of a search in one line."""
    counts: dict[str, int] = {}
    for trial in table.trials:
        counts[trial.state] = counts.get(trial.state, 0) + 1
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items(), key=lambda item: -item[1]))
    best = next((row for row in rows if row.rank == 1), None)
    reached = "" if best is None else f"; best {table.metric} {number(best.value)} ({run_label(table, best.first)})"
    return f"{table.name}: {states}{reached}{'' if table.is_running else '; not running'}"


def _head(analysis: Analysis) -> RenderableType:
    table, found = analysis.table, analysis.overview
    lines = [Text(status_line(table, analysis.rows), style="bold")]
    line = f"{found.n_configurations:,} configurations, "
    line += f"{found.n_complete:,} {'completed runs' if table.kind == 'training' else 'with a score'}"
    if found.skill is not None and found.baseline is not None:
        better = "better" if found.skill >= 0 else "worse"
        line += f"; {percent(found.skill)} {better} than the best baseline ({number(found.baseline)})"
    return Group(*lines, Text(line))


def _importance(analysis: Analysis) -> RenderableType | None:
    parts: list[RenderableType] = []
    whole = _importance_grid(analysis.importances, "importance")
    if whole is not None:
        parts.append(whole)
    for group in analysis.in_groups:
        own = _importance_grid(group.importances, f"within {group.name}")
        if own is not None:
            parts += [Text(""), own]
    if not parts and analysis.importances.missing:
        return Text(f"importance: {analysis.importances.missing}", style="dim")
    if not parts:
        return None
    explained = "deviation of group means: how far the mean results of a setting's values differ (standard deviation)"
    return Group(*parts, Text(explained, style="dim"))


def _importance_grid(found: Importances, title: str) -> Grid | None:
    if not found.parameters:
        return None
    has_fanova = any(each.fanova is not None for each in found.parameters)
    grid = _grid(title, "")
    for head in ("fraction", "95 % interval", "deviation of group means", *(["fANOVA"] if has_fanova else [])):
        grid.add_column(head, justify="right", no_wrap=True)
    widest = max(each.share for each in found.parameters) or 1.0
    for each in found.parameters[:SHOWN_PARAMETERS]:
        bar = "█" * round(BAR * each.share / widest) or "▏"
        fanova = [] if not has_fanova else ["" if each.fanova is None else f"{100 * each.fanova:.0f} %"]
        grid.add_row(
            Text(each.parameter),
            Text(bar, style="blue"),
            f"{100 * each.share:.0f} %",
            f"{100 * each.low:.0f} to {100 * each.high:.0f} %",
            number(each.group_deviation),
            *fanova,
        )
    return grid


def _ranges(analysis: Analysis) -> RenderableType | None:
    if sum(row.rank is not None for row in analysis.rows) < 2:
        return None
    parts: list[RenderableType] = []
    groups = [(f"best quarter of {group.name}", group.ranges) for group in analysis.in_groups]
    for title, ranges in groups or [("best quarter", analysis.ranges)]:
        grid = _grid(title, "values", "all", "best run")
        for each in ranges[: 2 * SHOWN_PARAMETERS]:
            if each.shares:
                where = ", ".join(f"{name}: {100 * top:.0f} %" for name, (top, _) in each.shares.items() if top) or "-"
                tried = ", ".join(f"{name}: {100 * every:.0f} %" for name, (_, every) in each.shares.items())
            else:
                where = f"{text_of(each.low)} to {text_of(each.high)}" if each.low is not None else "-"
                tried = f"{text_of(each.tried_low)} to {text_of(each.tried_high)}"
            end = " (lowest tried: try below)" if each.at_low else " (highest tried: try above)" if each.at_high else ""
            grid.add_row(
                Text(each.parameter), Text(where + end), Text(tried), Text(text_of(each.best) if each.n_top else "-")
            )
        if grid.rows:
            parts += [Text(""), grid] if parts else [grid]
    return Group(*parts) if parts else None


def _groups(analysis: Analysis) -> RenderableType | None:
    groups = analysis.groups
    if not groups.groups:
        return None
    grid = _grid(groups.name)
    for head in ("best", "median", "mean", "deviation", "range", "complete", "paired difference"):
        grid.add_column(head, justify="right", no_wrap=True)
    for group in groups.groups:
        paired = loss_text(group.paired_difference, sign="+") if group.paired_difference is not None else ""
        paired += f" ± {number(group.paired_error)}" if group.paired_error is not None else ""
        grid.add_row(
            Text(group.name),
            number(group.best),
            number(group.median),
            number(group.mean),
            number(group.deviation),
            f"{number(group.minimum)} to {number(group.maximum)}",
            f"{group.count} of {group.n_all}",
            paired,
        )
    return grid


def _comparison(analysis: Analysis) -> RenderableType | None:
    if analysis.comparison is None:
        return None
    grid = _grid("search")
    for head in ("best", "rank", "in the best quarter", "runs", "shared", "time"):
        grid.add_column(head, justify="right", no_wrap=True)
    for each in analysis.comparison.searches:
        grid.add_row(
            Text(each.name),
            number(each.best),
            "-" if each.rank is None else str(each.rank),
            str(each.in_top),
            str(each.n_trials),
            str(each.n_shared),
            seconds_text(each.seconds),
        )
    return grid


def _budget(analysis: Analysis) -> RenderableType | None:
    budget = analysis.overview.budget
    if not budget.total:
        return None
    parts = [
        f"{seconds_text(value)} in {what}"
        for name, what in (
            ("useful", "completed runs"),
            ("pruned", "pruned runs"),
            ("retried", "attempts that were started again"),
            ("wasted", "runs without a result"),
            ("open", "unfinished runs"),
        )
        if (value := getattr(budget, name))
    ]
    of_training = "training time" if analysis.table.kind == "training" else "time"
    return Text(f"{of_training}: {seconds_text(budget.total)} ({', '.join(parts)})")


def _grid(*heads: str) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for head in heads:
        text = head if " " in head else head.replace("_", "\n")  # names of settings are long, titles are not many
        grid.add_column(text, no_wrap=True, vertical="bottom")
    return grid
