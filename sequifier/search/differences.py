"""What tells the runs of a search from each other: the columns of its table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sequifier.config.fields import COUNTED, FROM_METADATA
from sequifier.config.identity import plain
from sequifier.config.train import TrainConfig
from sequifier.results.run_files import read_document, value_at
from sequifier.search.space import Space


@dataclass(frozen=True)
class Differences:
    """Field name -> plain value, of the fields that differ.

    Attributes:
        now: for each run.
        before: for each earlier run; empty where its file is gone.
        documents: the files of the earlier runs; empty ones are gone.
    """

    now: list[dict[str, Any]]
    before: list[dict[str, Any]]
    documents: list[Mapping[str, Any]]


def differences(
    space: Space, configs: Sequence[TrainConfig], earlier: Sequence[Path], *, keep_equal: bool = False
) -> Differences:
    """The searched fields in which runs differ.

    Args:
        space: of the search.
        configs: of its runs.
        earlier: run files of runs that it does not ask for any more; what was fixed may have been another value then.
        keep_equal: searched fields in which runs do not differ too.
    """
    keys = searched_keys(space)
    searched = frozenset(keys)
    documents = [read_document(path) for path in earlier]
    there = [document for document in documents if document]
    fixed_keys = [key for key in space.fixed if key not in FROM_METADATA]
    fixed = values_of(configs[0], fixed_keys) if configs else {}
    keys += [
        key
        for key in fixed_keys
        if any(
            value_at(document, key, fixed.get(key)) != fixed.get(key, value_at(there[0], key, None))
            for document in there
        )
    ]
    now = [values_of(config, keys) for config in configs]
    before = [{key: value_at(document, key, None) for key in keys} if document else {} for document in documents]
    every = [*now, *(values for values in before if values)]
    differing = [
        key for key in keys if (keep_equal and key in searched) or len({repr(values[key]) for values in every}) > 1
    ]
    return Differences(
        [{field_of(key): values[key] for key in differing} for values in now],
        [{field_of(key): values[key] for key in differing if key in values} for values in before],
        documents,
    )


def same_values(
    space: Space, documents: Sequence[Mapping[str, Any]], configs: Sequence[TrainConfig]
) -> Iterator[tuple[int, int, dict[str, tuple[Any, Any]]]]:
    """Earlier runs that come again: with the same searched values, but other settings.

    Args:
        space: of the search.
        documents: run files of the earlier runs; empty ones are passed over.
        configs: of the new runs.

    Yields:
        The index of an earlier run, that of a new one, and dotted key -> (value then, value now) of what differs.
    """
    if not any(documents):
        return
    keys = searched_keys(space)
    waiting: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        waiting.setdefault(repr([*values_of(config, keys).values()]), []).append(index)
    for index, document in enumerate(documents):
        same = waiting.get(repr([value_at(document, key, None) for key in keys])) if document else None
        if same:
            now = same.pop(0)
            yield index, now, counted_settings(document, configs[now])


def searched_keys(space: Space) -> list[str]:
    """The dotted keys that a search varies."""
    return [key for dimension in space.dimensions for key in dimension.keys if key not in FROM_METADATA]


def counted_settings(document: Mapping[str, Any], config: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """What differs, of what counts in the identity of a run: dotted key -> (value in the file, planned value).

    Args:
        document: a run file; what it does not say is as planned.
        config: of the planned run.
    """
    values = values_of(config, COUNTED)
    return {key: (before, now) for key, now in values.items() if (before := value_at(document, key, now)) != now}


def field_of(key: str) -> str:
    """The field of a dotted key; no two searchable fields have the same name."""
    return key.rpartition(".")[2]


def values_of(config: TrainConfig, keys: Sequence[str]) -> dict[str, Any]:
    """What a run says at these dotted keys, as plain values."""
    values = {}
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        values[key] = plain(value)
    return values
