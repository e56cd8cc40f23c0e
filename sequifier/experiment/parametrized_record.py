"""A record whose parameters are the uppercase variables of modules, set in code or on the command line."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sequifier.errors import did_you_mean
from sequifier.experiment.cache import ExperimentCache
from sequifier.experiment.command_line import ArgumentParser
from sequifier.experiment.description import about_parameters, description
from sequifier.experiment.folder import CACHE
from sequifier.experiment.json_values import storable
from sequifier.experiment.parameters import SPECIAL, Parameters, Variables, fitted, special
from sequifier.experiment.record import Echo, Record

DEBUG_FOLDER = "debug"


class ParametrizedRecord(Record):
    """The part of an `Experiment` that has parameters, and a cache that depends on the special ones."""

    def __init__(
        self,
        base_path: str | Path,
        namespace: str,
        glob: Variables | None,
        debug: bool,
        parameters: Mapping[str, Any],
        *,
        echo: Echo,
    ) -> None:
        super().__init__(echo=echo)
        self.base_path = Path(base_path).absolute()  # the experiment may change the working folder
        self.namespace = str(namespace)
        self.parameters = Parameters({**(special() if glob is not None else {}), **parameters})
        if debug:
            self.debug = True
        self._defines: list[str] = []
        self.cache = ExperimentCache(self._cache_folder(), self)
        if glob is not None:
            self._add_module(glob)

    def __getattr__(self, name: str) -> Any:
        if not name.isupper():
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return self.parameters.find(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.isupper():
            super().__setattr__(name, value)
            return
        self.parameters[name] = value
        self.update_parameters_special()
        if self.is_running:
            self._save_parameters()

    @property
    def debug(self) -> bool:
        """Whether `__DEBUG__` is set."""
        return bool(self.parameters.get("__DEBUG__", False))

    @debug.setter
    def debug(self, value: bool) -> None:
        self.parameters["__DEBUG__"] = bool(value)

    def update_parameters_special(self) -> None:
        """Apply `__DEBUG__` and `__CACHING__`; an assignment to `e.__DEBUG__` applies it by itself."""
        self.cache.set_enabled(self.parameters.get("__CACHING__", True))
        self.cache.path = self._cache_folder()

    def set_parameters(self, given: Mapping[str, Any]) -> None:
        """Set existing parameters to values of their types, as the command line does.

        Raises:
            ConfigError: lists all parameters that do not exist and all values that do not fit; nothing is set then.
        """
        self.parameters.update(fitted(given, self.parameters, self._kinds(), where="the parameters"))
        self.update_parameters_special()

    def log_parameters(self, names: Iterable[str] | None = None) -> None:
        """Log parameters with their types: all of the module, or those named.

        Raises:
            KeyError: a parameter does not exist.
        """
        shown = [name for name, value in self.parameters.items() if name not in SPECIAL or value != SPECIAL[name][0]]
        about = about_parameters(self._modules)
        for name in shown if names is None else names:
            if name not in self.parameters:
                raise KeyError(f"there is no parameter `{name}`; {did_you_mean(name, self.parameters)}")
            kind = about[name].type if name in about else ""
            self.log(f"{name}{f' ({kind})' if kind else ''}: {self.parameters[name]!r}")

    @property
    def arg_parser(self) -> ArgumentParser:
        """The command line: `arg_parser.parse(["--EPOCHS", "5"])` sets parameters, typed by their annotations."""
        self.parameters.refresh()
        return ArgumentParser(
            self.parameters,
            about_parameters(self._modules),
            self._defines,
            description=description(self._modules),
            program=Path(sys.argv[0]).name,
        )

    # Inside

    @property
    def _modules(self) -> list[Variables]:
        return self.parameters.modules

    def _add_module(self, module: Variables) -> None:
        self.parameters.add(module)
        self.update_parameters_special()
        module["__experiment__"] = self

    def _kinds(self) -> dict[str, Any]:
        """Return the annotation of each parameter, None for one without."""
        return {name: about.kind for name, about in about_parameters(self._modules).items()}

    def _cache_folder(self) -> Path:
        parent = self.base_path / self.namespace
        return (parent / DEBUG_FOLDER if self.debug else parent) / CACHE

    def _save_parameters(self) -> None:
        self.metadata["parameters"] = self._storable_parameters()
        self.save_metadata()

    def _storable_parameters(self) -> dict[str, Any]:
        """Return the parameters, with the `repr` of those that JSON cannot represent."""
        return storable(self.parameters) if self._modules else dict(self.parameters)
