"""Hooks: functions that are called at points of a run, registered by a decorator or named in a config.

In a config, `hooks: {after_epoch: my_hooks:report}` names a function of a module below project_root. A process imports
a module once, and again after it or another module of hooks changed. While it is imported, and while a hook runs,
project_root is first on the import path.
"""

import ast
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from sequifier.errors import ConfigError, Problem, RunError, did_you_mean
from sequifier.stall import stalls_ignored

if TYPE_CHECKING:
    from sequifier.experiment.experiment import Experiment

Hook = Callable[..., Any]
Decorated = TypeVar("Decorated", bound=Hook)
_Stamp = tuple[int, int]
_imported: dict[str, tuple[Path, _Stamp]] = {}
"""Each module that was imported for hooks: name -> its file, with the time of change and size at the import."""


class Hooks:
    """The hooks and analyses of an experiment."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Hook]] = {}
        self._analyses: list[Hook] = []

    def hook(self, name: str, replace: bool = True, default: bool = False) -> Callable[[Decorated], Decorated]:
        """Decorate a function that `apply_hook(name)` calls.

        Args:
            name: the point at which it is called.
            replace: replace the present hooks of that point, such as those of a parent; False adds the function.
            default: register the function only where the point has no hook.
        """

        def decorate(function: Decorated) -> Decorated:
            present = self._hooks.setdefault(name, [])
            if not (default and present):
                self._hooks[name] = [function] if replace else [*present, function]
            return function

        return decorate

    def apply_hook(self, name: str, /, default: Any = None, **context: Any) -> Any:
        """Call the hooks of a point in order, with this experiment and the context.

        Returns:
            The result of the last hook, or `default` where there is none.
        """
        result = default
        for function in self._hooks.get(name, ()):
            result = function(self, **context)
        return result

    def analysis(self, function: Decorated) -> Decorated:
        """Decorate a function that runs after the experiment, and after the analyses of a parent."""
        self._analyses.append(function)
        return function


def check_hooks(hooks: Mapping[str, Sequence[str]], root: Path) -> None:
    """Check that the file of each hook exists and defines the function; no code is run.

    Raises:
        ConfigError: lists all missing modules and functions.
    """
    problems = []
    for key, module, function in _entries(hooks):
        path = _file_of(module, root)
        if path is None:
            problems.append(_no_module(key, module, root))
            continue
        try:
            tree = ast.parse(path.read_bytes())
            names = _names_in(tree)
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
            problems.append(Problem(key, f"{path} cannot be read: {error}"))
            continue
        problems += [
            Problem(key, f"{path}:{line} imports `{missing}`, which is not installed", fix=f"install {missing}")
            for missing, line in _missing_imports(tree, root)
        ]
        if names is not None and function not in names:
            problems.append(_no_function(key, module, function, path, names))
    if problems:
        raise ConfigError(problems)


def load_hooks(hooks: Mapping[str, Sequence[str]], root: Path) -> dict[str, list[tuple[str, Hook]]]:
    """Import the hooks of a run.

    Args:
        hooks: point -> `module:function`, in the order in which they are called.
        root: the project's folder.

    Returns:
        Point -> name and function of each hook.

    Raises:
        ConfigError: lists all modules that are missing or cannot be imported, and all missing functions.
    """
    if not any(hooks.values()):
        return {}
    _forget_stale(root)
    importlib.invalidate_caches()
    problems: list[Problem] = []
    found: dict[str, list[tuple[str, Hook]]] = {}
    is_shared = True
    for key, name, function in _entries(hooks):
        try:
            module = _import(key, name, root)
            hook = getattr(module, function, None)
            if not callable(hook):
                known = [other for other in dir(module) if callable(getattr(module, other))]
                raise ConfigError([_no_function(key, name, function, Path(str(module.__file__)), known)])
        except ConfigError as error:
            problems += error.problems
            # The code of a module may depend on the run's config; a failed import is the same for all runs.
            is_shared &= isinstance(error.__cause__, ImportError | SyntaxError | None)
        else:
            found.setdefault(key.split(".")[1].split("[")[0], []).append((f"{name}:{function}", hook))
    if problems:
        wrong = ConfigError(problems)
        wrong.is_shared = is_shared
        raise wrong
    return found


def bind_hooks(
    hooks: Mapping[str, Sequence[tuple[str, Hook]]], experiment: "Experiment", root: Path
) -> dict[str, Hook]:
    """Register hooks with a running experiment, and copy their sources into its record.

    Returns:
        Point -> a function that calls its hooks in order with the experiment and the arguments. It raises RunError
        when a hook fails; the traceback is in the log.
    """
    place = root.resolve()

    def guarded(point: str, name: str, hook: Hook) -> Hook:
        def call(e: "Experiment", **context: Any) -> Any:
            n_imported = len(_imported)
            with _importable(str(place)), stalls_ignored():
                try:
                    result = hook(e, **context)
                except Exception as error:
                    e.log(f"the hook {name} failed at {point}:\n{traceback.format_exc().rstrip()}", echo=False)
                    raise RunError(
                        f"the hook `{name}` failed at {point}: {type(error).__name__}: {error}",
                        where=_place(error),
                        fix="its traceback is in the run's experiment_log.txt",
                    ) from error
            if len(_imported) > n_imported:
                e.keep_code(_sources(place))
            return result

        return call

    for point, found in hooks.items():
        for name, hook in found:
            experiment.hook(point, replace=False)(guarded(point, name, hook))
    if hooks:
        experiment.keep_code(_sources(place))
    return {point: partial(experiment.apply_hook, point) for point in hooks}


def _sources(root: Path) -> dict[str, Path]:
    """Return the files that were imported for hooks, by path below project_root."""
    return {path.relative_to(root).as_posix(): path for path, _ in _imported.values() if path.is_relative_to(root)}


def _entries(hooks: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, str]]:
    """Yield key in the config, module and function of each hook."""
    for point, names in hooks.items():
        for index, name in enumerate([names] if isinstance(names, str) else names):
            module, _, function = name.partition(":")
            yield f"hooks.{point}[{index}]", module, function


def _file_of(module: str, root: Path) -> Path | None:
    """Return the file of a module below project_root."""
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _names_in(tree: ast.Module) -> set[str] | None:
    """Return the names that a module defines; None where its source does not show them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return None if "*" in names or "__getattr__" in names else names


