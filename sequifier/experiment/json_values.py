"""Values as JSON: which ones can be stored, and how."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import date, time, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any

_PLAIN = (float, int, str, bool, type(None))


def json_text(value: Any, *, default: Callable[[Any], Any] | None = None, **options: Any) -> str:
    """Return a value as JSON. NaN and infinity, which JSON lacks, become null, also within arrays.

    Args:
        value: a value that JSON can represent.
        default: converts values that JSON does not know; `as_json` by default.
        options: as for `json.dumps`.

    Raises:
        TypeError, ValueError: JSON cannot represent the value.
    """
    default = default or as_json
    try:
        return json.dumps(value, default=default, allow_nan=False, **options)
    except ValueError:
        plain = json.loads(json.dumps(value, default=default), parse_constant=lambda _: None)
        return json.dumps(plain, **options)


def check_storable(name: str, value: Any) -> None:
    """Check that JSON can represent a value, now rather than at the end of a long run.

    Raises:
        TypeError: it cannot, and the name does not begin with _, which would keep the value in memory.
    """
    if type(value) in _PLAIN or name.startswith("_"):
        return
    try:
        json.dumps(value, default=as_json)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name!r}: {error}; write it to a file (`e.open`, `e.commit_raw`), or keep it in memory under a name "
            "that begins with _"
        ) from None


def as_json(value: Any) -> Any:
    """Convert a value that JSON does not know: numbers and arrays of numpy and torch, paths, times, sets.

    Raises:
        TypeError: JSON cannot represent the value.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    # Arrays and scalars of numpy and torch. `range` and views of dicts are not results.
    to_list = getattr(value, "tolist", None)
    if callable(to_list) and not isinstance(value, type):
        return to_list()
    raise TypeError(f"JSON cannot represent a value of type {type(value).__name__}")


def as_json_or_text(value: Any) -> Any:
    """Convert as `as_json`, or return the `repr` of a value that was not checked, so that the rest can be written."""
    try:
        return as_json(value)
    except TypeError:
        return repr(value)


def storable(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that JSON can represent, and the `repr` of the others."""
    found = {}
    for name, value in given.items():
        try:
            json.dumps(value, default=as_json)
        except (TypeError, ValueError, RecursionError):
            value = repr(value)
        found[name] = value
    return found
