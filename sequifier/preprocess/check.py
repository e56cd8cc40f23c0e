"""Raw rows -> sorted, whole sequences of valid values.

Problems are collected over all parts of the data and reported together, each with its number and its first place in
the order of (sequenceId, itemPosition).
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.artifacts.table_form import PLAIN_TABLE, TableForm
from sequifier.artifacts.time_rules import TimeRules
from sequifier.artifacts.transforms import LOWEST
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import END, FillNull, Transform
from sequifier.errors import DataError, did_you_mean
from sequifier.preprocess.column_counts import event_text, of_values
from sequifier.preprocess.column_types import StoredType
from sequifier.preprocess.observation import END_AT, START_AT, check_observed, open_gaps, with_start
from sequifier.preprocess.parsed_column import AS_TEXT_NOTE, TO_USE_AS_NUMBER
from sequifier.preprocess.time_features import with_time_features

_IS_END = f"`{END}`, which end_event adds after the last event of each sequence"


@dataclass(frozen=True)
class Part:
    """Whole sequences in order: N rows, S sequences.

    Attributes:
        sequence_ids: (S,) int64, or object holding str.
        offsets: (S + 1,) sequence s has the rows offsets[s] : offsets[s + 1].
        rows: (N) itemPosition and the features with their stored types, in memory or in a file. Remaining nulls become
            the mean or unknown.
        has_start: whether the first row of each sequence is START.
    """

    sequence_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    rows: pl.LazyFrame
    has_start: bool = False

    def changes(self, values: pl.Series) -> NDArray[np.int64]:
        """Return the rows whose value differs from the one before it in their sequence; `values` has N."""
        differs = values.ne_missing(values.shift(1)).to_numpy(writable=True)
        differs[self.offsets[:-1]] = False
        return np.flatnonzero(differs)

    def sequence_of(self, row: int) -> Any:
        """Return the id of the sequence that has a row."""
        return self.sequence_ids[int(np.searchsorted(self.offsets, row, side="right")) - 1]

    def place(self, row: int, config: PreprocessConfig) -> str:
        """Return the place of a row in messages; its columns have the names in the file."""
        position = self.rows.select(POSITION).slice(row, 1).collect().item()
        columns = config.sequence_name, config.position_name
        return event_text(columns, self.sequence_of(row), position, config.time_zone)


@dataclass
class _Found:
    """One kind of problem in one column."""

    count: int = 0
    first: str = ""


@dataclass
class Problems:
    """Problems of the values, summed over all parts; messages name the columns as the file does."""

    sequence_column: str = SEQUENCE
    position_column: str = POSITION
    time_zone: str | None = None
    n_rows: int = 0
    duplicates: _Found = field(default_factory=_Found)
    bad_values: dict[tuple[str, str], _Found] = field(default_factory=dict)  # (column, what)

    def add(self, column: str, what: str, is_bad: pl.Series, rows: pl.DataFrame) -> None:
        """Count the bad rows of a column."""
        found = self.bad_values.setdefault((column, what), _Found())
        self._count(found, is_bad.fill_null(False).to_numpy(), rows)

    def add_duplicates(self, is_repeated: NDArray[np.bool_], rows: pl.DataFrame) -> None:
        """Count the rows with the key of the row before."""
        self._count(self.duplicates, is_repeated, rows)

    @property
    def keys(self) -> tuple[str, str]:
        """The names of the sequence and the position column."""
        return self.sequence_column, self.position_column

    @property
    def any(self) -> bool:
        """Whether there are problems."""
        return bool(self.duplicates.count or self.bad_values)

    def raise_any(self, source: str, fill_null: Mapping[str, FillNull]) -> None:
        """Raise the problems as one error.

        Raises:
            DataError: there are duplicates, or values that cannot be encoded.
        """
        if self.duplicates.count:
            raise DataError(
                f"{self.duplicates.count:,} of {self.n_rows:,} rows repeat the {self.sequence_column} and "
                f"{self.position_column} of another",
                where=f"{source}, first at {self.duplicates.first}",
                fix="remove the duplicates; where events may have the same time, set repeated_positions: keep",
            )
        if not self.bad_values:
            return
        lines = [
            f"column `{column}`: {of_values(found.count, self.n_rows)} {what}, first at {found.first}"
            for (column, what), found in self.bad_values.items()
        ]
        (column, what), _ = next(iter(self.bad_values.items()))
        if what == _IS_END:
            fix = f"give `{END}` another name in `{column}`, or remove these rows: a sequence ends after its last event"
        elif "fraction" in what:
            fix = f"declare column_types.{column}: real, or round it"
        elif "transforms" in what:
            fix = f"correct those values, or set transforms.{column}: asinh, which is for values of both signs"
        elif column in fill_null:
            fix = f"remove those rows, or set fill_null.{column} to something other than {fill_null[column]}"
        else:
            fix = f"remove those rows, or set fill_null.{column} in the preprocess config"
        raise DataError("\n".join(lines), where=source, fix=fix)

    def _count(self, found: _Found, is_bad: NDArray[np.bool_], rows: pl.DataFrame) -> None:
        if not found.count:
            row = int(np.argmax(is_bad))
            columns = self.sequence_column, self.position_column
            found.first = event_text(columns, rows[SEQUENCE][row], rows[POSITION][row], self.time_zone)
        found.count += int(is_bad.sum())


def check_settings(
    config: PreprocessConfig,
    types: Mapping[str, StoredType],
    source: str,
    notes: Sequence[str] = (),
    computed: Container[str] = (),
) -> None:
    """Check that the maps by column (fill_null, transforms, min_count, max_categories) and end_event fit the features.

    Args:
        config: the maps, and end_event.
        types: feature -> stored type.
        source: the data, for errors.
        notes: on the columns, which say why one of them is text.
        computed: the features that are computed from dates.

    Raises:
        DataError: a map names a column that does not exist or does not fit.
    """
    named: dict[str, Iterable[str]] = {"fill_null": config.fill_null, "transforms": config.transforms}
    for name, value in (("min_count", config.min_count), ("max_categories", config.max_categories)):
        if isinstance(value, dict):
            named[name] = value
    named["end_event"] = config.end_event
    for name, columns in named.items():
        for column in columns:
            if column not in types:
                raise DataError(
                    f"{name} names `{column}`, which is not among the selected columns",
                    where=source,
                    fix=did_you_mean(column, types),
                )
            misfit = _misfit(name, column, types[column], is_computed=column in computed)
            if misfit is not None:
                raise DataError(f"{name} names `{column}`, which {misfit[0]}", where=source, fix=misfit[1])
    for column, fill in config.fill_null.items():
        _check_fill(column, fill, types[column], source, notes)


def _misfit(name: str, column: str, stored: StoredType, *, is_computed: bool) -> tuple[str, str] | None:
    """Return why a column does not fit the field that names it, and how to mend it; None where it fits."""
    match name:
        case "transforms" if stored != "Float64":
            why = f"has the type {stored} and is categorical"
            return why, f"remove transforms.{column}, or declare column_types.{column}: real"
        case "min_count" | "max_categories" if stored == "Float64":
            return "is real and has no categories", f"remove {name}.{column}"
        case "min_count" | "max_categories" if is_computed:
            return "always has the same categories", f"remove {name}.{column}"
        case "end_event" if stored == "Float64":
            fix = f"name a categorical column, or declare column_types.{column}: categorical"
            return "is real and has no classes", fix
    return None


def _check_fill(column: str, fill: FillNull, stored: StoredType, source: str, notes: Sequence[str]) -> None:
    allowed = _fills(stored)
    if not (fill in allowed if isinstance(fill, str) else "a number" in allowed):
        why, how = _why_text(column, notes)
        raise DataError(
            f"fill_null.{column}: `{fill}` does not fit a column of type {stored}{why}",
            where=source,
            fix=how + "use " + " or ".join(allowed),
        )
    if stored == "Int64" and isinstance(fill, float):
        raise DataError(
            f"fill_null.{column}: {fill} is not an integer, as the values of the column are",
            where=source,
            fix=f"write {fill:.0f}, or declare column_types.{column}: real",
        )


def _why_text(column: str, notes: Sequence[str]) -> tuple[str, str]:
    """Return which value makes a column text and how to mend it, from the note on the column; empty without one."""
    for note in notes:
        start, found, rest = note.partition(AS_TEXT_NOTE)
        if found and start == f"column `{column}`":
            why, _, how = rest.partition(TO_USE_AS_NUMBER)
            return f": {why}", f"{how.partition(';')[0]}; or "
    return "", ""


def _fills(stored: StoredType) -> tuple[str, ...]:
    match stored:
        case "Float64":
            return ("a number", "mean", "forward")
        case "Int64":
            return ("a number", "forward", "unknown")
        case _:
            return ("forward", "unknown")


def prepare(
    rows: pl.DataFrame,
    types: Mapping[str, StoredType],
    fill_null: Mapping[str, FillNull],
    transforms: Mapping[str, Transform],
    problems: Problems,
    time: TimeRules,
    end_event: Sequence[str] = (),
    of_sequences: Sequence[str] = (),
    form: TableForm = PLAIN_TABLE,
) -> Part:
    """Sort, fill and check whole sequences, compute the time features, and begin each sequence with START if observed.

    Args:
        rows: sequenceId, itemPosition and the features that are not computed, in any order; and dates.
        types: feature -> stored type.
        fill_null: feature -> replacement of missing values.
        transforms: feature -> transform, which its values must fit.
        problems: collects the problems.
        time: what is computed from which dates.
        end_event: features that must not have the value END.
        of_sequences: columns with one value in all rows of a sequence.
        form: whether the rows have positions, and may repeat them.

    Raises:
        DataError: a time feature cannot be computed, or an event is not observed.
    """
    rows, starts = _sorted(rows)
    problems.n_rows += rows.height
    if not form.has_positions:
        first = np.repeat(starts, np.diff(starts, append=rows.height))
        rows = rows.with_columns(pl.Series(POSITION, np.arange(rows.height) - first))
    elif form.repeated_positions == "error" and time.observation is None:
        position = rows[POSITION].to_physical().to_numpy()
        is_repeated = np.append(False, position[1:] == position[:-1])
        is_repeated[starts] = False
        if is_repeated.any():
            problems.add_duplicates(is_repeated, rows)
    check_observed(rows, starts, time, problems.keys, "")
    open_columns = [open_gaps(rows, starts, time, column) for column in time.open_columns.values()]
    beside = [
        column
        for column in rows.columns
        if column not in (SEQUENCE, POSITION, *types, *time.date_columns, START_AT, END_AT)
    ]
    begins: pl.DataFrame | None = None
    if time.has_start:
        of_dates = [name for name, column in time.derived.items() if column.date_column != POSITION]
        rows = with_time_features(rows, starts, time.only(of_dates), problems.keys)
        rows, starts = with_start(rows, starts, [*beside, *of_sequences])
        time = time.only([name for name in time.derived if name not in of_dates])
    rows = with_time_features(rows, starts, time, problems.keys)
    if time.has_start:
        begins, rows = rows[starts], rows.filter(pl.Series(np.isin(np.arange(rows.height), starts, invert=True)))
    rows = rows.with_columns(
        _checked(rows, column, stored, fill_null.get(column), transforms.get(column), problems)
        for column, stored in types.items()
    )
    for column in end_event:
        if types[column] == "String" and (is_end := rows[column] == END).any():
            problems.add(column, _IS_END, is_end, rows)
    rows = rows.with_columns(open_columns)
    if begins is not None:
        order = np.insert(np.arange(rows.height) + len(starts), starts - np.arange(len(starts)), np.arange(len(starts)))
        rows = pl.concat([begins, rows], how="diagonal_relaxed").cast(rows.schema)[order]
    rows = rows.drop(START_AT, END_AT, strict=False)
    ids = rows[SEQUENCE].gather(pl.Series(starts))
    return Part(
        sequence_ids=id_array(ids),
        offsets=np.append(starts, rows.height).astype(np.int64),
        rows=rows.drop(SEQUENCE).lazy(),
        has_start=begins is not None,
    )


def id_array(ids: pl.Series) -> NDArray[Any]:
    """Return sequence ids as int64, or as an object array of str."""
    return np.array(ids.to_list(), dtype=object) if ids.dtype == pl.String else ids.to_numpy()


def _sorted(rows: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return rows sorted by (sequenceId, itemPosition), without a copy if possible, and where sequences start.

    Rows with equal keys stay in the order of the table.
    """
    starts = _starts(rows[SEQUENCE])
    ids = rows[SEQUENCE].gather(pl.Series(starts))
    position = rows[POSITION].to_physical().to_numpy()
    goes_back = position[1:] < position[:-1]
    goes_back[starts[1:] - 1] = False
    if goes_back.any() or not (ids.slice(1) > ids.head(len(ids) - 1)).all():
        rows = rows.sort(SEQUENCE, POSITION, maintain_order=True)
        starts = _starts(rows[SEQUENCE])
    return rows, starts


