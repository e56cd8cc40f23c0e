"""Shards of a split as .pt files: a dict column -> 1-D tensor with one entry for each row.

Text ids are a list, because tensors have no text. Dates are the number of days, microseconds or nanoseconds since 1970,
as the folder's metadata.json says. Files are loaded without running code, and memory-mapped, so that only requested
columns are read.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequifier.artifacts import torch_file
from sequifier.artifacts.shard_folder import ShardIndex
from sequifier.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_AGAIN = "run `sequifier preprocess` again"


def type_name(dtype: Any) -> str:
    """Return the name of a type of polars in metadata.json: `Int64`, `Date`, `Datetime(us)`."""
    unit = getattr(dtype, "time_unit", None)
    return f"Datetime({unit})" if unit else str(dtype)


def write_tensors(path: Path, rows: "pl.DataFrame") -> None:
    """Write one shard.

    Raises:
        OSError: the disk is full.
    """
    import polars as pl
    import torch

    content: dict[str, Any] = {}
    for column in rows:
        if column.dtype == pl.String:
            content[column.name] = column.to_list()
            continue
        numbers = column.cast(pl.Int64) if column.dtype.is_temporal() else column
        content[column.name] = torch.from_numpy(numbers.to_numpy(writable=True))
    torch_file.save(content, path)


def scan_tensors(paths: Sequence[Path], index: ShardIndex) -> "pl.LazyFrame":
    """Return all rows of some shards, lazily; the shards are loaded one after the other.

    Args:
        paths: shards of one folder.
        index: the index of that folder.

    Raises:
        DataError: while collecting: a shard is damaged, or differs from the index.
    """
    from polars.io.plugins import register_io_source

    schema = _schema(index)
    n_rows_of = {shard.path: shard.rows for shard in index.shards}

    def source(
        columns: list[str] | None, predicate: "pl.Expr | None", n_rows: int | None, _batch_size: int | None
    ) -> Iterator["pl.DataFrame"]:
        left = n_rows
        for path in paths:
            frame = _load(path, schema, columns or list(schema), n_rows_of.get(path.name))
            if predicate is not None:
                frame = frame.filter(predicate)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame
            if left == 0:
                return

    return register_io_source(source, schema=schema)


def _schema(index: ShardIndex) -> dict[str, Any]:
    import polars as pl

    types: dict[str, Any] = {type_name(known): known for known in (pl.Int64, pl.Int32, pl.Float32, pl.String)}
    types |= {type_name(known): known for known in (pl.Boolean, pl.Date, pl.Datetime("us"), pl.Datetime("ns"))}
    return {column: types.get(name, pl.Null) for column, name in index.column_types.items()}


def _load(path: Path, schema: Mapping[str, Any], columns: Sequence[str], n_rows: int | None) -> "pl.DataFrame":
    import polars as pl
    import torch

    content = torch_file.load(f"{path.name} as pt", path, fix=_AGAIN, error=DataError, mmap=True)
    if isinstance(content, tuple):
        raise _damaged(path, f"{path.name} has windows of Sequifier v1, not events")
    if not isinstance(content, dict) or not set(columns) <= set(content):
        raise _damaged(path, f"{path.name} is not a shard with the columns in the metadata.json of its folder")
    lengths = {column: len(content[column]) for column in columns}
    if len({*lengths.values(), *([] if n_rows is None else [n_rows])}) != 1:
        raise _damaged(path, f"the columns of {path.name} have {lengths} rows; metadata.json says {n_rows}")
    series = []
    for column in columns:
        values = content[column]
        if isinstance(values, torch.Tensor):
            values = values.numpy()
        found = pl.Series(column, values, strict=False)
        series.append(found if found.dtype == schema[column] else _cast(path, found, schema[column]))
    return pl.DataFrame(series)


def _cast(path: Path, found: "pl.Series", expected: Any) -> "pl.Series":
    """Return dates from their numbers; no other type may differ from the index."""
    import polars as pl

    if found.dtype != pl.Int64 or not (expected == pl.Date or expected.base_type() == pl.Datetime):
        raise _damaged(
            path, f"column `{found.name}` of {path.name} has the type {found.dtype}; metadata.json says {expected}"
        )
    return found.cast(expected)


def _damaged(path: Path, what: str) -> DataError:
    return DataError(what, where=str(path), fix=_AGAIN)
