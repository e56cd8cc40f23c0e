"""`split_method: given`: a column of the table names the split of each sequence."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError, did_you_mean
from sequifier.preprocess.check import Part
from sequifier.preprocess.column_counts import of_values

NAMES = ("train", "validation", "test")
"""The values of the column, in the order of the splits."""


def given_splits(parts: Sequence[Part], config: PreprocessConfig) -> NDArray[np.int64]:
    """Return (S,) the split that the column names for each sequence: 0, 1 or 2.

    Raises:
        DataError: a row has another value, or a sequence has several.
    """
    assert config.split_column is not None
    column, n_rows = config.split_column, sum(int(part.offsets[-1]) for part in parts)
    found, n_odd, first_odd, odd = [], 0, "", ""
    for part in parts:
        names = part.rows.select(column).collect().to_series()
        split = names.replace_strict(NAMES, (0, 1, 2), default=None, return_dtype=pl.Int64)
        if split.null_count() and not n_odd:
            row = int(np.argmax(split.is_null().to_numpy()))
            first_odd, odd = part.place(row, config), names[row]
        n_odd += split.null_count()
        if n_odd == 0:
            _check_one_each(part, names, config)
            found.append(split.to_numpy()[part.offsets[:-1]])
    if n_odd:
        raise DataError(
            f"column `{column}` (split_column): {of_values(n_odd, n_rows)} neither {' nor '.join(NAMES)}",
            where=f"{first_odd} ({'empty' if odd is None else f'`{odd}`'})",
            fix=f"write one of them in each row; {did_you_mean(odd or '', NAMES)}",
        )
    splits = np.concatenate(found)
    if not (splits == 0).any():
        raise DataError(
            f"column `{column}` (split_column) names no sequence `train`",
            where="split_column",
            fix="write `train` in the rows of the training sequences",
        )
    return splits


def _check_one_each(part: Part, names: pl.Series, config: PreprocessConfig) -> None:
    for row in part.changes(names)[:1].tolist():
        raise DataError(
            f"{config.sequence_name}={part.sequence_of(row)} is `{names[row - 1]}` and `{names[row]}` in column "
            f"`{config.split_column}`: a sequence has one split",
            where=part.place(row, config),
            fix="write the same value in all its rows, or split it with split_method: cutoff",
        )
