"""Experiments and the records of their runs; see docs/experiments.md. Each name is imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sequifier.experiment.cache import CacheBackend as CacheBackend
    from sequifier.experiment.cache import ExperimentCache as ExperimentCache
    from sequifier.experiment.experiment import Experiment as Experiment
    from sequifier.experiment.folder import random_string as random_string
    from sequifier.experiment.modules import file_namespace as file_namespace
    from sequifier.experiment.modules import folder_path as folder_path
    from sequifier.experiment.modules import get_experiment as get_experiment
    from sequifier.experiment.modules import run_experiment as run_experiment

_HOME = {
    "CacheBackend": "cache",
    "Experiment": "experiment",
    "ExperimentCache": "cache",
    "file_namespace": "modules",
    "folder_path": "modules",
    "get_experiment": "modules",
    "random_string": "folder",
    "run_experiment": "modules",
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
