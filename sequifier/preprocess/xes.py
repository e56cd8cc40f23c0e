"""XES event logs (IEEE 1849-2016, the format of process mining), read in a stream and written as a Parquet table.

The parser is expat itself, which xml.etree.ElementTree.iterparse wraps: it knows the line of an error, can refuse a
document type declaration (which may define entities that expand to gigabytes), and builds no tree that must be cleared.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.parsers import expat

from sequifier.errors import DataError
from sequifier.preprocess.xes_columns import KINDS, Columns
from sequifier.preprocess.xes_table import EventTable

_CHUNK_BYTES = 1 << 20


def write_log(file: Path, table: Path) -> tuple[str, ...]:
    """Write the events of a log, compressed by gzip or not, as a Parquet file.

    Args:
        file: the log.
        table: the file to write; batches are written beside it before.

    Returns:
        Notes for the user: what is left out or filled in.

    Raises:
        DataError: the file is cut or not a log, a trace or an event has no name, two traces have one name, or the
            values of an attribute are not of one type.
    """
    with TemporaryDirectory(prefix=".xes-", dir=table.parent) as folder:
        reader = _Reader(file, Path(folder))
        reader.read()
        reader.table.write(table)
    return tuple(f"{file.name}: {note}" for note in reader.notes())


class _Reader:
    """The handlers of the parser, by the depth of an element: the log 1, a trace 2, its attributes and events 3."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.file = file
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.table = EventTable(file, folder, lambda: self.parser.CurrentLineNumber)
        self.declared: Columns | None = None  # the columns whose globals are being read
        self.is_in_trace = self.is_in_event = False
        self.depth = 0
        self.collection_depth = 0  # of the list or container whose parts are being read; 0: of none
        self.left_out: Counter[str] = Counter()
        self.n_nested = self.n_loose = 0

    def read(self) -> None:
        """Read the whole log.

        Raises:
            DataError: the file is cut or not a log, or the values of an attribute are not of one type.
        """
        is_at_end = False
        try:
            for chunk in _chunks(self.file):
                self.parser.Parse(chunk, False)
            is_at_end = True
            self.parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise self._not_whole(error, is_at_end=is_at_end) from error

    def notes(self) -> Iterator[str]:
        """Yield what is left out or filled in."""
        if self.left_out:
            yield (
                f"{self.left_out.total():,} attributes with several values are left out: "
                f"{', '.join(sorted(self.left_out))}"
            )
        for n, what in ((self.n_nested, "attributes of attributes"), (self.n_loose, "events outside of traces")):
            if n:
                yield f"{n:,} {what} are left out"
        yield from self.table.notes()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth = depth = self.depth + 1
        if depth == 4 and self.is_in_event:
            if name in KINDS and "key" in attributes:  # nearly all elements
                self.table.events.add(KINDS[name], attributes["key"], attributes.get("value", ""))
            else:
                self._other_attribute(name, attributes)
        elif depth == 3:
            self._in_section(name, attributes)
        elif depth == 2:
            self._begin_section(name, attributes)
        elif depth == 1:
            self._begin_log(name)
        elif self.is_in_trace and not self.collection_depth:
            self.n_nested += 1

    def _end(self, _: str) -> None:
        depth = self.depth
        self.depth = depth - 1
        if depth == 3 and self.is_in_event:
            self.is_in_event = False
            self.table.end_event()
        elif depth == 2:
            self.declared = None
            if self.is_in_trace:
                self.is_in_trace = False
                self.table.end_trace()
        elif depth == self.collection_depth:
            self.collection_depth = 0

    def _begin_log(self, name: str) -> None:
        if name.rpartition(":")[2] != "log":
            raise self.table.events.error(
                f"the file is XML, but not an XES log: its root is <{name}>",
                "give a log in the XES format, whose root is <log>",
            )
        if ":" in name:  # the names of all its elements have a prefix
            self.parser.StartElementHandler = lambda name, attributes: self._start(name.rpartition(":")[2], attributes)

    def _begin_section(self, name: str, attributes: dict[str, str]) -> None:
        match name:
            case "trace":
                self.is_in_trace = True
                self.table.begin_trace()
            case "global":
                scopes = {"trace": self.table.traces, "event": self.table.events}
                self.declared = scopes.get(attributes.get("scope", ""))
            case "event":
                self.n_loose += 1

    def _in_section(self, name: str, attributes: dict[str, str]) -> None:
        kind, key, value = KINDS.get(name), attributes.get("key"), attributes.get("value", "")
        if self.is_in_trace:
            if name == "event":
                self.is_in_event = True
                self.table.begin_event()
            elif kind is not None and key is not None:
                self.table.add_to_trace(kind, key, value)
            else:
                self._other_attribute(name, attributes)
        elif self.declared is not None and kind is not None and key is not None:
            self.declared.declare(kind, key, value)

    def _other_attribute(self, name: str, attributes: dict[str, str]) -> None:
        """Count a list or container; other attributes have a key."""
        if name in KINDS:
            raise self.table.events.error(f"an attribute <{name}> has no key", "write its key, or remove it")
        self.left_out[f"{name} `{attributes.get('key', '')}`"] += 1
        self.collection_depth = self.depth

    def _refuse_doctype(self, *_: object) -> None:
        raise self.table.events.error(
            "the file has a document type declaration (<!DOCTYPE ...>), which may define entities of any size",
            "remove the declaration: XES has none",
        )

    def _not_whole(self, error: expat.ExpatError, *, is_at_end: bool) -> DataError:
        """Return the error for a file that is cut, or that is not XML."""
        if is_at_end and self.depth:
            return self.table.events.error(
                f"the log is cut: the file ends within it, after {self.table.n_events:,} events",
                "copy or download it again",
            )
        return self.table.events.error(
            f"the file is not valid XML: {expat.ErrorString(error.code)}",
            "write the log again" if self.depth else "give a log in the XES format",
            error.lineno,
        )


def _chunks(file: Path) -> Iterator[bytes]:
    """Yield the content of a file, unpacked where it is compressed.

    Raises:
        DataError: the file cannot be read, or its compressed data is cut or damaged.
    """
    try:
        with file.open("rb") as stored:
            is_compressed = stored.peek(2).startswith(b"\x1f\x8b")
            opened = gzip.GzipFile(fileobj=stored) if is_compressed else stored
            while chunk := opened.read(_CHUNK_BYTES):
                yield chunk
    except EOFError as error:
        raise DataError("the compressed file is cut", where=str(file), fix="copy or download it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"the compressed file is damaged: {error}", where=str(file), fix="copy or download it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot read the file: {error.strerror or error}", where=str(file), fix="check its permissions"
        ) from error
