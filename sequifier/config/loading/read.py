"""A config file as raw values with their places, over the files that it inherits from."""

import shlex
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sequifier.config.loading.merged import Merged
from sequifier.config.loading.problems import shown
from sequifier.config.loading.written_names import in_file
from sequifier.config.loading.yaml12 import parse_file
from sequifier.errors import ConfigError, Problem, did_you_mean, nearest


def read_values(path: Path) -> dict[str, Any]:
    """The keys of a file and of the files it inherits from, as written; nothing is validated.

    Raises:
        ConfigError: the file does not exist, or is not YAML.
    """
    return read_file(path, BaseModel, seen=()).values


def section_names(path: Path) -> list[str]:
    """The names under `sections:` in a file and in the files it inherits from.

    Raises:
        ConfigError: the file does not exist, or is not YAML.
    """
    sections = read_values(path).get("sections")
    return list(sections) if isinstance(sections, dict) else []


def section_problems(merged: Merged, sections: Any) -> list[Problem]:
    """Problems of `sections:` when none of them is used."""
    if sections is None:
        return []
    what = "should be `key: value` lines, got"
    if not isinstance(sections, dict):
        return [Problem("sections", f"{what} {shown(sections)}", merged.source(("sections",)))]
    return [
        Problem(f"sections.{name}", f"{what} {shown(values)}", merged.source(("sections", name)))
        for name, values in sections.items()
        if not isinstance(values, dict | None)
    ]


def read_section(merged: Merged, sections: Any, name: str, path: Path) -> Merged:
    """The keys of one entry of `sections:`."""
    place = merged.source(("sections",)) or str(path)
    if not isinstance(sections, dict) or name not in sections:
        known = sections if isinstance(sections, dict) else {}
        fix = did_you_mean(name, known) if known else "write `sections:` with a map of names to keys"
        raise ConfigError([Problem("sections", f"there is no section `{name}`", place, fix)])
    values = {} if sections[name] is None else sections[name]
    if not isinstance(values, dict):
        place, key = merged.source(("sections", name)), f"sections.{name}"
        raise ConfigError([Problem(key, f"expected `key: value` lines, found {shown(values)}", place)])
    sources = {
        known[2:]: f"{text} (section {name})"
        for known, text in merged.sources.items()
        if known[:2] == ("sections", name)
    }
    own = f"sections.{name}."
    written = {key.removeprefix(own): text for key, text in merged.written.items() if key.startswith(own)}
    return Merged(values, sources, written)


def _elsewhere(path: Path) -> str:
    """The fix for a missing config in a folder without any: the project may be a folder further up or down."""
    if not path.is_absolute():
        for folder in (Path(".."), Path("../.."), *sorted(place for place in Path().iterdir() if place.is_dir())):
            if (folder / path).is_file():
                return f"run this in the folder of the project: cd {shlex.quote(str(folder))}"
    return "give --config-path, or begin with `sequifier make`"


def read_file(path: Path, model: type[BaseModel], seen: tuple[Path, ...]) -> Merged:
    """The values of a file, merged into those of the files it inherits from."""
    if not path.exists():
        others = sorted(str(other) for other in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise ConfigError(
            [
                Problem(
                    "",
                    "there is no such config file",
                    str(path),
                    did_you_mean(str(path), others) if others else _elsewhere(path),
                )
            ]
        )
    document = parse_file(path)
    values = {} if document.values is None else document.values
    if not isinstance(values, dict):
        raise ConfigError([Problem("", f"expected `key: value` lines, found {type(values).__name__}", str(path))])
    values = in_file(values, document.texts, model)
    own = Merged(values, {known: f"{path}:{line}" for known, line in document.lines.items() if known})
    own.use_names_of_today(model)
    if "base_config_path" not in values or "base_config_path" in model.model_fields:
        return own
    place = own.source(("base_config_path",))
    given = values.pop("base_config_path")
    if given is None:
        return own
    inherited = read_base(given, path, model, place=place, seen=seen)
    inherited.merge(own)
    return inherited


def read_base(given: Any, path: Path, model: type[BaseModel], *, place: str, seen: tuple[Path, ...] = ()) -> Merged:
    """The values of the file that a `base_config_path` names, merged into those of the files it inherits from.

    Args:
        given: the path as written, relative to the working folder or to the folder of the file.
        path: the file that names it.
        model: of the named file.
        place: where it is named.
        seen: the files that inherit from this one.
    """
    if not isinstance(given, str):
        raise ConfigError([Problem("base_config_path", f"should be one path, got {shown(given)}", place)])
    base = Path(given).expanduser()
    candidates = [base, path.parent / base]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        looked = " and ".join(dict.fromkeys(str(candidate) for candidate in candidates))
        others = [other.name for folder in candidates for other in folder.parent.glob("*.y*ml") if other != path]
        fix = did_you_mean(base.name, sorted(set(others))) if nearest(base.name, others) else ""
        raise ConfigError([Problem("base_config_path", f"no such file; looked for {looked}", place, fix)])
    if found.resolve() in (*seen, path.resolve()):
        message = f"{given} inherits from this file: they inherit from each other"
        raise ConfigError([Problem("base_config_path", message, place, "leave base_config_path out of one of them")])
    return read_file(found, model, (*seen, path.resolve()))
