"""`Experiment`: a function, the parameters above it, and the record of each of its runs.

    EPOCHS: int = 100

    @Experiment(base_path=folder_path(__file__), namespace=file_namespace(__file__), glob=globals())
    def experiment(e: Experiment) -> None:
        for epoch in range(EPOCHS):
            e.track("metrics/loss", train_one_epoch())

    experiment.run_if_main()

Training runs, inference and searches are experiments too, without a module: they are given their parameters, and the
block of a `with` statement is what runs.
"""

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sequifier.errors import ConfigError, Problem, RunError, SequifierError, did_you_mean
from sequifier.experiment.cache import ExperimentCache
from sequifier.experiment.command_line import ArgumentParser
from sequifier.experiment.description import about_parameters, described, description, files_of
from sequifier.experiment.folder import CACHE
from sequifier.experiment.functions import Decorated, Functions, Hook
from sequifier.experiment.given import fitted
from sequifier.experiment.modules import file_namespace, find_file, folder_path, get_experiment, importable
from sequifier.experiment.parameters import SPECIAL, Parameters, Variables, special
from sequifier.experiment.record import DATA, META, Echo, Record, Status, read_record, show
from sequifier.experiment.signals import Terminated, ends_when_asked_to
from sequifier.experiment.values import storable

_DEBUG_FOLDER = "debug"


