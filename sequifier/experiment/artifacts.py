"""Files in the folder of a run, under the names given: tables, figures, models, sources."""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import IO, Any, Protocol

from sequifier.artifacts.atomic import atomic_path
from sequifier.experiment.values import json_text

LOG, META, DATA, CODE = "experiment_log.txt", "experiment_meta.json", "experiment_data.json", "code"
_OWN = (LOG, META, DATA, CODE)


class Figure(Protocol):
    """What `commit_fig` takes: a figure of matplotlib, or anything else that saves itself."""

    def savefig(self, fname: Any, **options: Any) -> Any: ...


class Artifacts:
    """Writes files into a folder: `commit_...` whole or not at all, `open` as they come."""

    @property
    def path(self) -> Path:
        """The folder."""
        raise NotImplementedError

    def open(self, name: str, mode: str = "r", **options: Any) -> IO[Any]:
        """Open a file in the run's folder; folders in the name are made.

        Args:
            name: of the file, below the folder.
            mode: and `options` as of Python's own `open`; text is UTF-8.
        """
        path = self._artifact(name, writes=mode.strip("bt") != "r")
        if "b" not in mode:
            options.setdefault("encoding", "utf-8")
        return path.open(mode, **options)

    def commit_json(self, name: str, data: Any) -> Path:
        """Write data as JSON; numbers and arrays of numpy and torch, paths and times are taken too. NaN is null."""
        return self.commit_raw(name, json_text(data, indent=1, ensure_ascii=False) + "\n")

    def commit_raw(self, name: str, content: str | bytes) -> Path:
        """Write text or bytes."""
        path = self._artifact(name, writes=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def commit_fig(self, name: str, figure: Figure, **options: Any) -> Path:
        """Save a figure of matplotlib.

        Args:
            name: its ending is the format.
            figure: the figure, or axes in it.
            options: of `savefig`.

        Raises:
            TypeError: it is no figure.
        """
        owner: Any = figure if hasattr(figure, "savefig") else getattr(figure, "figure", None)
        if not hasattr(owner, "savefig"):
            raise TypeError(
                f"a figure is needed, not {type(figure).__name__}; `pip install sequifier[experiment]` brings "
                "matplotlib, and `fig, ax = plt.subplots()` makes one"
            )
        path = self._artifact(name, writes=True)
        with atomic_path(path) as temporary:
            owner.savefig(temporary, **options)
        return path

    def keep_code(self, sources: Mapping[str, Path]) -> None:
        """Copy sources into code/.

        Args:
            sources: name below code/ -> file. Names that are there already are passed over.
        """
        for name, source in sources.items():
            target = self.path / CODE / name
            if not target.exists() and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def _artifact(self, name: str | PurePath, *, writes: bool) -> Path:
        path = self.path / name
        inside = path.resolve()
        folder = self.path.resolve()
        if not inside.is_relative_to(folder) or inside == folder:
            raise ValueError(f"{str(name)!r} is no file in the folder of the run")
        if writes:
            if inside.relative_to(folder).parts[0] in _OWN:
                raise ValueError(f"{str(name)!r} is a file of the record itself: choose another name")
            path.parent.mkdir(parents=True, exist_ok=True)
        return path
