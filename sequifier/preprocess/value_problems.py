"""The problems of raw values, counted over all parts of a table and reported as one error.

Each kind of problem has its number of rows and its first place in the order of (sequenceId, itemPosition).
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.artifacts.instants import shown_twice
from sequifier.errors import DataError
from sequifier.preprocess.column_counts import event_text, of_values


@dataclass
class _Found:
    """One kind of problem in one column.

    Attributes:
        fix: what to do with the values.
        setting: what to set in the preprocess config instead; empty: nothing helps there.
    """

    fix: str
    setting: str
    count: int = 0
    first: str = ""


@dataclass
class ValueProblems:
    """The problems found so far; messages name the columns as the file does.

    Attributes:
        is_preprocess: whether the user may change the preprocess config; a model has one for ever.
    """

    sequence_column: str = SEQUENCE
    position_column: str = POSITION
    time_zone: str | None = None
    is_preprocess: bool = True
    n_rows: int = 0
    bad_values: dict[tuple[str, str], _Found] = field(default_factory=dict)  # (column, what)
    duplicates: _Found = field(
        default_factory=lambda: _Found(
            "remove the duplicates",
            "set drop_duplicates where they are copies of rows, or repeated_positions: keep where events may have the "
            "same time",
        )
    )

    def add(
        self, column: str, what: str, is_bad: pl.Series, rows: pl.DataFrame, *, fix: str, setting: str = ""
    ) -> None:
        """Count the bad rows of a column; `fix` and `setting` as in `_Found`."""
        found = self.bad_values.setdefault((column, what), _Found(fix, setting))
        self._count(found, is_bad.fill_null(False).to_numpy(), rows)

    def add_duplicates(self, is_repeated: NDArray[np.bool_], rows: pl.DataFrame) -> None:
        """Count the rows with the key of the row before."""
        if not self.duplicates.count and (
            twice := shown_twice(rows[POSITION][int(np.argmax(is_repeated))], self.time_zone)
        ):
            self.duplicates.fix += f" ({twice})"
        self._count(self.duplicates, is_repeated, rows)

    @property
    def keys(self) -> tuple[str, str]:
        """The names of the sequence and the position column."""
        return self.sequence_column, self.position_column

    @property
    def any(self) -> bool:
        """Whether there are problems."""
        return bool(self.duplicates.count or self.bad_values)

    def raise_any(self, source: str) -> None:
        """Raise the problems as one error.

        Raises:
            DataError: there are duplicates, or values that cannot be encoded.
        """
        if self.duplicates.count:
            raise DataError(
                f"{self.duplicates.count:,} of {self.n_rows:,} rows repeat the {self.sequence_column} and "
                f"{self.position_column} of another",
                where=f"{source}, first at {self.duplicates.first}",
                fix=self._fix(self.duplicates),
            )
        if self.bad_values:
            lines = [
                f"column `{column}`: {of_values(found.count, self.n_rows)} {what}, first at {found.first}"
                for (column, what), found in self.bad_values.items()
            ]
            raise DataError("\n".join(lines), where=source, fix=self._fix(next(iter(self.bad_values.values()))))

    def _fix(self, found: _Found) -> str:
        return f"{found.fix}, or {found.setting}" if self.is_preprocess and found.setting else found.fix

    def _count(self, found: _Found, is_bad: NDArray[np.bool_], rows: pl.DataFrame) -> None:
        if not found.count:
            row = int(np.argmax(is_bad))
            found.first = event_text(self.keys, rows[SEQUENCE][row], rows[POSITION][row], self.time_zone)
        found.count += int(is_bad.sum())
