"""Files that define experiments: Python files, imported afresh, and YAML files that extend one."""

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from sequifier.errors import ConfigError, Problem, RunError, did_you_mean
from sequifier.experiment.parameters import fitted

_importing: list[Path] = []


def folder_path(file: str | Path) -> Path:
    """Return the absolute folder of a file: `base_path=folder_path(__file__)`."""
    return Path(file).absolute().parent


def file_namespace(file: str | Path, prefix: str = "results") -> str:
    """Return `results/NAME` for a file NAME.py: `namespace=file_namespace(__file__)`."""
    return f"{prefix}/{Path(file).stem}"


def import_file(path: Path) -> ModuleType:
    """Run a Python file as a new module, named after the file.

    Raises:
        RunError: the file does not exist, or it imports itself.
    """
    path = path.absolute()
    if not path.is_file():
        raise RunError("the experiment does not exist", where=str(path), fix="name a Python file")
    if path in _importing:
        raise RunError(f"{path.name} extends itself", where=" -> ".join(str(each) for each in [*_importing, path]))
    name = next(name for name in _names(path.stem) if name not in sys.modules and name not in sys.stdlib_module_names)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RunError("the file is not a Python file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # classes in it can be pickled
    _importing.append(path)
    try:
        with importable([path.parent]):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        _importing.pop()
    return module


def find_file(name: str | Path, beside: str | Path | None) -> Path:
    """Find an experiment that another one names: beside that one, else below the working folder.

    Raises:
        RunError: it is in neither place.
    """
    path = Path(name)
    places = [path] if path.is_absolute() else [*([folder_path(beside) / path] if beside else []), path.absolute()]
    for place in places:
        if place.is_file():
            return place
    raise RunError(f"the experiment {name} does not exist", where=" and ".join(dict.fromkeys(map(str, places))))


@contextmanager
def importable(folders: Iterable[Path]) -> Iterator[None]:
    """Put the folders of experiments first on the import path, as Python does for a script."""
    added = [str(folder) for folder in folders if str(folder) not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for place in added:
            if place in sys.path:
                sys.path.remove(place)


def _names(stem: str) -> Iterator[str]:
    yield stem
    for number in count(2):
        yield f"{stem}__{number}"


_KEYS = {"extend": str, "parameters": dict, "base_path": str, "namespace": str, "description": str}


@dataclass(frozen=True)
class ExperimentConfig:
    """The content of a YAML file.

    Attributes:
        path: the file.
        extend: the file of the experiment to run.
        parameters: name -> value.
        base_path: the folder of results, below the file's folder.
        namespace: None for a namespace from the file's name.
        description: None for the description of the experiment.
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
        """Return the parameters, converted to their types; see `fitted`."""
        return fitted(
            self.parameters,
            known,
            kinds,
            where=str(self.path),
            prefix="parameters.",
            place=lambda name: f"{self.path}:{self.lines.get(('parameters', name), 1)}",
        )


def from_config(path: Path) -> ExperimentConfig:
    """Read a YAML file.

    Raises:
        ConfigError: lists everything that is wrong in the file.
    """
    from sequifier.config.loading.yaml12 import parse_file

    document = parse_file(path)
    given = document.values if document.values is not None else {}
    if not isinstance(given, dict):
        raise ConfigError([Problem("", "expected a map of keys", str(path))])
    problems = []
    for key, value in given.items():
        place = f"{path}:{document.lines.get((key,), 1)}"
        if key not in _KEYS:
            problems.append(Problem(key, "the key does not exist", place, did_you_mean(key, _KEYS)))
        elif value is not None and not isinstance(value, _KEYS[key]):
            kind = "a map" if _KEYS[key] is dict else "a string"
            problems.append(Problem(key, f"{value!r} is not {kind}", place))
    if not given.get("extend"):
        problems.append(Problem("extend", "is missing", str(path), fix="name the Python file of an experiment"))
    if problems:
        raise ConfigError(problems, where=str(path))
    fields = {key: value for key, value in given.items() if value is not None}
    return ExperimentConfig(path=path, **{"parameters": {}, **fields}, lines=document.lines)
