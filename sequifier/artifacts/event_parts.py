"""Reading a split in parts of whole sequences, for splits larger than memory."""

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
    """Read one split in parts, see `read_events`.

    Args:
        path: a file of `write_events`, or a folder of shards.
        columns: the features, in this order.
        format: None: by the file's suffix.
        rows_per_part: smallest number of rows of a part; the part ends with a whole sequence.

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
    """Return the sequences that are certainly complete, and the rows of the last one."""
    sequence = frame[SEQUENCE]
    others = (sequence != sequence[-1]).arg_true()
    cut = others[-1] + 1 if len(others) else 0
    return frame.head(cut), frame.slice(cut)
