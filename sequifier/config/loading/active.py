"""The values of a config that differ from the defaults: in a line of a log, and as a hash."""

import hashlib
import json
from collections.abc import Iterator, Set
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sequifier.config.base import KeyPath, Named, field_about
from sequifier.config.dump import inline
from sequifier.config.fields import COUNTED, run_fields
from sequifier.config.identity import identity, plain
from sequifier.config.loading.yaml12 import dotted
from sequifier.config.train import TrainConfig

LINE = 100
"""Characters of a log line."""


def leaves(config: BaseModel, path: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo, Any]]:
    """Every field of a config and its sections: path, field, plain value. Free maps and named classes are one value."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel) and not isinstance(value, Named) and not _is_range(value):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), field, plain(value)


def default_of(config: BaseModel, path: KeyPath) -> Any:
    """The plain default of a field beside the others' values; `...` where it is mandatory."""
    here: Any = config
    for part in path[:-1]:
        here = getattr(here, str(part))
    field = type(here).model_fields[str(path[-1])]
    if field.is_required():
        return ...
    validated = {name: getattr(here, name) for name in type(here).model_fields}
    return plain(field.get_default(call_default_factory=True, validated_data=validated))


def active_values(config: BaseModel) -> dict[str, Any]:
    """Dotted key -> plain value of each field that has an effect and is not at its default."""
    return {
        dotted(path): value
        for path, field, value in leaves(config)
        if not field_about(field).get("unused") and value != default_of(config, path)
    }


def config_hash(config: BaseModel, fingerprint: str = "") -> str:
    """64 hexadecimal digits: of a run its identity, of any other config those of its active values.

    Args:
        config: a run's is resolved.
        fingerprint: of the data of a run.
    """
    if isinstance(config, TrainConfig):
        return identity(config, fingerprint)
    text = json.dumps(active_values(config), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def log_line(config: BaseModel) -> str:
    """Config hash and active values in a line of a terminal, for the start of a command that leaves no run."""
    return f"config {config_hash(config)[:16]}, {_non_default(config, but={'project_root'}, room=LINE - 25)}"


def active_line(config: BaseModel) -> str:
    """All active values in a line of a log file."""
    return "active values: " + ", ".join(f"{key} {inline(value)}" for key, value in active_values(config).items())


def run_line(config: TrainConfig) -> str:
    """The active values of a run, without names, paths and what the metadata has, in a line of a terminal."""
    names_and_paths = {field.key for field in run_fields() if not field.section} - {*COUNTED}
    return _non_default(config, but=names_and_paths, room=LINE)


def _non_default(config: BaseModel, *, but: Set[str], room: int) -> str:
    """The settings that differ from the defaults: the first whole ones that fit; `active_line` has all."""
    differing = {
        key: value
        for key, value in active_values(config).items()
        if key not in but and default_of(config, tuple(key.split("."))) is not ...
    }
    if not differing:
        return "all optional fields have their defaults"
    shown: list[str] = []
    for key, value in differing.items():
        text = f"{key.rpartition('.')[2]} {inline(value)}"
        if len(", ".join([*shown, text])) <= room - len("non-default settings: , and 99 more"):
            shown.append(text)
    if not shown:  # no value is short enough
        shown = [next(iter(differing)).rpartition(".")[2]]
    rest = f", and {len(differing) - len(shown)} more" if len(shown) < len(differing) else ""
    return f"non-default settings: {', '.join(shown)}{rest}"


def _is_range(value: BaseModel) -> bool:
    return "low" in type(value).model_fields
