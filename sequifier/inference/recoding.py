"""Recoding ids and standardised values of Sequifier v1 into those of a model.

v1 computed mean and standard deviation over all splits, so they differ even from those of a model of the same table.
Its metadata describes its encoding; without the metadata, the encoding is assumed to be that of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.read_file import object_or_none, wrap_read_errors
from sequifier.config.base import category_text
from sequifier.errors import DataError, did_you_mean

Array = NDArray[Any]


@dataclass(frozen=True)
class Recoding:
    """How each column is recoded.

    Attributes:
        ids: categorical column -> the model's id of each id of v1, (number of ids + 1,); 0 is unknown.
        scales: real column -> (a, b): the model's value is a * value + b.
    """

    ids: dict[str, NDArray[np.int64]]
    scales: dict[str, tuple[float, float]]


def read_recoding(metadata: Path, file: ModelFile, columns: Sequence[str]) -> Recoding | None:
    """Return the recoding for data that a metadata file of v1 describes; None if the file is not of v1.

    Raises:
        DataError: the file does not describe a column.
    """
    content = object_or_none(metadata)  # None: reading it as metadata reports the error
    if content is None or "id_maps" not in content or "sequifier" in content:
        return None
    with wrap_read_errors("the metadata of v1", metadata, fix="give the metadata that was written with these windows"):
        return _recoding(metadata, content, file, columns)


def _recoding(metadata: Path, content: Mapping[str, Any], file: ModelFile, columns: Sequence[str]) -> Recoding:
    ids, scales = {}, {}
    for column in columns:
        known = content["id_maps" if column in file.vocabularies else "selected_columns_statistics"]
        if column not in known:
            kind = "categorical" if column in file.vocabularies else "real"
            raise DataError(
                f"column `{column}` is {kind} for the model, but not in this metadata",
                where=str(metadata),
                fix=did_you_mean(column, known),
            )
        if column in file.vocabularies:
            new_id = {category_text(value): id for id, value in enumerate(file.raw_vocabulary(column), start=1)}
            ids[column] = np.zeros(max(known[column].values(), default=0) + 1, dtype=np.int64)
            for text, id in known[column].items():
                ids[column][id] = new_id.get(text, 0)
        else:
            if transform := file.scale(column).transform:
                raise DataError(
                    f"column `{column}` has the transform {transform} in the model, and none in these windows",
                    where=str(metadata),
                    fix="preprocess the raw data again, or give them with read_format: raw",
                )
            old, new = known[column], file.statistics[column]
            scales[column] = old["std"] / new["std"], (old["mean"] - new["mean"]) / new["std"]
    return Recoding(ids, scales)


def recode(path: Path, column: str, values: Array, is_categorical: bool, recoding: Recoding | None) -> Array:
    """Convert the float64 ids or values of a file into int32 ids or float32 values of the model.

    Raises:
        DataError: a value is not an id, or is an id that the metadata does not have.
    """
    if not is_categorical:
        scale, shift = recoding.scales[column] if recoding else (1.0, 0.0)
        return (values * scale + shift).astype(np.float32)
    ids = np.clip(values, -1, np.iinfo(np.int32).max).astype(np.int64)
    if (ids != values).any():
        raise DataError(
            f"column `{column}` has {values[ids != values][0]:g}, which is not an id; it is categorical for the model",
            where=str(path),
            fix="give windows that were encoded like the training data",
        )
    if recoding is None:
        return ids.astype(np.int32)
    known = recoding.ids[column]
    if ids.min() < 0 or ids.max() >= len(known):
        wrong = ids.max() if ids.max() >= len(known) else ids.min()
        raise DataError(
            f"column `{column}` has id {wrong}; the metadata has ids 0 to {len(known) - 1}",
            where=str(path),
            fix="give the metadata that was written with these windows",
        )
    return known[ids].astype(np.int32)
