"""Experiments in files: found, imported afresh, and run from other code."""

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sequifier.errors import RunError

if TYPE_CHECKING:
    from sequifier.experiment.experiment import Experiment

_importing: list[Path] = []


def folder_path(file: str | Path) -> Path:
    """The absolute folder of a file: `base_path=folder_path(__file__)`."""
    return Path(file).absolute().parent


def file_namespace(file: str | Path, prefix: str = "results") -> str:
    """`results/NAME` for a file NAME.py: `namespace=file_namespace(__file__)`."""
    return f"{prefix}/{Path(file).stem}"


def get_experiment(path: str | Path) -> "Experiment":
    """The experiment that a file defines, without running it.

    Args:
        path: a Python file, or a YAML file as of `Experiment.from_config`.

    Raises:
        RunError: there is no such file, or no experiment in it.
    """
    from sequifier.experiment.experiment import Experiment

    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return Experiment.from_config(path)
    module = import_file(path)
    found = vars(module).get("__experiment__")
    if not isinstance(found, Experiment):
        raise RunError(
            f"{path.name} defines no experiment", where=str(path), fix="decorate a function with @Experiment(...)"
        )
    return found


def run_experiment(path: str | Path, parameters: Mapping[str, Any] | None = None) -> "Experiment":
    """Run the experiment that a file defines, whatever the command line of this process says.

    Args:
        path: a Python or YAML file.
        parameters: values for some of its parameters.

    Returns:
        The experiment, which has its folder and data now.

    Raises:
        ConfigError: parameters that do not exist and values that do not fit, all at once; then nothing is run.
    """
    experiment = get_experiment(path)
    experiment.set_parameters(parameters or {})
    experiment.run()
    return experiment


def import_file(path: Path) -> ModuleType:
    """Run a Python file as a module of its own; what it is imported from later finds it under its stem.

    Raises:
        RunError: there is no such file, or it imports itself.
    """
    path = path.absolute()
    if not path.is_file():
        raise RunError("there is no such experiment", where=str(path), fix="name a Python file")
    if path in _importing:
        raise RunError(f"{path.name} extends itself", where=" -> ".join(str(each) for each in [*_importing, path]))
    name = next(name for name in _names(path.stem) if name not in sys.modules and name not in sys.stdlib_module_names)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RunError("this is no Python file", where=str(path))
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
    """An experiment named by another one: beside that one, else under the working folder.

    Raises:
        RunError: it is in neither place; says both.
    """
    path = Path(name)
    places = [path] if path.is_absolute() else [*([folder_path(beside) / path] if beside else []), path.absolute()]
    for place in places:
        if place.is_file():
            return place
    raise RunError(f"there is no experiment {name}", where=" and ".join(dict.fromkeys(map(str, places))))


@contextmanager
def importable(folders: Iterable[Path]) -> Iterator[None]:
    """Let imports look into the folders of experiments first, as they do for a script that is started."""
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
