"""Values from several files and the command line, merged, each with the place it comes from."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from sequifier.config.base import KeyPath
from sequifier.config.loading.old_names import Renamed, maps_in, renames
from sequifier.config.loading.yaml12 import dotted
from sequifier.errors import Problem


@dataclass
class Merged:
    """Raw values from all sources, and where each was written.

    Attributes:
        values: the values as parsed.
        sources: key -> file and line, or flag.
        written: key -> the key in the file, where that is another one.
        notes: for the user: what is accepted but should be written otherwise.
        problems: found while merging.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    notes: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def put(self, path: KeyPath, value: Any, source: str) -> None:
        """Set one key; missing maps on the way to it are created."""
        here = self.values
        for length, part in enumerate(path[:-1], start=1):
            if not isinstance(here.get(str(part)), dict):
                here[str(part)] = {}
                self.sources[path[:length]] = source
            here = here[str(part)]
        here[str(path[-1])] = value
        for known in [known for known in self.sources if known[: len(path)] == path]:
            del self.sources[known]
        self.sources[path] = source
        self.written.pop(dotted(path), None)

    def merge(self, other: "Merged", *, at: KeyPath = ()) -> None:
        """Merge another tree into this one: maps are merged key by key, everything else is replaced."""
        values: Any = other.values
        for part in at:
            values = values[part]
        for key, value in values.items():
            path = (*at, key)
            mine: Any = self.values
            for part in path:
                mine = mine.get(part) if isinstance(mine, dict) else None
            # Options belong to their class: those of another optimizer or scheduler are not inherited.
            other_class = isinstance(mine, dict) and isinstance(value, dict) and value.get("name") != mine.get("name")
            if isinstance(value, dict) and isinstance(mine, dict) and value and not other_class:
                self.merge(other, at=path)
                continue
            self.put(path, value, other.source(path))
            self.sources |= {known: text for known, text in other.sources.items() if known[: len(path)] == path}
        if not at:
            self.written |= other.written
            self.notes += other.notes
            self.problems += other.problems

    def use_names_of_today(self, model: type[BaseModel]) -> None:
        """Give every key the first name of its field, with a note for each name of an older version."""
        for path, values in list(maps_in(self.values)):
            for other, known in renames(model, path).items():
                if other in values:
                    self._rename(path, values, other, known)

    def _rename(self, path: KeyPath, values: dict[str, Any], other: str, known: Renamed) -> None:
        was, name, place = dotted((*path, other)), known.field, self.source((*path, other))
        if name in values:
            if known.is_old or values[name] != values[other]:
                message = f"is {'the old' if known.is_old else 'another'} name of `{name}`, which is given too"
                if not known.is_old:
                    message += f": {values[other]} here, {values[name]} there"
                self.problems.append(Problem(was, message, place, f"keep `{name}`"))
            del values[other]
            return
        if known.is_old:
            self.notes.append(Problem(was, f"is called `{name}` now", place, f"write `{name}`"))
        renamed = {name if key == other else key: value for key, value in values.items()}
        values.clear()
        values.update(renamed)
        length = len(path)
        self.sources = {
            (*path, name, *key[length + 1 :]) if key[: length + 1] == (*path, other) else key: text
            for key, text in self.sources.items()
        }
        self.written[dotted((*path, name))] = was

    def source(self, path: KeyPath) -> str:
        """The source of a key, or of the nearest one above it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.sources:
                return self.sources[path[:length]]
        return ""


NOT_GIVEN = object()


def value_at(values: Any, path: KeyPath) -> Any:
    """The value at a path, or `NOT_GIVEN`."""
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return NOT_GIVEN
        values = values[part]
    return values
