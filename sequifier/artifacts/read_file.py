"""One way of reading a file that another stage wrote: whatever is wrong with it is one error with file and fix.

A file can be missing, a folder, a pipe that nobody writes to, cut off, edited, overwritten with anything at all, or
nested so deeply that a parser runs out of stack; no list of exceptions covers that. So every reader does its work
inside `reading`, and reads bytes with `regular_file.read_bytes` and JSON with the functions here.
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
    """Turn any exception into one error for the user; a `SequifierError` passes as it is.

    Args:
        what: the file in a few words: `the metadata`.
        path: the file.
        fix: what to do about it.
        error: the kind of the error.

    Raises:
        SequifierError: of kind `error`.
    """
    try:
        with working_on(f"reading {path}"):
            yield
    except SequifierError:
        raise
    except Exception as reason:
        raise error(f"cannot read {what}: {reason_of(reason)}", where=str(path), fix=fix) from reason
    except BaseException as reason:
        if type(reason).__name__ != "PanicException":  # of polars' Rust code, which derives it from BaseException
            raise
        raise error(f"cannot read {what}: {reason_of(reason)}", where=str(path), fix=fix) from reason


def reason_of(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class NestingError(ValueError):
    """A text is nested more deeply than anything that is written here."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text from elsewhere.

    Raises:
        ValueError: it is not JSON, or a NestingError; never another exception.
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
    """The value of a JSON file; see `reading`.

    Raises:
        SequifierError: of kind `error`.
    """
    with wrap_read_errors(what, path, fix=fix, error=error):
        return parse_json(read_bytes(path))


def read_object(what: str, path: Path, *, fix: str, error: type[SequifierError] = DataError) -> dict[str, Any]:
    """The object in a JSON file; see `reading`.

    Raises:
        SequifierError: of kind `error`; also where the file has another type of value.
    """
    content = read_json(what, path, fix=fix, error=error)
    if not isinstance(content, dict):
        raise error(f"cannot read {what}: it is a JSON {type_name(content)}, not an object", where=str(path), fix=fix)
    return content


def object_or_none(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file that can be computed anew or done without; None where there is none."""
    try:
        return read_object("the file", path, fix="")
    except SequifierError:
        return None


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file of JSON lines that can be done without; damaged lines are left out."""
    try:
        lines = read_bytes(path).splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = parse_json(line)
        except ValueError:
            continue  # also a line that is being written
        if isinstance(entry, dict):
            yield entry


def type_name(value: Any) -> str:
    """What JSON calls a value's type."""
    names: dict[type, str] = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
