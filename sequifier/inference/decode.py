"""Decoding ids into labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sequifier.config.base import Category, category_text

if TYPE_CHECKING:
    import polars as pl

UNKNOWN = "unknown"


def label_series(vocabulary: Sequence[Category]) -> "pl.Series":
    """Return the category of each id, null for id 0, with the type of the raw column; as text where one is END."""
    import polars as pl

    if len({type(category) for category in vocabulary}) > 1:
        vocabulary = [category_text(category) for category in vocabulary]
    return pl.Series([None, *vocabulary])


def probability_headers(vocabulary: Sequence[Category], *, taken: Sequence[str] = ()) -> list[str]:
    """Return a column name for each class in the order of ids, `unknown` (id 0) first.

    Args:
        vocabulary: the categories from id 1.
        taken: names of other columns of the same table.

    Returns:
        The categories as in CSV files; the name of a category that equals another column's is followed by its id.
    """
    headers = [UNKNOWN]
    used = {UNKNOWN, *taken, *(category_text(category) for category in vocabulary)}
    free = used - {UNKNOWN, *taken}
    for index, category in enumerate(vocabulary, start=1):
        header = category_text(category)
        if header not in free:
            header = f"{header} (id {index})"
            while header in used:
                header += "'"
            used.add(header)
        headers.append(header)
    return headers
