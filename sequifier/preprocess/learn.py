"""Learning the encoding: the vocabulary of each categorical column, mean and standard deviation of each real one.

Both are learnt part by part and merged; the result does not depend on the parts.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.time_rules import TimeRules
from sequifier.artifacts.transforms import Scale, transformed
from sequifier.callbacks import Log
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import Transform
from sequifier.errors import DataError
from sequifier.preprocess.check import Part
from sequifier.preprocess.column_types import StoredType
from sequifier.preprocess.encode import Encoding
from sequifier.preprocess.moments import mean_and_std, moments
from sequifier.preprocess.numbers import unit_of
from sequifier.preprocess.split import Split, is_among_first

VALUE, COUNT = "value", "count"
MANY_CATEGORIES = 100_000
MANY_COLUMNS = 20
MISSING = ("na", "n/a", "#n/a", "null", "nan", "<na>", "nat", "\\n", "(null)")
"""Texts in lower case that probably mark missing values."""

_T = TypeVar("_T")


def learn(
    parts: Sequence[Part],
    split: Split,
    types: Mapping[str, StoredType],
    config: PreprocessConfig,
    log: Log,
    *,
    transforms: Mapping[str, Transform],
    time: TimeRules,
    by_sequence: tuple[str, ...] = (),
    numbers_reported: bool = False,
) -> Encoding:
    """Learn vocabularies from the rows of all splits or of split 0, and statistics from split 0.

    Args:
        parts: all sequences.
        split: their splits.
        types: feature -> stored type.
        config: vocabulary_from, min_count, max_categories.
        log: receives lines for the user.
        transforms: feature -> its transform, where it has one.
        time: the columns that are computed from dates, whose categories are fixed.
        by_sequence: columns that are standardised by sequence.
        numbers_reported: whether columns of text with numbers have been reported already.

    Raises:
        DataError: the standard deviation of a real column cannot be computed.
    """
    vocabularies: dict[str, pl.Series] = {}
    scales: dict[str, Scale] = {}
    training = list(zip(parts, split.first_rows(0), strict=True))
    everything = list(zip(parts, split.first_rows(split.n_splits - 1), strict=True))
    for column, stored in types.items():
        if stored == "Float64":
            transform = transforms.get(column)
            sums = [
                moments(
                    transformed(first_values(part, column, n).to_numpy(), transform), np.maximum(n - part.has_start, 0)
                )
                for part, n in training
            ]
            try:
                mean, std = mean_and_std(sums)
            except OverflowError as error:
                raise DataError(
                    f"column `{column}` has no standard deviation: {error}",
                    where=f"the values of split 0, from {min(part.lowest for part in sums):g} "
                    f"to {max(part.highest for part in sums):g}",
                    fix="correct the values or scale the column down",
                ) from error
            scales[column] = Scale(mean, std, transform)
        elif column in time.derived:
            vocabularies[column] = pl.Series(column, time.derived[column].categories, dtype=pl.Int64)
        else:
            usable = everything if config.vocabulary_from == "all" else training
            counts = [count_values(first_values(part, column, n)) for part, n in usable]
            vocabularies[column] = choose_vocabulary(column, counts, config)
            _note_oddities(column, vocabularies[column], log, numbers_reported=numbers_reported)
    return Encoding(tuple(types), vocabularies, scales, tuple(config.end_event), time.open_columns, by_sequence)


def first_values(part: Part, column: str, n_first: NDArray[np.int64]) -> pl.Series:
    """Return the first rows of each sequence of a column, without START."""
    values = part.rows.select(column).collect().to_series()
    if (n_first == np.diff(part.offsets)).all() and not part.has_start:
        return values
    is_used = is_among_first(part.offsets, n_first)
    if part.has_start:
        is_used[part.offsets[:-1]] = False
    return values.filter(pl.Series(is_used))


def _of_column(setting: int | dict[str, int] | _T, column: str, default: _T) -> int | _T:
    return setting.get(column, default) if isinstance(setting, dict) else setting


def kinds_of_columns(types: Mapping[str, StoredType], encoding: Encoding) -> Iterator[str]:
    """Yield a line for each kind of column, with the columns."""
    words = {"Int64": "integers", "String": "text", "Boolean": "true or false"}
    categorical = [
        f"{column} ({words[types[column]]}, {len(values):,} values)" for column, values in encoding.vocabularies.items()
    ]
    real = [
        f"{column} ({scale.transform or ''}{': ' * bool(scale.transform)}{scale.mean:.4g} ± {scale.std:.4g}"
        f"{', standardised by sequence' * (column in encoding.by_sequence)})"
        for column, scale in encoding.scales.items()
    ]
    for kind, columns in (("categorical", categorical), ("real", real)):
        if columns:
            others = len(columns) - MANY_COLUMNS
            shown = columns if others <= 0 else [*columns[:MANY_COLUMNS], f"and {others:,} more"]
            yield f"{kind}: {', '.join(shown)}"


def _note_oddities(column: str, categories: pl.Series, log: Log, *, numbers_reported: bool) -> None:
    """Report a column that probably should be numbers."""
    n = len(categories)
    if categories.dtype == pl.Int64 and n > MANY_CATEGORIES:
        log(f"note: column `{column}` has {n:,} categories; if it is a quantity, set column_types.{column}: real")
    if categories.dtype == pl.String:
        marks = categories.filter(categories.str.to_lowercase().is_in(MISSING))
        if len(marks):
            log(
                f"note: column `{column}`: `{marks[0]}` is treated as a category; "
                f"if it marks missing values, empty those cells and then set fill_null.{column}"
            )
        if unit := unit_of(categories):
            log(
                f"note: column `{column}`: its categories look like numbers with the unit `{unit}` "
                f"(`{categories[0]}`); to use them as numbers, write them without it"
            )
    if categories.dtype == pl.String and n >= 100 and not numbers_reported:
        others = categories.filter(categories.cast(pl.Float64, strict=False).is_null())
        if 0 < len(others) <= n // 100:
            shown = ", ".join(f"`{value}`" for value in others.head(3))
            log(
                f"note: column `{column}` is categorical because of the text {shown}; its {n - len(others):,} other "
                f"values are numbers. To use it as a number, empty those cells, and then set "
                f"column_types.{column}: real and fill_null.{column}"
            )


def why_unknown(column: str, config: PreprocessConfig, stored: Metadata | None) -> str:
    """Return why values of a column are unknown, for the end of a note; empty where several reasons are possible."""
    if config.fill_null.get(column) == "unknown":
        return ""
    if stored is not None:
        return ": they do not occur in the vocabulary of metadata_config_path"
    limits = (config.min_count, config.max_categories)
    least, most = (limit.get(column) if isinstance(limit, dict) else limit for limit in limits)
    if config.vocabulary_from != "train" or (least or 1) > 1 or most is not None:
        return ""
    return ": they do not occur in the training split (vocabulary_from: train)"


def count_values(values: pl.Series) -> pl.DataFrame:
    """Count the occurrences of each category, in columns value and count; nulls are left out."""
    return values.drop_nulls().alias(VALUE).value_counts(name=COUNT)


def choose_vocabulary(column: str, counts: Sequence[pl.DataFrame], config: PreprocessConfig) -> pl.Series:
    """Return the vocabulary of a column by the rules of the config, see `choose_categories`."""
    return choose_categories(
        counts,
        min_count=_of_column(config.min_count, column, 1),
        max_categories=_of_column(config.max_categories, column, None),
    ).alias(column)


def choose_categories(
    counts: Sequence[pl.DataFrame], *, min_count: int = 1, max_categories: int | None = None
) -> pl.Series:
    """Return the vocabulary: the sorted distinct values that are frequent enough.

    Args:
        counts: counts of each part.
        min_count: smallest number of occurrences.
        max_categories: number of most frequent values to keep; of equally frequent ones, the smaller.

    Returns:
        Values in id order: the first has id 1.
    """
    merged = pl.concat(counts).group_by(VALUE).agg(pl.col(COUNT).sum()) if len(counts) > 1 else counts[0]
    kept = merged.filter(pl.col(COUNT) >= min_count)
    if max_categories is not None and kept.height > max_categories:
        kept = kept.sort(COUNT, VALUE, descending=[True, False]).head(max_categories)
    return kept[VALUE].sort()
