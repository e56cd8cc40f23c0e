"""The YAML file of an experiment: which one it extends, with which parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.experiment.given import fitted

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
        """The parameters, by their types.

        Args:
            known: the experiment's parameters.
            kinds: parameter -> its annotation, where it has one.

        Raises:
            ConfigError: parameters that do not exist and values that do not fit, all at once.
        """
        return fitted(
            self.parameters,
            known,
            kinds,
            where=str(self.path),
            prefix="parameters.",
            place=lambda name: f"{self.path}:{self.lines.get(('parameters', name), 1)}",
        )


def from_config(path: Path) -> ExperimentConfig:
    """Read the file.

    Raises:
        ConfigError: everything that is wrong in it.
    """
    from sequifier.config.loading.yaml12 import parse_file

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
