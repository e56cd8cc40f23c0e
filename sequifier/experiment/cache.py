"""A cache of results of expensive functions, in files that all runs of an experiment share.

The key of an entry is its scope and name, not the arguments of the function: values that change the result belong in
the scope. An entry that cannot be read is computed again, with a warning in the log.
"""

import functools
import gzip
import json
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TypeVar, cast

from sequifier.artifacts.atomic import atomic_path
from sequifier.errors import RunError, SequifierError
from sequifier.experiment.json_values import as_json

Scope = Sequence[Any] | Callable[[Any], Sequence[Any]] | str | None
Function = TypeVar("Function", bound=Callable[..., Any])
_LEVEL = 3
"""Compression level of gzip: several times faster than its default, with files a few percent larger."""


class Log(Protocol):
    """An experiment, as far as a cache uses it."""

    def log(self, message: object = "", *, echo: bool = True) -> None:
        """Log a message."""


class CacheBackend(Enum):
    """The format of an entry.

    PICKLE accepts nearly every Python object. JOBLIB is fast for large arrays of numpy and needs the package joblib.
    JSON can be read by people and other programs; tuples become lists.
    """

    PICKLE = "pkl"
    JOBLIB = "joblib"
    JSON = "json"


class ExperimentCache:
    """A folder of results.

    Args:
        path: the folder; made with the first entry.
        experiment: the argument of scopes that are functions; its log reports what is loaded and saved. Without an
            experiment, warnings are Python's own.
        compress: whether to compress new entries with gzip. Both kinds can be read.

    Attributes:
        path: the folder.
        enabled: whether entries are loaded and saved, see `set_enabled`.
    """

    def __init__(self, path: str | Path, experiment: Log | None = None, compress: bool = True) -> None:
        self.path = Path(path)
        self.experiment = experiment
        self.compress = compress
        self.enabled = True
        self._writing = threading.Lock()

    def set_enabled(self, enabled: bool) -> None:
        """Switch loading and saving on or off. Off, `cached` functions run at each call and `load` finds nothing."""
        self.enabled = bool(enabled)

    def cached(
        self, name: str, scope: Scope = (), backend: CacheBackend = CacheBackend.PICKLE
    ) -> Callable[[Function], Function]:
        """Decorate a function: its first call computes and saves the result, later calls and runs load it.

        Args:
            name: the name of the entry.
            scope: the folders of the entry, or a function of the experiment that returns them.
            backend: the format of the entry.
        """

        def decorate(function: Function) -> Function:
            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                if not self.enabled:
                    return function(*args, **kwargs)
                if backend is CacheBackend.JOBLIB:
                    _joblib()  # raise before anything is computed
                folder = self._folder(scope)
                try:
                    value = self.load_from(folder, name)
                except FileNotFoundError:
                    pass
                except RunError as damaged:
                    self._warn(f"{damaged.what} ({damaged.where}); it is computed again")
                else:
                    return value
                return self._keep(function(*args, **kwargs), name, folder, backend)

            return cast(Function, call)

        return decorate

    def save(self, data: Any, name: str, scope: Scope = (), backend: CacheBackend = CacheBackend.PICKLE) -> Path | None:
        """Save an entry; it replaces an older entry with this name in any format.

        Returns:
            The file; None when the cache is switched off.

        Raises:
            RunError: the file cannot be written.
            Exception: an exception of the backend for data that it cannot write; the old entry is kept.
        """
        return self.save_at(data, name, self._folder(scope), backend)

    def load(self, name: str, scope: Scope = ()) -> Any:
        """Load an entry.

        Raises:
            FileNotFoundError: the entry does not exist, or the cache is switched off.
            RunError: the entry is damaged.
        """
        return self.load_from(self._folder(scope), name)

    def save_at(
        self, data: Any, name: str, folder_path: str | Path, backend: CacheBackend = CacheBackend.PICKLE
    ) -> Path | None:
        """Save an entry in any folder, see `save`."""
        if not self.enabled:
            return None
        path = _entry(Path(folder_path), name, backend, compress=self.compress)
        with self._writing, atomic_path(path) as temporary, _opened(temporary, "wb", compress=self.compress) as file:
            _write(data, file, backend)
        for other in _entries(Path(folder_path), name):
            if other != path:
                other.unlink(missing_ok=True)
        return path

    def load_from(self, folder_path: str | Path, name: str) -> Any:
        """Load an entry from any folder, see `load`."""
        found = [path for path in _entries(Path(folder_path), name) if path.is_file()] if self.enabled else []
        if not found:
            why = "nothing is cached" if self.enabled else "the cache is switched off"
            raise FileNotFoundError(f"{why}: {name!r} in {folder_path}")
        path = max(found, key=lambda path: path.stat().st_mtime_ns)
        age = time.time() - path.stat().st_mtime
        if f".{CacheBackend.JOBLIB.value}" in path.suffixes[-2:]:
            _joblib()
        try:
            value = _read(path)
        except Exception as error:  # a truncated or foreign file can fail in any way, a class may be gone
            raise RunError(
                f"the cache entry {name!r} is damaged: {type(error).__name__}: {error}",
                where=str(path),
                fix="delete the file",
            ) from error
        if self.experiment is not None:
            self.experiment.log(f"cache: {name!r} loaded, {age_text(age)} old ({path})")
        return value

    def _keep(self, value: Any, name: str, folder: Path, backend: CacheBackend) -> Any:
        """Save a computed value. Where that fails, log the reason and return the value all the same."""
        try:
            path = self.save_at(value, name, folder, backend)
        except Exception as error:
            reason = error.in_one_line() if isinstance(error, SequifierError) else f"{type(error).__name__}: {error}"
            self._warn(f"{name!r} cannot be cached: {reason}")
            return value
        if self.experiment is not None and path is not None:
            self.experiment.log(f"cache: {name!r} saved ({path})")
        # The value that later calls will load: JSON has no tuples.
        return json.loads(_json(value)) if backend is CacheBackend.JSON else value

    def _folder(self, scope: Scope) -> Path:
        if callable(scope):
            if self.experiment is None:
                raise ValueError("a scope that is a function needs a cache with an experiment")
            scope = scope(self.experiment)
        parts = [] if scope is None else [scope] if isinstance(scope, str) else [str(part) for part in scope]
        return _inside(self.path, *parts)

    def _warn(self, message: str) -> None:
        if self.experiment is not None:
            self.experiment.log(f"warning: {message}")
        else:
            warnings.warn(message, stacklevel=4)


