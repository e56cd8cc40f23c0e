"""`split_method: given`: a column of the table names the split of each sequence."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION
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
            first_odd, odd = _place(part, row, config), names[row]
        n_odd += split.null_count()
        if n_odd == 0:
            found.append(_one_each(part, split.to_numpy(), config))
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


def _one_each(part: Part, split_of_row: NDArray[np.int64], config: PreprocessConfig) -> NDArray[np.int64]:
    """Return (S,) the split of each sequence of a part."""
    lowest = np.minimum.reduceat(split_of_row, part.offsets[:-1])
    highest = np.maximum.reduceat(split_of_row, part.offsets[:-1])
    if (lowest < highest).any():
        s = int(np.argmax(lowest < highest))
        split = split_of_row[part.offsets[s] : part.offsets[s + 1]]
        names = " and ".join(f"`{NAMES[number]}`" for number in np.unique(split))
        raise DataError(
            f"{config.sequence_column}={part.sequence_ids[s]} is {names} in column `{config.split_column}`: a sequence "
            "has one split",
            where=_place(part, int(part.offsets[s] + np.argmax(split != split[0])), config),
            fix="write the same value in all its rows, or split it with split_method: cutoff",
        )
    return lowest


def _place(part: Part, row: int, config: PreprocessConfig) -> str:
    s = int(np.searchsorted(part.offsets, row, side="right")) - 1
    position = part.rows.select(POSITION).slice(row, 1).collect().item()
    return f"{config.sequence_column}={part.sequence_ids[s]} {config.position_column}={position}"
