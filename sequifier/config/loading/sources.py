"""Every value of a loaded config with the place it comes from, for `sequifier config show`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sequifier.config.base import KeyPath, field_about
from sequifier.config.dump import inline
from sequifier.config.loading.active import leaves
from sequifier.config.loading.load import Loaded
from sequifier.config.loading.yaml12 import dotted

DEFAULT = "default"


@dataclass(frozen=True)
class Valued:
    """One value: its dotted key, how a config writes it, and where it comes from."""

    key: str
    value: str
    source: str


def values_with_sources(
    loaded: Loaded[Any], resolved: BaseModel | None = None, *, metadata: str = "the metadata"
) -> list[Valued]:
    """Every value that has an effect, in declared order.

    Args:
        loaded: the config.
        resolved: the same config with the values that the data decides; None where the data are not known.
        metadata: the source to name for those values.
    """
    rows: list[Valued] = []
    decided = {path: value for path, _, value in leaves(resolved)} if resolved is not None else {}
    for path, field, value in leaves(loaded.config):
        source = _source(loaded, path)
        if field_about(field).get("unused") and source == DEFAULT:
            continue
        if path in decided and decided[path] != value:
            rows.append(Valued(dotted(path), inline(decided[path]), metadata if source == DEFAULT else source))
        elif path == ("user",) and value:
            rows += [Valued(dotted(below), inline(at), _source(loaded, below)) for below, at in _flat(value, path)]
        else:
            rows.append(Valued(dotted(path), inline(value), source))
    return rows


def _source(loaded: Loaded[Any], path: KeyPath) -> str:
    """The place of a value; several places where its parts come from several."""
    merged = loaded.merged
    here: Any = merged.values
    for part in path:
        if not isinstance(here, Mapping) or part not in here:
            return DEFAULT
        here = here[part]
    places = [merged.source(path)]
    places += [text for known, text in merged.sources.items() if known[: len(path)] == path and len(known) > len(path)]
    if not isinstance(here, (Mapping, list)):
        places = places[:1]
    own = f"{loaded.path}:"
    named = [place if place.startswith((own, "-")) else f"base {place}" for place in places]
    distinct: dict[str, str] = {}  # the first line of each file and section is enough
    for place in named:
        distinct.setdefault(_without_line(place), place)
    return ", ".join(distinct.values())


def _without_line(place: str) -> str:
    file, colon, rest = place.rpartition(":")
    return file + rest.partition(" ")[2] if colon else place


def _flat(values: Mapping[str, Any], path: KeyPath) -> list[tuple[KeyPath, Any]]:
    flat: list[tuple[KeyPath, Any]] = []
    for key, value in values.items():
        flat += _flat(value, (*path, key)) if isinstance(value, Mapping) and value else [((*path, key), value)]
    return flat
