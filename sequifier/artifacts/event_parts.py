"""A stored split in parts of whole sequences, for what is larger than memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE, Events, Format, events_of
from sequifier.artifacts.split_file import format_of, no_rows, scan_events, wrap_split_errors

if TYPE_CHECKING:
    import polars as pl

ROWS_PER_PART = 1 << 20


def read_event_parts(
    path: Path, columns: Sequence[str], *, format: Format | None = None, rows_per_part: int = ROWS_PER_PART
) -> Iterator[Events]:
    """Read one split from front to end; `read_events` says what an argument means.

    Args:
        path: a file that `write_events` wrote, or a folder of shards.
        columns: features, in the order wanted.
        format: by the file's suffix when None.
        rows_per_part: a part has so many rows, and those that its last sequence needs to be whole.

    Raises:
        DataError: the file is missing or damaged, or lacks a column.
    """
    import polars as pl

    format = format or format_of(path)
    waiting: list[pl.DataFrame] = []
    with wrap_split_errors(path, format):
        rows = scan_events(path, columns, format).select(SEQUENCE, POSITION, CONTEXT, *columns)
        for frame in rows.collect_batches(chunk_size=rows_per_part, maintain_order=True):
            waiting.append(frame)
            if sum(piece.height for piece in waiting) >= rows_per_part:
                whole, rest = at_last_sequence(pl.concat(waiting))
                waiting = [rest]
                if whole.height:
                    yield events_of(whole, columns)
    last = pl.concat(waiting) if waiting else None
    if last is None or last.is_empty():
        raise no_rows(path)
    yield events_of(last, columns)


def at_last_sequence(frame: "pl.DataFrame") -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """The sequences that are whole for sure, and the last one."""
    sequence = frame[SEQUENCE]
    others = (sequence != sequence[-1]).arg_true()
    cut = others[-1] + 1 if len(others) else 0
    return frame.head(cut), frame.slice(cut)
