"""The YAML file of an experiment: which one it extends, with which parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.experiment.convert import convert, is_known

_KEYS = {"extend": str, "parameters": dict, "base_path": str, "namespace": str, "description": str}


@dataclass(frozen=True)
class ExperimentConfig:
    """What such a file says.

    Attributes:
        path: the file.
        extend: file of the experiment that runs.
        parameters: name -> value.
        base_path: where results lie, below the file's folder.
        namespace: None for that of the file's name.
        description: None for that of the experiment.
        lines: path of keys -> line.
    """

    path: Path
    extend: str
    parameters: dict[str, Any]
    base_path: str = "."
    namespace: str | None = None
    description: str | None = None
    lines: Mapping[Any, int] = field(default_factory=dict)

    def values(self, known: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, text converted by their types.

        Args:
            known: the experiment's parameters.
            kinds: parameter -> its annotation, where it has one.

        Raises:
            ConfigError: parameters that do not exist and values that do not fit, all at once.
        """
        problems = []
        found = {}
        for name, value in self.parameters.items():
            place = f"{self.path}:{self.lines.get(('parameters', name), 1)}"
            if name not in known:
                own = [each for each in known if not each.startswith("__")]
                fix = did_you_mean(name, own or known)
                problems.append(Problem(f"parameters.{name}", "there is no such parameter", place, fix))
                continue
            kind = kinds.get(name)
            if isinstance(value, str) and kind is not None and is_known(kind):
                try:
                    value = convert([value], kind)
                except ValueError as error:
                    problems.append(Problem(f"parameters.{name}", f"{value!r} does not fit: {error}", place))
            found[name] = value
        if problems:
            raise ConfigError(problems, where=str(self.path))
        return found


def from_config(path: Path) -> ExperimentConfig:
    """Read the file.

    Raises:
        ConfigError: everything that is wrong in it.
    """
    from sequifier.config.yaml12 import parse_file

    document = parse_file(path)
    given = document.values if document.values is not None else {}
    if not isinstance(given, dict):
        raise ConfigError([Problem("", "a map of keys is needed", str(path))])
    problems = []
    for key, value in given.items():
        place = f"{path}:{document.lines.get((key,), 1)}"
        if key not in _KEYS:
            problems.append(Problem(key, "there is no such key", place, did_you_mean(key, _KEYS)))
        elif value is not None and not isinstance(value, _KEYS[key]):
            kind = "a map" if _KEYS[key] is dict else "text"
            problems.append(Problem(key, f"{value!r} is not {kind}", place))
    if not given.get("extend"):
        problems.append(Problem("extend", "is missing", str(path), fix="name the Python file of an experiment"))
    if problems:
        raise ConfigError(problems, where=str(path))
    wanted = {key: value for key, value in given.items() if value is not None}
    return ExperimentConfig(path=path, **{"parameters": {}, **wanted}, lines=document.lines)