def _missing_imports(tree: ast.Module, root: Path) -> Iterator[tuple[str, int]]:
    """Yield each module that a file imports unconditionally and that is not installed, with its line."""
    for node in tree.body:  # not those inside `try` or a function
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        for name in {name.partition(".")[0] for name in names}:
            if _file_of(name, root) is not None or (root / name).is_dir() or name in sys.modules:
                continue
            if importlib.util.find_spec(name) is None:
                yield name, node.lineno


def _import(key: str, name: str, root: Path) -> ModuleType:
    path = _file_of(name, root)
    if path is None:
        raise ConfigError([_no_module(key, name, root)])
    with _importable(str(root.resolve())), stalls_ignored():
        try:
            module = importlib.import_module(name)
        except Exception as error:
            place = _place(error)
            message = f"`{name}` cannot be imported: {type(error).__name__}: {error}"
            raise ConfigError([Problem(key, message + (f" ({place})" if place else ""))]) from error
    if Path(str(module.__file__)).resolve() != path.resolve():
        fix = f"give {path.name} another name"
        raise ConfigError([Problem(key, f"`{name}` is already the name of {module.__file__}", fix=fix)])
    return module


@contextmanager
def _importable(place: str) -> Iterator[None]:
    """Put a folder first on the import path, and remember the modules that were imported from it.

    Afterwards the working folder is the same as before: paths of the run, and of the next runs, are relative to it.
    """
    n_before, writes_bytecode, folder = len(sys.modules), not sys.dont_write_bytecode, Path.cwd()
    sys.path.insert(0, place)
    # Bytecode has the time of its source in whole seconds: a module that changed twice in a second would be stale.
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        os.chdir(folder)
        sys.dont_write_bytecode = not writes_bytecode
        if place in sys.path:
            sys.path.remove(place)
        if len(sys.modules) > n_before:
            _remember([*islice(reversed(sys.modules), len(sys.modules) - n_before)], Path(place))


def _remember(names: Sequence[str], root: Path) -> None:
    for name in names:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and (path := Path(file)).is_relative_to(root) and "site-packages" not in path.parts:
            _imported[name] = (path, _stamp(path))


def _forget_stale(root: Path) -> None:
    """Make all modules of hooks be imported again where one of them changed or belongs to another project."""
    here = root.resolve()
    if all(path.is_relative_to(here) and _stamp(path) == stamp for path, stamp in _imported.values()):
        return
    for name in _imported:
        sys.modules.pop(name, None)
    _imported.clear()


def _stamp(path: Path) -> _Stamp:
    if not path.exists():
        return (0, 0)
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _no_module(key: str, module: str, root: Path) -> Problem:
    known = sorted(path.stem for path in root.glob("*.py"))
    fix = did_you_mean(module, known) if known else f"write {module.replace('.', '/')}.py there"
    return Problem(key, f"there is no module `{module}` in {root.resolve()}", fix=fix)


def _no_function(key: str, module: str, function: str, path: Path, names: Sequence[str] | set[str]) -> Problem:
    known = sorted(name for name in names if not name.startswith("__"))
    return Problem(key, f"`{module}` ({path}) has no function `{function}`", fix=did_you_mean(function, known))