def age_text(seconds: float) -> str:
    """Return an age in words: 45 seconds, 12 minutes, 3 hours, 5 days."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}s"
    whole = max(int(seconds), 0)
    return f"{whole} second{'' if whole == 1 else 's'}"


def _inside(folder: Path, *parts: str) -> Path:
    """Return a path below a folder.

    Raises:
        ValueError: the path is outside of the folder.
    """
    path = folder.joinpath(*parts)
    if ".." in Path(*parts).parts or not path.is_relative_to(folder) or "" in parts:
        raise ValueError(f"{parts} is outside of the cache: a scope is a tuple of folder names")
    return path


def _entry(folder: Path, name: str, backend: CacheBackend, *, compress: bool) -> Path:
    if not name or _inside(folder, name) == folder:
        raise ValueError(f"{name!r} is not a name for a cache entry")
    path = _inside(folder, name)
    return path.with_name(f"{path.name}.{backend.value}" + (".gz" if compress else ""))


def _entries(folder: Path, name: str) -> list[Path]:
    """Return every file that may have an entry."""
    return [_entry(folder, name, backend, compress=compress) for backend in CacheBackend for compress in (True, False)]


def _write(data: Any, file: IO[bytes], backend: CacheBackend) -> None:
    if backend is CacheBackend.JSON:
        file.write(_json(data).encode())
    elif backend is CacheBackend.JOBLIB:
        _joblib().dump(data, file)
    else:
        pickle.dump(data, file, protocol=pickle.HIGHEST_PROTOCOL)


def _read(path: Path) -> Any:
    is_compressed = path.suffix == ".gz"
    backend = CacheBackend(path.suffixes[-2 if is_compressed else -1][1:])
    with _opened(path, "rb", compress=is_compressed) as file:
        if backend is CacheBackend.JSON:
            return json.loads(file.read())
        value = _joblib().load(file) if backend is CacheBackend.JOBLIB else pickle.load(file)
        if is_compressed:
            file.read()  # to the end, so that the checksum is compared
        return value


@contextmanager
def _opened(path: Path, mode: Literal["rb", "wb"], *, compress: bool) -> Iterator[IO[bytes]]:
    with path.open(mode) as file:
        if not compress:
            yield file
            return
        # Without a name and a time, equal data make equal files.
        with gzip.GzipFile("", mode, _LEVEL, file, mtime=0) as packed:
            yield cast(IO[bytes], packed)


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, default=as_json)


def _joblib() -> Any:
    try:
        import joblib  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "CacheBackend.JOBLIB needs the package joblib: pip install 'sequifier-search[experiment]'", name="joblib"
        ) from None
    return joblib