class Experiment(Functions, Record):
    """One experiment: `base_path/namespace/` holds a folder for each run, and the cache that its runs share.

    Args:
        base_path: where results of experiments lie.
        namespace: of this experiment, `results/NAME`.
        glob: `globals()` of its module, whose uppercase variables are its parameters. None for an experiment that is
            given its parameters.
        debug: begin with `__DEBUG__` switched on.
        parameters: values to begin with.
        kind: `experiment`, or which command writes the record.
        echo: gets each line that is logged, to show it; by default it is printed.
        latest: keep a link `latest` to the newest folder.

    Attributes:
        base_path: as given.
        namespace: as given.
        parameters: name -> value. With a module, a change is a change of its variables too; `e.NAME` is the same.
        cache: of results that are expensive to compute.
        func: the function that is run.
    """

    def __init__(
        self,
        base_path: str | Path,
        namespace: str,
        glob: Variables | None = None,
        debug: bool = False,
        *,
        parameters: Mapping[str, Any] | None = None,
        kind: str = "experiment",
        echo: Echo = show,
        latest: bool = False,
    ) -> None:
        Functions.__init__(self)
        Record.__init__(self, echo=echo)
        self.base_path = Path(base_path)
        self.namespace = str(namespace)
        self._modules: list[Variables] = []
        self._configs: list[Path] = []
        self.parameters = Parameters({**(special() if glob is not None else {}), **(parameters or {})})
        if debug:
            self.debug = True
        self._kind, self._latest = kind, latest
        self._defines: list[str] = []
        self._testing: Hook | None = None
        self._has_tested = False
        self.func: Callable[[Any], Any] | None = None
        self.cache = ExperimentCache(self._cache_folder(), self)
        if glob is not None:
            self._add_module(glob)

    # Parameters

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
        """Whether `__DEBUG__` is switched on."""
        return bool(self.parameters.get("__DEBUG__", False))

    @debug.setter
    def debug(self, value: bool) -> None:
        self.parameters["__DEBUG__"] = bool(value)

    def update_parameters_special(self) -> None:
        """Let `__DEBUG__` and `__CACHING__` take effect; assigning to them as `e.__DEBUG__` does it by itself."""
        self.cache.set_enabled(self.parameters.get("__CACHING__", True))
        self.cache.path = self._cache_folder()

    def set_parameters(self, given: Mapping[str, Any]) -> None:
        """Set parameters as the command line does: only those that there are, by their types.

        Raises:
            ConfigError: parameters that do not exist and values that do not fit, all at once; then nothing is set.
        """
        self.parameters.update(fitted(given, self.parameters, self._kinds(), where="the parameters"))
        self.update_parameters_special()

    def log_parameters(self, names: Iterable[str] | None = None) -> None:
        """Log parameters with their types: all of the module, or those named.

        Raises:
            KeyError: there is no parameter of such a name.
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

    # Functions

    def __call__(self, function: Callable[[Any], Any]) -> Self:
        """Decorate the function that is the experiment."""
        self.func = function
        return self

    def testing(self, function: Decorated) -> Decorated:
        """Decorate the function that makes a run short; it runs first when `__TESTING__` is true.

        A child's takes the place of its parent's. Inside of the experiment's function it is called at once, unless a
        child's was.
        """
        if not self.is_running:
            self._testing = function
        elif self.parameters.get("__TESTING__"):
            self._test(function)
        return function

    # Running

    def is_main(self) -> bool:
        """Whether the module is the program that was started."""
        return bool(self._modules) and self._modules[-1].get("__name__") == "__main__"

    def run_if_main(self) -> None:
        """Run when the module is the program that was started, with the parameters of its command line."""
        if not self.is_main():
            return
        if "__file__" not in self._modules[-1]:  # a notebook: the command line is that of its kernel
            self.run()
            return
        try:
            self.arg_parser.parse()
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        self.update_parameters_special()
        self.run()

    def run(self) -> None:
        """Run the function and the analyses, in a new folder.

        Raises:
            ValueError: no function was decorated.
            BaseException: what the function raised, after the record was closed with it.
        """
        if self.func is None:
            raise ValueError("the experiment has no function: decorate one with it")
        folders = [folder_path(module["__file__"]) for module in self._modules if module.get("__file__")]
        with importable(reversed(folders)), self._scope(), ends_when_asked_to(), self:
            self.log(f"{self.metadata['name']}: {self.path}")
            if self.parameters.get("__TESTING__"):
                self._test(self._testing)
            self.apply_hook("before_run")
            self.func(self)
            self.apply_hook("after_run")
            if self.parameters.get("__TESTING__") and not self._has_tested:
                self.log("warning: __TESTING__ changed nothing, there is no function under @experiment.testing")
            for analysis in self._analyses:
                analysis(self)
            self.log(f"done after {self.seconds():.1f} s: {self.path}")

    def start(self) -> None:
        """Make the folder; what was kept before the first run stays, later ones begin anew."""
        if self.is_running:
            raise ValueError("the experiment is running already")
        if self._folder is not None:
            self.data, self.error = {}, None
            if self.name == self._folder.name:
                self.name = None
        self._has_tested = False
        self.parameters.refresh()
        self.update_parameters_special()
        if self.debug:
            self.name = _DEBUG_FOLDER
        prefix = str(self.parameters.get("__PREFIX__", ""))
        if "/" in prefix or prefix.startswith("."):
            problem = Problem(
                "__PREFIX__", f"{prefix!r} cannot begin the name of a folder", fix="use letters and digits"
            )
            raise ConfigError([problem])
        self._open(
            self.base_path / self.namespace,
            self._first_metadata(),
            prefix=prefix,
            reuse=self.debug,
            latest=self._latest,
        )
        try:
            self.keep_code(files_of(self._modules, self._configs))
            self._keep_reproducible(first=True)
        except BaseException as error:
            self.finish("failed", error=f"{type(error).__name__}: {error}")
            raise

    def finish(self, status: Status, *, results: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        """Close the record, see `Record.finish`."""
        try:
            if self.is_running:
                self.metadata["parameters"] = self._storable_parameters()
                self._keep_reproducible(first=False)
        finally:
            super().finish(status, results=results, error=error)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the record with how the block ended, unless it was closed already."""
        if error is None:
            self.finish("done")
            return
        self.error = error
        if isinstance(error, SystemExit) and not error.code:
            self.finish("done")
            return
        is_interrupted = isinstance(error, KeyboardInterrupt | Terminated)
        status: Status = "interrupted" if is_interrupted else "failed"
        text = f"{kind.__name__}: {error}" if kind is not None else str(error)
        with suppress(OSError, RunError):  # the error is to be seen, not that the disk is full as well
            self.log(f"{status}: {text}", echo=False)
            if not is_interrupted and not isinstance(error, SequifierError):
                self.log("".join(traceback.format_exception(error)).rstrip(), echo=False)
            self.finish(status, error=text)

    # Other files

    @classmethod
    def extend(
        cls, experiment_path: str | Path, base_path: str | Path, namespace: str, glob: Variables
    ) -> "Experiment":
        """An experiment that does what another one does, with other parameters and hooks.

        Parameters are the uppercase variables of the child's module, assigned before or after this call; the parent's
        own variables get these values, so that its function sees them.

        Args:
            experiment_path: file of the parent, beside the child's file or under the working folder.
            base_path: of the child.
            namespace: of the child.
            glob: `globals()` of the child.

        Raises:
            RunError: there is no such file, no experiment in it, or it extends itself.
        """
        experiment = get_experiment(find_file(experiment_path, glob.get("__file__")))
        experiment.base_path, experiment.namespace = Path(base_path), str(namespace)
        experiment._add_module(glob)
        return experiment

    @classmethod
    def from_config(cls, path: str | Path) -> "Experiment":
        """An experiment that a YAML file describes: `extend: parent.py` and `parameters: {NAME: value}`.

        `base_path` (the file's folder), `namespace` (`results/NAME of the file`) and `description` may be given too.

        Raises:
            ConfigError: everything that is wrong in the file.
        """
        from sequifier.experiment.yaml_file import from_config

        path = Path(path)
        given = from_config(path)
        experiment = get_experiment(find_file(given.extend, path))
        experiment.base_path = folder_path(path) / given.base_path
        experiment.namespace = given.namespace or file_namespace(path)
        values = given.values(experiment.parameters, experiment._kinds())
        experiment._add_module({"__name__": path.stem, "__doc__": given.description, **values})
        experiment._configs.append(path)
        return experiment

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The record of a run, running, ended or killed: its data, metadata and parameters. Runs no code.

        Raises:
            RunError: the folder is no record, or is damaged.
        """
        folder = Path(folder).resolve()
        metadata = cls.load_metadata(folder)
        namespace = str(metadata.get("namespace", folder.parent.name))
        above = list(folder.parents)
        base_path = above[min(len(Path(namespace).parts), len(above) - 1)]
        experiment = cls(base_path, namespace, parameters=metadata.get("parameters", {}))
        experiment._folder, experiment.name = folder, folder.name
        experiment.metadata = metadata
        experiment.data = read_record(folder, DATA)
        experiment.error = metadata.get("error")
        experiment.update_parameters_special()
        return experiment

    @staticmethod
    def load_metadata(folder: str | Path) -> dict[str, Any]:
        """Name, status, times, parameters, versions and machine of a run.

        Raises:
            RunError: the folder is no record, or is damaged.
        """
        return read_record(Path(folder), META)

    @classmethod
    def is_archive(cls, folder: str | Path) -> bool:
        """Whether a folder is the record of a run that is done. The others can be loaded too."""
        try:
            return cls.load_metadata(folder).get("status") == "done"
        except RunError:
            return False

    # Inside

    def _add_module(self, module: Variables) -> None:
        self._modules.append(module)
        self.parameters.add(module)
        self.update_parameters_special()
        module["__experiment__"] = self

    def _kinds(self) -> dict[str, Any]:
        """Parameter -> its annotation, None for those without one."""
        return {name: about.kind for name, about in about_parameters(self._modules).items()}

    def _cache_folder(self) -> Path:
        parent = self.base_path / self.namespace
        return (parent / _DEBUG_FOLDER if self.debug else parent) / CACHE

    def _scope(self) -> AbstractContextManager[Any]:
        """What `-D` says, for `param_scope` in functions and hooks."""
        if not self._defines:
            return nullcontext()
        from sequifier.params import param_scope

        scope: AbstractContextManager[Any] = param_scope(*self._defines)
        return scope

    def _test(self, function: Hook | None) -> None:
        if function is None or self._has_tested:
            return
        self._has_tested = True
        function(self)
        self._save_parameters()

    def _save_parameters(self) -> None:
        self.metadata["parameters"] = self._storable_parameters()
        self.save_metadata()

    def _storable_parameters(self) -> dict[str, Any]:
        """The parameters, those that JSON cannot hold as text."""
        return storable(self.parameters) if self._modules else dict(self.parameters)

    def _first_metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"kind": self._kind, "namespace": self.namespace}
        if self._modules:
            metadata["base_path"] = str(self.base_path)
            metadata |= described(self._modules, self.parameters, self._hooks)
        return metadata | {"parameters": self._storable_parameters()}

    def _keep_reproducible(self, *, first: bool) -> None:
        if not self.parameters.get("__REPRODUCIBLE__"):
            return
        from sequifier.experiment.reproduce import imported_sources, keep_environment

        files = [module["__file__"] for module in self._modules if module.get("__file__")]
        folder = (folder_path(files[-1]) if files else self.base_path).resolve()
        if first:
            keep_environment(self, folder)
        self.keep_code(imported_sources(folder))
