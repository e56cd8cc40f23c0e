"""Rows of steps to come: what is known of them, appended to the raw events of their sequences.

They are in a table of their own, or the last rows of their sequences in the table of events, without target values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.artifacts.instants import shown_twice
from sequifier.errors import DataError
from sequifier.percent import counted
from sequifier.preprocess.column_counts import event_text

FIELD = "future_data_path"
_IS_FUTURE, _STEP, _LAST = "is future\0", "step\0", "last\0"
"""Columns beside features, whose names have no NUL."""


@dataclass(frozen=True)
class FutureRows:
    """The rows of steps to come.

    Attributes:
        rows: of a table of their own: sequenceId, itemPosition and `columns`; None: they are in the table of events.
        columns: the known columns, with their stored types, and dates from which others follow.
        marks: columns without a value in these rows of the table of events; empty for a table of their own.
        horizon: number of steps that each sequence needs.
        required: columns that need a value at each step.
        path: of the table.
        has_positions: whether rows have positions; otherwise all of them are steps to come, in order.
        keys: names of the sequence and the position column in messages.
        zone: the time zone of the data.
    """

    rows: pl.DataFrame | None
    columns: Sequence[str]
    marks: Sequence[str]
    horizon: int
    required: Sequence[str]
    path: Path
    has_positions: bool
    keys: tuple[str, str]
    zone: str | None

    def behind(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the events of a table with the steps to come of their sequences behind them.

        Of a step to come, columns that are not known repeat the last value of their sequence. Nothing reads them.

        Raises:
            DataError: a sequence has too few steps to come, or one of them has no value of a column.
        """
        ahead = self.rows
        if ahead is None:
            rows, ahead = self._divided(rows)
        ahead = self._of_sequences(ahead, rows)
        unknown = [column for column in rows.columns if column not in ahead.columns]
        whole = pl.concat(
            [rows.with_columns(pl.lit(False).alias(_IS_FUTURE)), ahead.with_columns(pl.lit(True).alias(_IS_FUTURE))],
            how="diagonal",
        ).sort(SEQUENCE, POSITION, maintain_order=True)
        repeated = [
            pl.when(pl.col(_IS_FUTURE)).then(pl.col(column).forward_fill().over(SEQUENCE)).otherwise(pl.col(column))
            for column in unknown
        ]
        return whole.with_columns(each.alias(column) for each, column in zip(repeated, unknown, strict=True)).drop(
            _IS_FUTURE
        )

    def _divided(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the events of a table, and the rows behind the last event of each sequence: the steps to come."""
        rows = rows.sort(SEQUENCE, POSITION, maintain_order=True)
        is_event = pl.any_horizontal(
            pl.col(name).is_finite().fill_null(False) if rows.schema[name].is_float() else pl.col(name).is_not_null()
            for name in self.marks
        )
        rows = rows.with_columns((~is_event.cum_max(reverse=True).over(SEQUENCE)).alias(_IS_FUTURE))
        past, ahead = (rows.filter(which).drop(_IS_FUTURE) for which in (~pl.col(_IS_FUTURE), pl.col(_IS_FUTURE)))
        without_events = ahead.join(past, on=SEQUENCE, how="anti", maintain_order="left")
        if without_events.height:
            raise DataError(
                f"sequence `{without_events[SEQUENCE][0]}` has no value of {', '.join(self.marks)}, so there is "
                "nothing to forecast from",
                where=str(self.path),
                fix="fill in the values of its events, or remove its rows",
            )
        return past, ahead.select(SEQUENCE, POSITION, *self.columns)

    def _of_sequences(self, ahead: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the steps to come of the sequences of some events, `horizon` of each."""
        ahead = self._typed(ahead, rows)
        last = rows.group_by(SEQUENCE).agg(pl.col(POSITION).max().alias(_LAST)).sort(SEQUENCE)
        ahead = (
            ahead.join(last, on=SEQUENCE, how="inner", maintain_order="left")
            .filter(pl.col(POSITION) > pl.col(_LAST))
            .drop(_LAST)
            .sort(SEQUENCE, POSITION, maintain_order=True)
        )
        step = pl.int_range(1, pl.len() + 1).over(SEQUENCE).alias(_STEP)
        ahead = ahead.with_columns(step).filter(pl.col(_STEP) <= self.horizon)
        counts = last.join(ahead.group_by(SEQUENCE).len(), on=SEQUENCE, how="left", maintain_order="left")
        short = counts.filter(pl.col("len").fill_null(0) < self.horizon)
        if short.height:
            sequence, position, count = short.row(0)
            what = (
                f"after the last event of sequence `{sequence}` the table has {count or 0} of the {self.horizon} steps"
            )
            if short.height > 1:
                what += f", and too few for {counted(short.height - 1, 'more sequence')}"
            missing = f"{(count or 0) + 1} to {self.horizon}" if (count or 0) + 1 < self.horizon else f"{self.horizon}"
            twice = shown_twice(position, self.zone)
            raise DataError(
                what,
                where=f"{self.path}, after {event_text(self.keys, sequence, position, self.zone)}",
                fix=f"add a row for step {missing} {self._place}" + (f" ({twice})" if twice else ""),
            )
        for column in self.required:
            if ahead[column].null_count():
                row = int(ahead[column].is_null().arg_max() or 0)
                sequence, position, number = ahead[SEQUENCE][row], ahead[POSITION][row], ahead[_STEP][row]
                raise DataError(
                    f"column `{column}` has no value at step {number} of sequence `{sequence}`",
                    where=f"{self.path}, {event_text(self.keys, sequence, position, self.zone)}",
                    fix="fill it in: the model reads it at each step to come",
                )
        return ahead.drop(_STEP)

    @property
    def _place(self) -> str:
        if not self.marks:
            return f"to {FIELD}"
        marks, columns = ", ".join(self.marks), ", ".join(self.columns)
        return f"without {marks}, or give a table of its own for these steps, with {columns}: {FIELD}"

    def _typed(self, ahead: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the steps to come with keys of the types of the events."""
        if not self.has_positions:  # all events have the position 0, see `keys.IN_ORDER`
            ahead = ahead.with_columns(pl.lit(1, rows.schema[POSITION]).alias(POSITION))
        for key, column in zip((SEQUENCE, POSITION), self.keys, strict=True):
            found, expected = ahead.schema[key], rows.schema[key]
            if found == expected:
                continue
            if not (
                expected == pl.String
                or (found == pl.Int64 and expected == pl.Float64)
                or (found == pl.Date and isinstance(expected, pl.Datetime))
            ):
                raise DataError(
                    f"column `{column}` has {found} in {FIELD}, and {expected} in the events",
                    where=str(self.path),
                    fix="write it alike in both tables",
                )
            ahead = ahead.with_columns(pl.col(key).cast(expected))
        return ahead