def _starts(sequence: pl.Series) -> NDArray[np.int64]:
    changes = sequence.ne_missing(sequence.shift(1))
    changes[0] = True
    return np.flatnonzero(changes.to_numpy())


def _checked(
    rows: pl.DataFrame,
    column: str,
    stored: StoredType,
    fill: FillNull | None,
    transform: Transform | None,
    problems: Problems,
) -> pl.Series:
    """Return a feature with missing values filled or reported."""
    values = rows[column]
    if fill is None:
        _report_missing(rows, values, problems)
    else:
        values = _filled(rows, values, fill, problems)
    if stored == "Int64" and values.dtype == pl.Float64:
        has_fraction = values != values.floor()
        if has_fraction.any():
            problems.add(column, "fractional, but the column is declared categorical", has_fraction, rows)
        values = values.cast(pl.Int64, strict=False)
    if transform is not None and (is_below := values < LOWEST[transform]).any():
        problems.add(column, f"below {LOWEST[transform]:g}, but transforms.{column} is {transform}", is_below, rows)
    return values.alias(column)


def _report_missing(rows: pl.DataFrame, values: pl.Series, problems: Problems) -> None:
    if values.null_count():
        problems.add(values.name, "missing", values.is_null(), rows)
    if values.dtype == pl.Float64 and not values.is_finite().all():
        for what, is_bad in (("NaN", values.is_nan()), ("infinite", values.is_infinite())):
            if is_bad.any():
                problems.add(values.name, what, is_bad, rows)


def _filled(rows: pl.DataFrame, values: pl.Series, fill: FillNull, problems: Problems) -> pl.Series:
    """Replace missing values; those that become the mean or unknown remain null until the encoding."""
    if values.dtype == pl.Float64:
        values = rows.select(pl.when(pl.col(values.name).is_finite()).then(pl.col(values.name))).to_series()
    if not isinstance(fill, str):
        return values.fill_null(fill)
    if fill == "forward" and values.null_count():
        filled = pl.col(values.name).forward_fill().over(SEQUENCE)
        values = rows.with_columns(values).select(filled).to_series()
        if values.null_count():
            what = "missing without an earlier value"
            problems.add(values.name, what, values.is_null(), rows)
    return values
