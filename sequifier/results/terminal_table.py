"""The ranked table on a terminal: the same after a search, in its analysis, and while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from sequifier.percent import loss_text, percent
from sequifier.results.ranking import Baseline, Configuration, with_baselines
from sequifier.results.settings import short_text
from sequifier.results.settings_columns import broken_head, cut, fitting_settings
from sequifier.results.trials import Table, own_number

MOST_ROWS = 30
"""Rows on a terminal; results.csv has them all."""

WIDTH = 1000
"""Of a table at most: a pipe has no width."""

_LITTLE_ROOM = 24
"""With less room for settings, columns that matter less are left out."""

_MATTER_LESS = ("parameters", "seconds", "± se")

_Row = Configuration | Baseline


@dataclass(frozen=True)
class _Column:
    """A column: its head, a cell for each row, and whether these are numbers."""

    head: str
    cells: Sequence[str]
    are_numbers: bool = False

    @property
    def width(self) -> int:
        return max(map(cell_len, [*self.head.split("\n"), *self.cells]))


def ranked_table(
    table: Table, rows: Sequence[Configuration], *, most: int = MOST_ROWS, width: int = 0, fits: bool = False
) -> RenderableType:
    """The best configurations, with the baselines in their places.

    Args:
        table: of the trials.
        rows: ranked.
        most: rows shown.
        width: of the terminal; names of columns remain in one piece where the table then fits.
        fits: leave out what has no room in this width.
    """
    every = with_baselines(rows, table)
    if not every:
        return Text("no run has a result yet", style="dim")
    shown = every[:most]
    columns = _whole(table, shown)
    if _width(columns) > width:
        columns = [replace(column, head=broken_head(column.head)) for column in columns]
    if fits and _width(columns) > width:
        columns = _fitting(table, shown, width)
    grid = _grid(columns, shown)
    if len(every) > most:
        where = "" if table.has_several_searches else " in results.csv"
        return Group(grid, Text(f"... {len(every) - most:,} more rows{where}"))
    return grid


def fitting_table(console: Console, table: Table, rows: Sequence[Configuration]) -> RenderableType:
    """As much of the best configurations as the terminal has room for."""
    return ranked_table(table, rows, most=max(3, console.height - 6), width=console.width, fits=True)


def _whole(table: Table, shown: Sequence[_Row]) -> list[_Column]:
    """All columns; remarks and the names of baselines are in the last one."""
    settings = _settings(shown)
    names = dict.fromkeys(name for values in settings for name in values)
    of_settings = [
        _Column(name, [short_text(values[name]) if name in values else "" for values in settings]) for name in names
    ]
    remarks = [" " + (row.name if isinstance(row, Baseline) else ", ".join(_remarks(row))) for row in shown]
    return [*_places(table, shown), *of_settings, *_numbers(table, shown), _Column("", remarks)]


def _fitting(table: Table, shown: Sequence[_Row], width: int) -> list[_Column]:
    """The columns that have room. Baselines have their names where configurations have settings."""
    places = _places(table, shown)
    numbers = [replace(column, head=broken_head(column.head)) for column in _numbers(table, shown)]
    remarks = _Column("", ["" if isinstance(row, Baseline) else " " + ", ".join(_remarks(row)) for row in shown])

    def room() -> int:
        return width - _width([*places, *numbers, remarks]) - 1

    for name in _MATTER_LESS:
        if room() < _LITTLE_ROOM:
            numbers = [column for column in numbers if column.head != name]
    if (lack := _LITTLE_ROOM - room()) > 0:
        remarks = _Column("", [cut(remark, remarks.width - lack) for remark in remarks.cells])
    settings = _settings(shown)
    of_configurations = [values for values, row in zip(settings, shown, strict=True) if isinstance(row, Configuration)]
    fitting = fitting_settings(of_configurations, max(room(), _LITTLE_ROOM), gap=1)
    most = max(room(), fitting.width)
    cells = [
        cut(row.name, most) if isinstance(row, Baseline) else fitting.line(values)
        for values, row in zip(settings, shown, strict=True)
    ]
    return [*places, _Column(fitting.head, cells), *numbers, remarks]


def _places(table: Table, shown: Sequence[_Row]) -> list[_Column]:
    """Rank, run and search."""
    ranks = ["" if isinstance(row, Baseline) or row.rank is None else str(row.rank) for row in shown]
    runs = ["-" if isinstance(row, Baseline) else own_number(row.first) for row in shown]
    columns = [_Column("rank", ranks), _Column("run", runs)]
    if table.has_several_searches:
        columns.append(_Column("search", ["" if isinstance(row, Baseline) else row.first.search for row in shown]))
    return columns


def _settings(shown: Sequence[_Row]) -> list[Mapping[str, object]]:
    """The settings in which the configurations shown differ; none for baselines."""
    varied = [row.varied for row in shown if isinstance(row, Configuration)]
    names = dict.fromkeys(name for values in varied for name in values)
    differ = [name for name in names if len({short_text(values.get(name, "")) for values in varied}) > 1]
    return [
        {} if isinstance(row, Baseline) else {name: row.varied[name] for name in differ if name in row.varied}
        for row in shown
    ]


def _numbers(table: Table, shown: Sequence[_Row]) -> list[_Column]:
    """The metric and its standard error, skill, parameters and seconds."""
    best = next((row.value for row in shown if row.value is not None), None)

    def loss(value: float | None) -> str:
        return "" if value is None else loss_text(value, like=best)

    errors = [
        "-" if row.standard_error is None and row.value is not None else loss(row.standard_error) for row in shown
    ]
    columns = {table.metric: [loss(row.value) for row in shown], "± se": errors}
    configurations = [None if isinstance(row, Baseline) else row for row in shown]
    if table.kind == "training":
        columns["skill"] = [
            "" if row is None or row.skill is None else percent(row.skill, signed=True) for row in configurations
        ]
        columns["parameters"] = [
            "" if row is None or row.n_parameters is None else f"{row.n_parameters:,}" for row in configurations
        ]
    columns["seconds"] = ["" if row is None or row.seconds is None else f"{row.seconds:.1f}" for row in configurations]
    return [_Column(head, cells, are_numbers=True) for head, cells in columns.items()]


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(columns) - 1


def _grid(columns: Sequence[_Column], shown: Sequence[_Row]) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for column in columns:
        grid.add_column(
            Text(column.head), justify="right" if column.are_numbers else "left", no_wrap=True, vertical="bottom"
        )
    for place, row in enumerate(shown):
        style = "dim" if isinstance(row, Baseline) else "bold" if row.rank == 1 else ""
        grid.add_row(*(Text(column.cells[place]) for column in columns), style=style)  # `[kind]` is no markup
    return grid


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
