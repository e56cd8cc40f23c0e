"""The ranked table on a terminal: the same after a search, in its analysis, and while it runs."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from sequifier.percent import percent
from sequifier.results.ranking import Baseline, Configuration, with_baselines
from sequifier.results.settings import short_text
from sequifier.results.trials import Table, own_number

MOST_ROWS = 30
"""Rows on a terminal; results.csv has them all."""

WIDTH = 1000
"""Of a table at most: a terminal that is narrower wraps the line, which reads better than cut numbers."""


def ranked_table(
    table: Table,
    rows: Sequence[Configuration],
    *,
    most: int = MOST_ROWS,
    most_names: int | None = None,
    width: int = 0,
) -> RenderableType:
    """The best configurations, with the baselines in their places.

    Args:
        table: of the trials.
        rows: ranked.
        most: rows shown.
        most_names: settings shown; None: all in which the rows shown differ.
        width: of the terminal; names of columns remain in one piece where the table then fits.
    """
    every = with_baselines(rows, table)
    if not every:
        return Text("no run has a result yet", style="dim")
    seen = [row for row in every[:most] if isinstance(row, Configuration)]
    keys = dict.fromkeys(name for row in seen for name in row.varied)
    names = [name for name in keys if len({short_text(row.varied.get(name, "")) for row in seen}) > 1][:most_names]
    several = table.has_several_searches
    is_training = table.kind == "training"
    grid = Grid(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for head in ("rank", "run", *(["search"] if several else []), *names):
        grid.add_column(head, no_wrap=True, vertical="bottom")
    for head in (table.metric, "± se", *(("skill", "parameters") if is_training else ()), "seconds"):
        grid.add_column(head, justify="right", no_wrap=True, vertical="bottom")
    grid.add_column("", no_wrap=True)
    for row in every[:most]:
        is_baseline = isinstance(row, Baseline)
        of_run = (
            ["", "-", *([""] if several else []), *("" for _ in names)]
            if isinstance(row, Baseline)
            else [
                "" if row.rank is None else str(row.rank),
                own_number(row.first),
                *([row.first.search] if several else []),
                *(short_text(row.varied[name]) if name in row.varied else "" for name in names),
            ]
        )
        of_model = (
            ("", "")
            if isinstance(row, Baseline)
            else (
                "" if row.skill is None else percent(row.skill, signed=True),
                "" if row.n_parameters is None else f"{row.n_parameters:,}",
            )
        )
        grid.add_row(
            *map(Text, of_run),  # `[kind]` is no markup
            _number(row.value, 4),
            "-" if row.standard_error is None and row.value is not None else _number(row.standard_error, 4),
            *(of_model if is_training else ()),
            "" if isinstance(row, Baseline) else _number(row.seconds, 1),
            Text(" " + (row.name if isinstance(row, Baseline) else ", ".join(_remarks(row)))),
            style="dim" if is_baseline else "bold" if row.rank == 1 else "",
        )
    console = Console(width=WIDTH)
    if Measurement.get(console, console.options, grid).maximum > width:
        for column in grid.columns:
            column.header = broken_head(str(column.header))
    if len(every) > most:
        where = "" if several else " in results.csv"
        return Group(grid, Text(f"... {len(every) - most:,} more rows{where}"))
    return grid


def fitting_table(console: Console, table: Table, rows: Sequence[Configuration]) -> RenderableType:
    """The best configurations with as many of the settings in which they differ as the terminal has room for."""
    most, n_names = max(3, console.height - 6), len(table.varied)
    while n_names:
        drawn = ranked_table(table, rows, most=most, most_names=n_names, width=console.width)
        if Measurement.get(console, console.options.update(max_width=WIDTH), drawn).maximum <= console.width:
            return drawn
        n_names -= 1
    return ranked_table(table, rows, most=most, most_names=0, width=console.width)


def _remarks(row: Configuration) -> list[str]:
    remarks = [] if row.state == "finished" else [row.state]
    if row.n_seeds > 1:
        remarks.append(f"{row.n_seeds} seeds")
    if row.model_again:
        remarks.append("model not kept")
    if "changed" in row.batches:
        remarks.append("batch changed")
    if "in pieces" in row.batches:
        remarks.append("other dropout masks")
    if row.is_indistinguishable:
        remarks.append("indistinguishable")
    return remarks


def broken_head(name: str) -> str:
    """A column's name with its words below each other: values are narrower than names."""
    return name.replace("_", "\n")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
