"""Results of expensive functions, kept in files and shared by all runs of an experiment.

An entry is known by its scope and name alone, not by the arguments of the function: what changes the result belongs
into the scope. An entry that cannot be read is computed again, with a warning in the log.
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
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar, cast

from sequifier.artifacts.atomic import atomic_path
from sequifier.errors import RunError, SequifierError
from sequifier.experiment.values import as_json

if TYPE_CHECKING:
    from sequifier.experiment.experiment import Experiment

Scope = Sequence[Any] | Callable[[Any], Sequence[Any]] | str | None
Function = TypeVar("Function", bound=Callable[..., Any])
_LEVEL = 3
"""Of gzip: several times faster than its default, files a few percent larger."""


class CacheBackend(Enum):
    """How an entry is written.

    PICKLE takes nearly every Python object. JOBLIB is fast for large arrays of numpy and needs the package joblib.
    JSON can be read by people and other programs; tuples come back as lists.
    """

    PICKLE = "pkl"
    JOBLIB = "joblib"
    JSON = "json"


class ExperimentCache:
    """A folder of results.

    Args:
        path: the folder; made with the first entry.
        experiment: whose parameters a scope may ask for, and whose log says what was loaded; without one, warnings are
            Python's own.
        compress: whether entries are gzipped. Both kinds are read.

    Attributes:
        path: the folder.
        enabled: whether anything is loaded or saved, see `set_enabled`.
    """

    def __init__(self, path: str | Path, experiment: "Experiment | None" = None, compress: bool = True) -> None:
        self.path = Path(path)
        self.experiment = experiment
        self.compress = compress
        self.enabled = True
        self._writing = threading.Lock()

    def set_enabled(self, enabled: bool) -> None:
        """Switch loading and saving on or off; off, `cached` functions run each time and `load` finds nothing."""
        self.enabled = bool(enabled)

    def cached(
        self, name: str, scope: Scope = (), backend: CacheBackend = CacheBackend.PICKLE
    ) -> Callable[[Function], Function]:
        """Decorate a function: its first call computes and saves, later ones load, in later runs too.

        Args:
            name: of the entry.
            scope: folders of the entry, or a function that gets the experiment and returns them.
            backend: how the entry is written.
        """

        def decorate(function: Function) -> Function:
            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                if not self.enabled:
                    return function(*args, **kwargs)
                if backend is CacheBackend.JOBLIB:
                    _joblib()  # known to be there before anything is computed
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
        """Save an entry; an older one of this name is replaced, whatever its backend.

        Returns:
            Its file, None when the cache is switched off.

        Raises:
            RunError: the file cannot be written.
            Exception: as the backend raises it for data that it cannot write; the old entry is then as it was.
        """
        return self.save_at(data, name, self._folder(scope), backend)

    def load(self, name: str, scope: Scope = ()) -> Any:
        """Load an entry.

        Raises:
            FileNotFoundError: there is none, or the cache is switched off.
            RunError: it is damaged.
        """
        return self.load_from(self._folder(scope), name)

    def save_at(
        self, data: Any, name: str, folder_path: str | Path, backend: CacheBackend = CacheBackend.PICKLE
    ) -> Path | None:
        """As `save`, into a folder anywhere."""
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
        """As `load`, from a folder anywhere."""
        found = [path for path in _entries(Path(folder_path), name) if path.is_file()] if self.enabled else []
        if not found:
            why = "nothing is cached" if self.enabled else "the cache is switched off, so nothing is loaded"
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
        """Save what was computed. If that fails the value is there all the same, and the log says why."""
        try:
            path = self.save_at(value, name, folder, backend)
        except Exception as error:
            reason = error.in_one_line() if isinstance(error, SequifierError) else f"{type(error).__name__}: {error}"
            self._warn(f"{name!r} cannot be cached: {reason}")
            return value
        if self.experiment is not None and path is not None:
            self.experiment.log(f"cache: {name!r} saved ({path})")
        # What later calls will get: JSON knows no tuples.
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
    """An age as a person says it: 45 seconds, 12 minutes, 3 hours, 5 days."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}s"
    whole = max(int(seconds), 0)
    return f"{whole} second{'' if whole == 1 else 's'}"


def _inside(folder: Path, *parts: str) -> Path:
    """A place below a folder.

    Raises:
        ValueError: the parts lead out of it.
    """
    path = folder.joinpath(*parts)
    if ".." in Path(*parts).parts or not path.is_relative_to(folder) or "" in parts:
        raise ValueError(f"{parts} leads out of the cache: a scope is a tuple of folder names")
    return path


def _entry(folder: Path, name: str, backend: CacheBackend, *, compress: bool) -> Path:
    if not name or _inside(folder, name) == folder:
        raise ValueError(f"{name!r} is no name for a cache entry")
    path = _inside(folder, name)
    return path.with_name(f"{path.name}.{backend.value}" + (".gz" if compress else ""))


def _entries(folder: Path, name: str) -> list[Path]:
    """Every file that an entry may be in."""
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
            file.read()  # to the end, where the checksum is
        return value


@contextmanager
def _opened(path: Path, mode: Literal["rb", "wb"], *, compress: bool) -> Iterator[IO[bytes]]:
    with path.open(mode) as file:
        if not compress:
            yield file
            return
        # Without a name and a time in it, equal data make equal files.
        with gzip.GzipFile("", mode, _LEVEL, file, mtime=0) as packed:
            yield cast(IO[bytes], packed)


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, default=as_json)


def _joblib() -> Any:
    try:
        import joblib  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "CacheBackend.JOBLIB needs the package joblib: pip install 'sequifier[experiment]'", name="joblib"
        ) from None
    return joblib
