"""Experiments and the records of their runs, see docs/experiments.md. A name is imported at its first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sequifier.experiment.cache import CacheBackend as CacheBackend
    from sequifier.experiment.cache import ExperimentCache as ExperimentCache
    from sequifier.experiment.experiment import Experiment as Experiment
    from sequifier.experiment.experiment import get_experiment as get_experiment
    from sequifier.experiment.experiment import run_experiment as run_experiment
    from sequifier.experiment.files import file_namespace as file_namespace
    from sequifier.experiment.files import folder_path as folder_path
    from sequifier.experiment.folder import random_string as random_string

_HOME = {
    "CacheBackend": "cache",
    "Experiment": "experiment",
    "ExperimentCache": "cache",
    "file_namespace": "files",
    "folder_path": "files",
    "get_experiment": "experiment",
    "random_string": "folder",
    "run_experiment": "experiment",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
