"""The area of a search that is redrawn on a terminal: running runs, the best runs so far, and the search's progress."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sequifier.cli.output import duration
from sequifier.cli.search_status import BestRuns, RunningRun, SearchStatus
from sequifier.percent import counted, loss_text
from sequifier.results.settings_columns import SettingsColumns, broken_head, column_width, fitting_settings

_GAP = 2
"""Cells between two columns."""

_OTHER_LINES = 12
"""Lines of the area besides the runs, with a free one for the shell's prompt."""


@dataclass(frozen=True)
class _Row:
    """A run: what is left of its number, the number, its settings, and what is right of them."""

    place: str
    number: int
    changed: Mapping[str, Any]
    cells: Sequence[Text | ProgressBar]


@dataclass(frozen=True)
class _Section:
    """A table of runs. Its settings have the same widths as those of the other section."""

    place: str
    heads: Sequence[str]
    rows: Sequence[_Row]

    def width(self) -> int:
        """The width without places, numbers and settings."""
        return sum(width + _GAP for width in self.widths())

    def widths(self) -> list[int]:
        """The widths of the columns right of the settings."""
        return [
            column_width(head, (_cells(row.cells[place]) for row in self.rows)) for place, head in enumerate(self.heads)
        ]


def drawn(status: SearchStatus, *, width: int, height: int) -> RenderableType:
    """Draw a search.

    Args:
        status: of the search.
        width: of the terminal.
        height: of the terminal; where it has fewer lines than the search has slots, the other runs are counted.
    """
    best = BestRuns("", "") if status.best is None else status.best
    running = sorted(status.running.copy().values(), key=lambda run: run.slot)
    n_shown = max(height - len(best.top) - _OTHER_LINES, 1)
    n_hidden = max(len(running) - n_shown, 0)
    of_runs, of_best = _running(running[:n_shown], status.n_slots, width, best.metric), _best(best)
    rows = [*of_runs.rows, *of_best.rows]
    marks = (len("rank"), column_width("run", (len(str(row.number)) for row in rows)))
    taken = sum(marks) + 2 * _GAP + max(section.width() for section in (of_runs, of_best))
    settings = fitting_settings([row.changed for row in rows], width - taken - _GAP, gap=_GAP)
    parts: list[RenderableType] = []
    if of_runs.rows:
        parts += [Text(), _table(of_runs, marks, settings)]
    if n_hidden:
        parts.append(Text(f"... and {counted(n_hidden, 'more run')}"))
    if of_best.rows:
        parts += [Text(), _line(f"best so far by {best.description}"), _table(of_best, marks, settings)]
    return Group(*parts, Text(), _line(status.progress()))


def _running(running: Sequence[RunningRun], n_slots: int, width: int, metric: str) -> _Section:
    bar = 24 if width >= 140 else 12 if width >= 80 else 0
    now = time.monotonic()
    rows = []
    for run in running:
        left = run.seconds_left(now)
        texts = [
            f"{run.epoch or '-'}/{run.last_epoch}",
            (run.stage or (f"{run.step}/{run.steps}" if run.steps else "training")).rjust(10),  # columns do not move
            "" if run.loss is None else loss_text(run.loss),
            "" if run.value is None else loss_text(run.value),
            ("" if left is None else duration(left)).rjust(6),
        ]
        bars = [ProgressBar(total=1.0, completed=run.completed, width=bar)] if bar else []
        rows.append(_Row(str(run.slot) if n_slots > 1 else "", run.number, run.changed, [*bars, *map(Text, texts)]))
    heads = ["epoch", "step", "train\nloss", broken_head(metric), "time\nleft"]
    return _Section("slot" if n_slots > 1 else "", [*([""] if bar else []), *heads], rows)


def _best(best: BestRuns) -> _Section:
    rows = [
        _Row(
            str(rank),
            run.number,
            run.changed,
            [
                Text(loss_text(run.value)),
                Text("" if run.epoch is None else str(run.epoch)),
                Text(f"{run.seconds:.1f}"),
                Text(run.remark),
            ],
        )
        for rank, run in enumerate(best.top, start=1)
    ]
    return _Section("rank", [broken_head(best.metric), "epoch", "seconds", ""], rows)


def _table(section: _Section, marks: tuple[int, int], settings: SettingsColumns) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for head, width in zip((section.place, "run"), marks, strict=True):
        table.add_column(head, width=width, justify="right", no_wrap=True, vertical="bottom")
    table.add_column(Text(settings.head), width=max(settings.width, 1), no_wrap=True, vertical="bottom")
    for head, width in zip(section.heads, section.widths(), strict=True):
        justify: JustifyMethod = "right" if head else "left"
        table.add_column(head, width=width, justify=justify, no_wrap=True, overflow="ellipsis", vertical="bottom")
    for row in section.rows:
        # As `Text`, because `[kind]` is no markup.
        table.add_row(*map(Text, [row.place, str(row.number), settings.line(row.changed)]), *row.cells)
    return table


def _cells(content: Text | ProgressBar) -> int:
    return content.cell_len if isinstance(content, Text) else content.width or 0


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
