"""Values -> numbers, by vocabularies and statistics that were learnt before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION, Events, statistics_columns
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.transforms import Scale, transformed
from sequifier.errors import DataError
from sequifier.preprocess.check import Part
from sequifier.preprocess.column_types import POLARS_TYPES
from sequifier.preprocess.moments import statistics_of_sequences
from sequifier.preprocess.split import is_among_first


@dataclass(frozen=True)
class Encoding:
    """The encoding of the columns of one data set.

    Attributes:
        columns: the features, in stored order.
        vocabularies: categorical column -> its values in id order; the first has id 1.
        scales: real column -> transform, mean and std.
        end_event: columns whose last class is END, after those of their vocabulary.
        open_columns: real column -> the column beside the features with its value that is still open, which has one in
            the last row of a sequence alone. It is encoded alike.
        by_sequence: real columns that are standardised by mean and std of their sequence.
    """

    columns: tuple[str, ...]
    vocabularies: dict[str, pl.Series]
    scales: dict[str, Scale]
    end_event: tuple[str, ...] = ()
    open_columns: Mapping[str, str] = field(default_factory=dict)
    by_sequence: tuple[str, ...] = ()

    @classmethod
    def from_metadata(cls, metadata: Metadata, columns: Sequence[str]) -> Self:
        """Return the encoding in a metadata file for these columns."""
        return cls(
            tuple(columns),
            {
                column: pl.Series(
                    column, metadata.raw_categories(column), dtype=POLARS_TYPES[metadata.column_types[column]]
                )
                for column in columns
                if metadata.kind(column) == "categorical"
            },
            {column: metadata.scale(column) for column in columns if metadata.kind(column) == "real"},
            tuple(column for column in metadata.sequifier.end_event if column in columns),
            {column: of for column, of in metadata.sequifier.open_columns.items() if column in columns},
            tuple(column for column in metadata.sequifier.reading.by_sequence if column in columns),
        )

    @property
    def end_ids(self) -> dict[str, int]:
        """The id of END in each column that has it."""
        return {column: len(self.vocabularies[column]) + 1 for column in self.end_event}

    def encode_part(self, part: Part, n_training: NDArray[np.int64] | None = None) -> Events:
        """Encode whole sequences, without context.

        Args:
            part: the sequences.
            n_training: (S,) number of first rows from which a sequence takes its own mean and std; None: all.
        """
        rows = part.rows.collect()
        still_open = {
            name: self.scales[column].standardised(rows[name].cast(pl.Float64).to_numpy()).astype(np.float32)
            for column, name in self.open_columns.items()
        }
        columns = {
            column: self.encode(column, rows[column]) for column in self.columns if column not in self.by_sequence
        }
        n_rows = np.diff(part.offsets)
        is_training = is_among_first(part.offsets, n_rows if n_training is None else n_training)
        for column in self.by_sequence:
            values, scale = rows[column].to_numpy(), self.scales[column]
            found = transformed(values, scale.transform)
            mean, std = statistics_of_sequences(found, n_rows, is_training, scale)
            mean, std = np.repeat(mean, n_rows), np.repeat(std, n_rows)
            columns[column] = self._finite(column, values, scale.at(mean.astype(np.float64), std.astype(np.float64)))
            columns |= dict(zip(statistics_columns(column), (mean, std), strict=True))
        return Events(
            sequence_ids=part.sequence_ids,
            offsets=part.offsets,
            n_context=np.zeros(len(part.sequence_ids), dtype=np.int64),
            positions=rows[POSITION].to_numpy(),
            columns=columns | still_open,
        )

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """The columns of encoded events, in their order."""
        found = [column for column in self.columns if column not in self.by_sequence]
        found += [name for column in self.by_sequence for name in (column, *statistics_columns(column))]
        return (*found, *self.open_columns.values())

    def encode(self, column: str, values: pl.Series) -> NDArray[Any]:
        """Encode values of the column's stored type.

        Returns:
            (N,) int32 ids with 0 for unknown and null, or float32 z with 0 (the mean) for null.

        Raises:
            DataError: a value is too far from the mean for float32.
        """
        if column in self.vocabularies:
            return encode_categories(values, self.vocabularies[column])
        return self._finite(column, values.to_numpy(), self.scales[column])

    def _finite(self, column: str, values: NDArray[np.float64], scale: Scale) -> NDArray[np.float32]:
        z = encode_reals(values, scale)
        if not (is_finite := np.isfinite(z)).all():
            row = int(np.argmin(is_finite))
            mean, std = (np.broadcast_to(number, z.shape)[row] for number in (scale.mean, scale.std))
            raise DataError(
                f"column `{column}` has the value {values[row]:g}: its distance from the mean "
                f"({mean:g}) in standard deviations ({std:g}) exceeds float32",
                fix="correct or clear the value",
            )
        return z


def encode_categories(values: pl.Series, categories: pl.Series) -> NDArray[np.int32]:
    """Return the id of each value, from 1 in the order of `categories`; 0 for null and other values.

    >>> encode_categories(pl.Series(["b", None, "a", "?"]), pl.Series(["a", "b"])).tolist()
    [2, 0, 1, 0]
    """
    if categories.is_empty():
        return np.zeros(len(values), dtype=np.int32)
    if values.dtype == pl.String:
        # Casting to Enum takes one hash lookup per value, a third of the time of replacing text by numbers.
        indices = values.cast(pl.Enum(categories), strict=False).to_physical()
        return (indices.cast(pl.Int32) + 1).fill_null(0).to_numpy()
    ids = pl.Series(range(1, len(categories) + 1), dtype=pl.Int32)
    return values.replace_strict(categories, ids, default=0, return_dtype=pl.Int32).to_numpy()


def encode_reals(values: NDArray[np.float64], scale: Scale) -> NDArray[np.float32]:
    """Return standardised values in float32; NaN becomes 0, the mean."""
    with np.errstate(over="ignore"):
        z: NDArray[Any] = scale.standardised(values).astype(np.float32)
    return np.where(np.isnan(z), np.float32(0), z) if np.isnan(z).any() else z
