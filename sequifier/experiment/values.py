"""Values by slash names in nested dicts, and how JSON holds them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import date, time, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any

from sequifier.errors import did_you_mean

_PLAIN = (float, int, str, bool, type(None))


def look_up(data: Mapping[str, Any], name: str) -> Any:
    """The value or the group of a name like `metrics/train/loss`.

    Raises:
        KeyError: there is none; says the whole name and what there is.
    """
    here: Any = data
    for part in _parts(name):
        if not isinstance(here, Mapping) or part not in here:
            known = [str(key) for key in here] if isinstance(here, Mapping) else []
            raise KeyError(
                f"{name}: there is no `{part}`; {did_you_mean(part, known) if known else 'nothing is there'}"
            )
        here = here[part]
    return here


def assign(data: dict[str, Any], name: str, value: Any) -> None:
    """Put a value in its place; the groups on the way are made.

    Raises:
        ValueError: the name goes through something that is no group.
    """
    group, last = _group(data, name)
    group[last] = value


def append(data: dict[str, Any], name: str, value: Any) -> None:
    """Add a value to the series of a name.

    Raises:
        ValueError: the name is taken by a group or by something that is no series.
    """
    group, last = _group(data, name)
    series = group.setdefault(last, [])
    if not isinstance(series, list):
        raise ValueError(f"{name!r} is no series")
    series.append(value)


def json_text(value: Any, *, default: Callable[[Any], Any] | None = None, **options: Any) -> str:
    """A value as JSON. NaN and infinity, which JSON has not, are null, also within arrays.

    Args:
        value: JSON can hold it.
        default: for values that it does not know; `as_json` by default.
        options: as of `json.dumps`.

    Raises:
        TypeError, ValueError: JSON cannot hold it.
    """
    default = default or as_json
    try:
        return json.dumps(value, default=default, allow_nan=False, **options)
    except ValueError:
        plain = json.loads(json.dumps(value, default=default), parse_constant=lambda _: None)
        return json.dumps(plain, **options)


def check(name: str, value: Any) -> None:
    """Ask now whether JSON can hold a value, rather than when a long run ends.

    Raises:
        TypeError: it cannot, and the name does not begin with _, which stays in memory.
    """
    if type(value) in _PLAIN or name.startswith("_"):
        return
    try:
        json.dumps(value, default=as_json)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name!r}: {error}; keep it in a file (`e.open`, `e.commit_raw`), or in memory alone under a name that "
            "begins with _"
        ) from None


def as_json(value: Any) -> Any:
    """What JSON gets for a value that it does not know: numbers and arrays of numpy and torch, paths, times, sets.

    Raises:
        TypeError: there is nothing for it.
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
    # Arrays, and scalars of numpy and torch; `range` and views of dicts are no values of a result.
    to_list = getattr(value, "tolist", None)
    if callable(to_list) and not isinstance(value, type):
        return to_list()
    raise TypeError(f"JSON cannot hold a value of type {type(value).__name__}")


def as_json_or_text(value: Any) -> Any:
    """As `as_json`, and the text of a value that got into the data unasked: it must not cost what lies beside it."""
    try:
        return as_json(value)
    except TypeError:
        return repr(value)


def storable(given: Mapping[str, Any]) -> dict[str, Any]:
    """Each value that JSON can hold, and the text of the others."""
    found = {}
    for name, value in given.items():
        try:
            json.dumps(value, default=as_json)
        except (TypeError, ValueError, RecursionError):
            value = repr(value)
        found[name] = value
    return found


def _group(data: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    *groups, last = _parts(name)
    here: Any = data
    for group in groups:
        here = here.setdefault(group, {})
        if not isinstance(here, dict):
            raise ValueError(f"{name!r}: `{group}` is no group")
    return here, last


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if not all(parts):
        raise ValueError(f"{name!r} is no name: write `group/name`")
    return parts
