"""`Experiment`: a function, the parameters above it, and the record of each of its runs.

    EPOCHS: int = 100

    @Experiment(base_path=folder_path(__file__), namespace=file_namespace(__file__), glob=globals())
    def experiment(e: Experiment) -> None:
        for epoch in range(EPOCHS):
            e.track("metrics/loss", train_one_epoch())

    experiment.run_if_main()

Training runs, inference and searches are experiments without a module: their parameters are arguments, and the block
of a `with` statement is run.
"""

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from sequifier.errors import ConfigError, Problem, RunError, SequifierError
from sequifier.experiment.description import described, files_of
from sequifier.experiment.files import (
    file_namespace,
    find_file,
    folder_path,
    from_config,
    import_file,
    importable,
)
from sequifier.experiment.hooks import Decorated, Hook, Hooks
from sequifier.experiment.parameters import Variables
from sequifier.experiment.parametrized_record import DEBUG_FOLDER, ParametrizedRecord
from sequifier.experiment.record import DATA, META, Echo, Status, read_record, show


class Experiment(Hooks, ParametrizedRecord):
    """One experiment: `base_path/namespace/` has a folder for each run, and the cache that its runs share.

    Args:
        base_path: the folder of results.
        namespace: the folder of this experiment below it, `results/NAME`.
        glob: `globals()` of its module, whose uppercase variables are its parameters. None for an experiment without a
            module.
        debug: start with `__DEBUG__` set.
        parameters: initial values of parameters.
        kind: `experiment`, or the command that writes the record.
        echo: shows each line that is logged; prints it by default.
        latest: keep a link `latest` to the newest folder.

    Attributes:
        base_path: as given, from the root.
        namespace: as given.
        parameters: name -> value. A change also changes the variable of the module; `e.NAME` is the same value.
        cache: results of expensive functions, kept in files.
        func: the function to run.
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
        Hooks.__init__(self)
        ParametrizedRecord.__init__(self, base_path, namespace, glob, debug, parameters or {}, echo=echo)
        self._configs: list[Path] = []
        self._kind, self._latest = kind, latest
        self._testing: Hook | None = None
        self._has_tested = False
        self.func: Callable[[Any], Any] | None = None

    # Functions

    def __call__(self, function: Callable[[Any], Any]) -> Self:
        """Decorate the function that is the experiment."""
        self.func = function
        return self

    def testing(self, function: Decorated) -> Decorated:
        """Decorate the function that makes a run short; it runs first where `__TESTING__` is true.

        It replaces the function of a parent. A function that is decorated inside of the experiment's function is called
        at once, unless another one was called before.
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
        """Run with the parameters of the command line if the module is the program that was started."""
        if not self.is_main():
            return
        if "__file__" not in self._modules[-1]:  # in a notebook, the command line is that of its kernel
            self.run()
            return
        try:
            self.arg_parser.parse()
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        self.update_parameters_special()
        try:
            self.run()
        except SequifierError as error:
            if error is self.error:  # of the function: its traceback says where
                raise
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None

    def run(self) -> None:
        """Run the function and the analyses in a new folder.

        Raises:
            ValueError: no function was decorated.
            BaseException: an exception of the function, after it was written to the record.
        """
        if self.func is None:
            raise ValueError("the experiment has no function: decorate one with it")
        folders = [folder_path(module["__file__"]) for module in self._modules if module.get("__file__")]
        with importable(reversed(folders)), self._scope(), _ends_on_sigterm(), self:
            self.log(f"{self.metadata['name']}: {self.path}")
            if self.parameters.get("__TESTING__"):
                self._test(self._testing)
            self.apply_hook("before_run")
            self.func(self)
            self.apply_hook("after_run")
            if self.parameters.get("__TESTING__") and not self._has_tested:
                self.log("warning: __TESTING__ has no effect, because no function has @experiment.testing")
            for analysis in self._analyses:
                analysis(self)
            self.log(f"done after {self.seconds():.1f} s: {self.path}")

    def start(self) -> None:
        """Make the folder. Values from before the first run are kept; later runs start without values."""
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
            self.name = DEBUG_FOLDER
        prefix = str(self.parameters.get("__PREFIX__", ""))
        if "/" in prefix or prefix.startswith("."):
            problem = Problem(
                "__PREFIX__", f"{prefix!r} cannot start the name of a folder", fix="use letters and digits"
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
        """Close the record with the status of the block, unless it is closed already."""
        if error is None:
            self.finish("done")
            return
        self.error = error
        if isinstance(error, SystemExit) and not error.code:
            self.finish("done")
            return
        is_interrupted = isinstance(error, KeyboardInterrupt | _Terminated)
        status: Status = "interrupted" if is_interrupted else "failed"
        text = f"{kind.__name__}: {error}" if kind is not None else str(error)
        with suppress(OSError, RunError):  # on a full disk, too, the first error is the one to raise
            self.log(f"{status}: {text}", echo=False)
            if not is_interrupted and not isinstance(error, SequifierError):
                self.log("".join(traceback.format_exception(error)).rstrip(), echo=False)
            self.finish(status, error=text)

    # Other files

    @classmethod
    def extend(
        cls, experiment_path: str | Path, base_path: str | Path, namespace: str, glob: Variables
    ) -> "Experiment":
        """Return an experiment that runs another one's function with other parameters and hooks.

        Its parameters are the uppercase variables of the child's module, assigned before or after this call. The
        variables of the parent's module get the same values, so that its function reads them.

        Args:
            experiment_path: file of the parent, beside the child's file or below the working folder.
            base_path: base_path of the child.
            namespace: namespace of the child.
            glob: `globals()` of the child.

        Raises:
            RunError: the file does not exist, has no experiment, or extends itself.
        """
        experiment = get_experiment(find_file(experiment_path, glob.get("__file__")))
        experiment.base_path, experiment.namespace = Path(base_path).absolute(), str(namespace)
        experiment._add_module(glob)
        return experiment

    @classmethod
    def from_config(cls, path: str | Path) -> "Experiment":
        """Return the experiment of a YAML file: `extend: parent.py` and `parameters: {NAME: value}`.

        The file may also have `base_path` (the file's folder), `namespace` (`results/NAME` of the file) and
        `description`.

        Raises:
            ConfigError: lists everything that is wrong in the file.
        """
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
        """Return the record of a run with its data, metadata and parameters; no code of the experiment is run.

        Raises:
            RunError: the folder is not a record, or is damaged.
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
        """Return name, status, times, parameters, versions and machine of a run.

        Raises:
            RunError: the folder is not a record, or is damaged.
        """
        return read_record(Path(folder), META)

    @classmethod
    def is_archive(cls, folder: str | Path) -> bool:
        """Whether a folder is the record of a run with the status `done`."""
        try:
            return cls.load_metadata(folder).get("status") == "done"
        except RunError:
            return False

    # Inside

    def _scope(self) -> AbstractContextManager[Any]:
        """The values of `-D`, for `param_scope` in functions and hooks."""
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

    def _first_metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"kind": self._kind, "namespace": self.namespace}
        if self._modules:
            metadata["base_path"] = str(self.base_path)
            metadata |= described(self._modules, self.parameters, self._hooks)
        return metadata | {"parameters": self._storable_parameters()}

    def _keep_reproducible(self, *, first: bool) -> None:
        """Write the environment at the start, and the imported sources at the start and at the end."""
        if not self.parameters.get("__REPRODUCIBLE__"):
            return
        from sequifier.experiment.environment import environment, imported_sources, packages, requirements

        files = [module["__file__"] for module in self._modules if module.get("__file__")]
        folder = (folder_path(files[-1]) if files else self.base_path).resolve()
        if first:
            installed = packages()
            self.commit_json("dependencies.json", installed)
            self.commit_raw("requirements.txt", requirements(installed))
            self.commit_json("environment.json", environment(folder))
        self.keep_code(imported_sources(folder))


def get_experiment(path: str | Path) -> Experiment:
    """Return the experiment that a file defines, without running it.

    Args:
        path: a Python file, or a YAML file as for `Experiment.from_config`.

    Raises:
        RunError: the file does not exist, or has no experiment.
    """
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return Experiment.from_config(path)
    found = vars(import_file(path)).get("__experiment__")
    if not isinstance(found, Experiment):
        raise RunError(
            f"{path.name} defines no experiment", where=str(path), fix="decorate a function with @Experiment(...)"
        )
    return found


def run_experiment(path: str | Path, parameters: Mapping[str, Any] | None = None) -> Experiment:
    """Run the experiment that a file defines; the command line of this process is ignored.

    Args:
        path: a Python or YAML file.
        parameters: values for some of its parameters.

    Returns:
        The experiment, with its folder and data.

    Raises:
        ConfigError: lists all parameters that do not exist and all values that do not fit; nothing is run then.
    """
    experiment = get_experiment(path)
    experiment.set_parameters(parameters or {})
    experiment.run()
    return experiment


class _Terminated(SystemExit):
    """SIGTERM was received; the exit code is the one that the signal alone would give."""


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Raise an exception on SIGTERM, as Ctrl-C does, so that the record says `interrupted`."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if not is_ours:
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
