"""Reading a file that another stage wrote: any failure is one error with the file and a fix.

A file may be missing, a folder, a pipe without a writer, truncated, edited, overwritten with anything, or nested so
deeply that a parser runs out of stack; no list of exceptions covers all of this. Each reader therefore works inside
`wrap_read_errors`, and reads bytes with `regular_file.read_bytes` and JSON with the functions here.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sequifier.errors import DataError, SequifierError
from sequifier.regular_file import read_bytes
from sequifier.stall import working_on


@contextmanager
def wrap_read_errors(what: str, path: Path, *, fix: str, error: type[SequifierError] = DataError) -> Iterator[None]:
    """Turn any exception into one error for the user; a `SequifierError` is not changed.

    Args:
        what: the file in a few words: `the metadata`.
        path: the file.
        fix: how to fix it.
        error: class of the error.

    Raises:
        SequifierError: an instance of `error`.
    """
    try:
        with working_on(f"reading {path}"):
            yield
    except SequifierError:
        raise
    except Exception as reason:
        raise error(f"cannot read {what}: {reason_of(reason)}", where=str(path), fix=fix) from reason
    except BaseException as reason:
        if type(reason).__name__ != "PanicException":  # of the Rust code of polars, a BaseException
            raise
        raise error(f"cannot read {what}: {reason_of(reason)}", where=str(path), fix=fix) from reason


def reason_of(error: BaseException) -> str:
    """Return an exception in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "it needs more memory than is available"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class NestingError(ValueError):
    """A text is nested more deeply than any file of Sequifier."""


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON, or a NestingError; never another exception.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise NestingError("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error


def read_json(what: str, path: Path, *, fix: str, error: type[SequifierError] = DataError) -> Any:
    """Return the value of a JSON file; see `wrap_read_errors`.

    Raises:
        SequifierError: an instance of `error`.
    """
    with wrap_read_errors(what, path, fix=fix, error=error):
        return parse_json(read_bytes(path))


def read_object(what: str, path: Path, *, fix: str, error: type[SequifierError] = DataError) -> dict[str, Any]:
    """Return the object in a JSON file; see `wrap_read_errors`.

    Raises:
        SequifierError: an instance of `error`; also where the value is not an object.
    """
    content = read_json(what, path, fix=fix, error=error)
    if not isinstance(content, dict):
        raise error(f"cannot read {what}: it is a JSON {type_name(content)}, not an object", where=str(path), fix=fix)
    return content


def object_or_none(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None where the file is missing or damaged."""
    try:
        return read_object("the file", path, fix="")
    except SequifierError:
        return None


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in a file of JSON lines; damaged lines and a missing file are ignored."""
    try:
        lines = read_bytes(path).splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = parse_json(line)
        except ValueError:
            continue  # also for a line that is being written
        if isinstance(entry, dict):
            yield entry


def type_name(value: Any) -> str:
    """Return the JSON name of a value's type."""
    names: dict[type, str] = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
