"""All metrics of the best configurations beside each other: a line for each metric, a column for each configuration."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table as Grid
from rich.text import Text

from sequifier.results.ranking import Baseline, Configuration, with_baselines
from sequifier.results.terminal_table import MOST_ROWS
from sequifier.results.trials import Table, own_number

_GAP = 2
"""Cells between two columns."""

_NO_METRICS = ("standard_error",)
"""What is stored beside the metrics."""


def metrics_table(table: Table, rows: Sequence[Configuration], *, width: int | None = None) -> Grid | None:
    """All metrics at the best epoch, the one that ranks first; None without a result.

    Args:
        table: of the trials.
        rows: ranked.
        width: of the terminal: the best configurations and the best baseline that have room there; None shows
            the best 30 configurations and all baselines.
    """
    every = with_baselines([row for row in rows if row.rank is not None][:MOST_ROWS], table)
    configurations = [row for row in every if isinstance(row, Configuration)]
    baselines = [row for row in every if isinstance(row, Baseline)]
    if not configurations:
        return None
    of_rows = [row.metrics for row in configurations] + [row.metrics for row in baselines]
    names = dict.fromkeys([table.metric, *(name for metrics in of_rows for name in metrics)])
    shown = [name for name in names if name not in _NO_METRICS]
    columns = [(_head(row), [_cell(row, name, table) for name in shown]) for row in configurations]
    of_baselines = [(_head(row), [_cell(row, name, table) for name in shown]) for row in baselines]
    if width is not None:
        of_baselines = of_baselines[:1]
        room = width - max(map(len, shown)) - sum(map(_width, of_baselines))
        columns = [column for place, column in enumerate(columns) if sum(map(_width, columns[: place + 1])) <= room]
    grid = Grid(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    grid.add_column("metric", no_wrap=True, vertical="bottom")
    for head, _ in [*columns, *of_baselines]:
        grid.add_column(Text(head), justify="right", no_wrap=True, vertical="bottom")
    for place, name in enumerate(shown):
        cells = [cells[place] for _, cells in [*columns, *of_baselines]]
        grid.add_row(name, *cells, style="bold" if name == table.metric else "")
    return grid


def _head(row: Configuration | Baseline) -> str:
    if isinstance(row, Baseline):
        return "\n".join(row.name.removeprefix("baseline: ").split())
    return f"run {own_number(row.first)}"


def _cell(row: Configuration | Baseline, name: str, table: Table) -> str:
    value = row.value if name == table.metric else row.metrics.get(name)
    if value is None:
        return "-"
    return f"{value:,.0f}" if name.endswith("_n_unknown") else f"{value:#.5g}".removesuffix(".")


def _width(column: tuple[str, Sequence[str]]) -> int:
    head, cells = column
    return _GAP + max(map(cell_len, [*head.split("\n"), *cells]))
