"""What tells the runs of a search from each other: the columns of its table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sequifier.config.identity import plain
from sequifier.config.train import TrainConfig
from sequifier.config.yaml12 import parse_file
from sequifier.errors import ConfigError
from sequifier.search.expand import FROM_METADATA
from sequifier.search.space import Space


def differences(
    space: Space, configs: Sequence[TrainConfig], earlier: Sequence[Path]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The searched fields in which runs differ.

    Args:
        space: of the search.
        configs: of its runs.
        earlier: run files of runs that it does not ask for any more; what was fixed may have been another value then.

    Returns:
        Field name -> plain value, for each config and for each earlier run (empty where its file is gone).
    """
    keys = [key for dimension in space.dimensions for key in dimension.keys if key not in FROM_METADATA]
    documents = [_document(path) for path in earlier]
    if configs:
        fixed = _values(configs[0], [key for key in space.fixed if key not in FROM_METADATA])
        keys += [
            key
            for key, value in fixed.items()
            if any(document and _at(document, key, value) != value for document in documents)
        ]
    now = [_values(config, keys) for config in configs]
    before = [{key: _at(document, key, None) for key in keys} if document else {} for document in documents]
    every = [*now, *(values for values in before if values)]
    differing = [key for key in keys if len({repr(values[key]) for values in every}) > 1]
    return (
        [{field_of(key): values[key] for key in differing} for values in now],
        [{field_of(key): values[key] for key in differing if key in values} for values in before],
    )


def field_of(key: str) -> str:
    """The field of a dotted key; no two searchable fields have the same name."""
    return key.rpartition(".")[2]


def _values(config: TrainConfig, keys: Sequence[str]) -> dict[str, Any]:
    values = {}
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        values[key] = plain(value)
    return values


def _document(path: Path) -> Mapping[str, Any]:
    """A run file as plain values; empty when it is gone or unreadable, since it only serves to describe the run."""
    try:
        values = parse_file(path).values
    except ConfigError:
        return {}
    return values if isinstance(values, Mapping) else {}


def _at(document: Mapping[str, Any], key: str, default: Any) -> Any:
    here: Any = document
    for part in key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return default
        here = here[part]
    return here
