"""Raw rows -> sorted, whole sequences of valid values."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from sequifier.preprocess.column_counts import event_text
from sequifier.preprocess.column_types import LARGEST_WHOLE, StoredType
from sequifier.preprocess.duplicates import distinct
from sequifier.preprocess.observation import END_AT, START_AT, check_observed, insert_starts, open_gaps, with_start
from sequifier.preprocess.parsed_column import AS_TEXT_NOTE, TO_USE_AS_NUMBER
from sequifier.preprocess.time_features import with_time_features
from sequifier.preprocess.value_problems import ValueProblems

_REPLACE = "remove those rows or fill in their values"


@dataclass(frozen=True)
class Part:
    """Whole sequences in order: N rows, S sequences.

    Attributes:
        sequence_ids: (S,) int64, or object holding str.
        offsets: (S + 1,) sequence s has the rows offsets[s] : offsets[s + 1].
        rows: (N) itemPosition and the features with their stored types, in memory or in a file. Remaining nulls become
            the mean or unknown.
        has_start: whether the first row of each sequence is START.
        n_dropped: number of rows that were left out, because they are identical to an earlier one.
    """

    sequence_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    rows: pl.LazyFrame
    has_start: bool = False
    n_dropped: int = 0

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
    problems: ValueProblems,
    time: TimeRules,
    end_event: Sequence[str] = (),
    of_sequences: Sequence[str] = (),
    form: TableForm = PLAIN_TABLE,
) -> Part:
    """Sort, fill and check whole sequences, compute the time features, and begin each sequence with START if observed.

    Where the table has hashes of its rows (`drop_duplicates`), the first of identical rows remains.

    Args:
        rows: sequenceId, itemPosition and the features that are not computed, in any order; and dates.
        types: feature -> stored type.
        fill_null: feature -> replacement of missing values.
        transforms: feature -> transform, which its values must fit.
        problems: collects the problems of values.
        time: what is computed from which dates.
        end_event: features that must not have the value END.
        of_sequences: columns with one value in all rows of a sequence.
        form: whether the rows have positions, and may repeat them.

    Raises:
        DataError: a time feature cannot be computed, or an event is not observed.
    """
    n_read, rows = rows.height, distinct(rows)
    n_dropped = n_read - rows.height
    rows, starts = _sorted(rows)
    problems.n_rows += rows.height
    if not form.has_positions:
        first = np.repeat(starts, np.diff(starts, append=rows.height))
        rows = rows.with_columns(pl.Series(POSITION, np.arange(rows.height) - first))
    elif form.repeated_positions == "error" and time.observation is None:
        _report_repeated(rows, starts, problems)
    check_observed(rows, starts, time, problems.keys, "")
    open_columns = [open_gaps(rows, starts, time, column) for column in time.open_columns.values()]
    named = {SEQUENCE, POSITION, *types, *time.date_columns, START_AT, END_AT}
    of_start = [*(column for column in rows.columns if column not in named), *of_sequences]
    begins, rows, starts = _with_times(rows, starts, time, problems.keys, of_start)
    rows = rows.with_columns(
        _checked(rows, column, stored, fill_null.get(column), transforms.get(column), problems)
        for column, stored in types.items()
    )
    for column in end_event:
        if types[column] == "String" and (is_end := rows[column] == END).any():
            what = f"`{END}`, which end_event adds after the last event of each sequence"
            fix = f"give `{END}` another name in `{column}`, or remove these rows: a sequence ends after its last event"
            problems.add(column, what, is_end, rows, fix=fix)
    rows = rows.with_columns(open_columns)
    if begins is not None:
        rows = insert_starts(begins, rows, starts)
        starts = starts + np.arange(len(starts))
    rows = rows.drop(START_AT, END_AT, strict=False)
    ids = rows[SEQUENCE].gather(pl.Series(starts))
    return Part(
        sequence_ids=id_array(ids),
        offsets=np.append(starts, rows.height).astype(np.int64),
        rows=rows.drop(SEQUENCE).lazy(),
        has_start=begins is not None,
        n_dropped=n_dropped,
    )


def _report_repeated(rows: pl.DataFrame, starts: NDArray[np.int64], problems: ValueProblems) -> None:
    position = rows[POSITION].to_physical().to_numpy()
    is_repeated = np.append(False, position[1:] == position[:-1])
    is_repeated[starts] = False
    if is_repeated.any():
        problems.add_duplicates(is_repeated, rows)


def _with_times(
    rows: pl.DataFrame, starts: NDArray[np.int64], time: TimeRules, keys: tuple[str, str], of_start: Sequence[str]
) -> tuple[pl.DataFrame | None, pl.DataFrame, NDArray[np.int64]]:
    """Compute the time features.

    Args:
        rows: sorted events.
        starts: (S,) first events.
        time: what is computed, and whether sequences have START.
        keys: names of the sequence and the position column in messages.
        of_start: columns that START has a value in.

    Returns:
        START of each sequence, or None without one; the events; (S,) the first events.
    """
    if not time.has_start:
        return None, with_time_features(rows, starts, time, keys), starts
    # The positions of the first events are compared with START, which has no other dates.
    of_dates = [name for name, column in time.derived.items() if column.date_column != POSITION]
    rows = with_time_features(rows, starts, time.only(of_dates), keys)
    rows, starts = with_start(rows, starts, of_start)
    of_positions = [name for name in time.derived if name not in of_dates]
    rows = with_time_features(rows, starts, time.only(of_positions), keys)
    is_start = np.zeros(rows.height, dtype=bool)
    is_start[starts] = True
    return rows[starts], rows.filter(pl.Series(~is_start)), starts - np.arange(len(starts))


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
    problems: ValueProblems,
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
            what = "fractional, but the column is declared categorical"
            setting = f"declare column_types.{column}: real"
            problems.add(column, what, has_fraction, rows, fix="round those values", setting=setting)
        is_large = values.is_finite() & (values.abs() > LARGEST_WHOLE)
        if is_large.any():
            what = "above 2^53 in a column of floats, in which several integers become one"
            problems.add(column, what, is_large, rows, fix="write the column as integers or as text")
        values = values.cast(pl.Int64, strict=False)
    if transform is not None and (is_below := values < LOWEST[transform]).any():
        what = f"below {LOWEST[transform]:g}, but transforms.{column} is {transform}"
        setting = f"set transforms.{column}: asinh, which is for values of both signs"
        problems.add(column, what, is_below, rows, fix="correct those values", setting=setting)
    return values.alias(column)


def _report_missing(rows: pl.DataFrame, values: pl.Series, problems: ValueProblems) -> None:
    setting = f"set fill_null.{values.name} in the preprocess config"
    if values.null_count():
        problems.add(values.name, "missing", values.is_null(), rows, fix=_REPLACE, setting=setting)
    if values.dtype == pl.Float64 and not values.is_finite().all():
        for what, is_bad in (("NaN", values.is_nan()), ("infinite", values.is_infinite())):
            if is_bad.any():
                problems.add(values.name, what, is_bad, rows, fix=_REPLACE, setting=setting)


def _filled(rows: pl.DataFrame, values: pl.Series, fill: FillNull, problems: ValueProblems) -> pl.Series:
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
            setting = f"set fill_null.{values.name} to something other than {fill}"
            problems.add(values.name, what, values.is_null(), rows, fix=_REPLACE, setting=setting)
    return values
