"""The settings of several runs beside each other, as many and as wide as a terminal has room for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from sequifier.results.settings import short_text

MOST_CELLS = 28
"""Width of a column at most."""

_FEW_CELLS = 12
"""A setting is cut to this width before another one is left out."""


@dataclass(frozen=True)
class SettingsColumns:
    """Columns of settings as text.

    Attributes:
        widths: name of a setting -> width of its column in terminal cells; "…" stands for the ones left out.
        gap: cells between two columns.
    """

    widths: Mapping[str, int]
    gap: int

    @property
    def width(self) -> int:
        """The width of all columns together."""
        return sum(self.widths.values()) + self.gap * max(len(self.widths) - 1, 0)

    @property
    def head(self) -> str:
        """The names, with their words below each other."""
        heads = [broken_head(name).split("\n") for name in self.widths]
        height = max(map(len, heads), default=0)
        heads = [[""] * (height - len(words)) + words for words in heads]
        return "\n".join(self._line(words) for words in zip(*heads, strict=True))

    def line(self, values: Mapping[str, Any]) -> str:
        """The values of one run."""
        return self._line([short_text(values[name]) if name in values else "" for name in self.widths])

    def _line(self, cells: Sequence[str]) -> str:
        padded = []
        for text, width in zip(cells, self.widths.values(), strict=True):
            text = cut(text, width)
            padded.append(text + " " * (width - cell_len(text)))
        return (" " * self.gap).join(padded)


def fitting_settings(rows: Sequence[Mapping[str, Any]], room: int, *, gap: int) -> SettingsColumns:
    """Choose the settings of these runs that have room beside each other.

    Settings in which the runs agree are left out first, then long values are cut, then the last settings are left out.

    Args:
        rows: settings by name, of each run.
        room: cells.
        gap: cells between two columns.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [short_text(row[name]) if name in row else "" for row in rows] for name in names}
    widths = {name: column_width(broken_head(name), map(cell_len, cells)) for name, cells in values.items()}
    equal = [name for name, cells in values.items() if len(set(cells)) == 1 < len(cells)]
    dots: dict[str, int] = {}
    while widths and SettingsColumns({**widths, **dots}, gap).width > room:
        widest = max(widths, key=lambda name: widths[name])
        if not equal and widths[widest] > _FEW_CELLS:
            widths[widest] -= 1
        else:
            del widths[equal.pop() if equal else list(widths)[-1]]
            dots = {"…": 1}
    return SettingsColumns({**widths, **dots}, gap)


def column_width(head: str, cells: Iterable[int]) -> int:
    """The width of a column, from its head and the widths of its cells."""
    return min(max([*map(cell_len, head.split("\n")), *cells]), MOST_CELLS)


def broken_head(name: str) -> str:
    """A column's name with its words below each other: values are narrower than names."""
    return name.replace("_", "\n")


def cut(text: str, width: int) -> str:
    """A text that takes at most this many cells, with an ellipsis where it is longer."""
    shown = Text(text)
    shown.truncate(width, overflow="ellipsis")
    return shown.plain if width > 0 else ""
