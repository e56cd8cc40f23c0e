"""What Ray keeps on a node for each run that trains there at the same time: a process with a local executor.

Nothing here knows Ray. The run is in a child of this process, as on one machine, so its failures mean the same; the
child dies with this process, and this process with the driver.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sequifier.errors import RunError
from sequifier.execution.local import LocalExecutor

REFUSED = "refused"
"""Event of an executor that raised an error: with `what`, `where` and `fix`."""


class Host:
    """Passes calls on to a `LocalExecutor`; the paths are those of the search.

    Args:
        folder: the working folder of the search.
        log_path: file for the output of the worker.
        options: further arguments of the executor.
    """

    def __init__(self, folder: str, log_path: str, options: Mapping[str, Any]) -> None:
        os.chdir(folder)
        _import_nothing_from(Path(folder))
        self._executor = LocalExecutor(Path(log_path), **options)
        self._executor.start()  # its worker dies with the thread that started it: this one lasts

    def run(self, config_path: str, fence: tuple[str, str], limits: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Train a run; yields its events."""
        try:
            yield from self._executor.run(Path(config_path), **limits, fence=(Path(fence[0]), fence[1]))
        except RunError as error:
            yield _refused(error)

    def score(self, config_path: str, model_path: str, split_path: str, data: str, sums: str | None) -> dict[str, Any]:
        """Score a model; returns an event, `scored` or `refused`."""
        path = None if sums is None else Path(sums)
        try:
            metrics = self._executor.score(Path(config_path), Path(model_path), split_path, data=data, sums=path)
        except RunError as error:
            return _refused(error)
        return {"event": "scored", "metrics": metrics}

    def check(self, device: str) -> dict[str, Any]:
        """Check a device; returns an event, `checked` or `refused`."""
        try:
            self._executor.check(device)
        except RunError as error:
            return _refused(error)
        return {"event": "checked"}

    def stop(self) -> None:
        """End the run after its epoch."""
        self._executor.stop()


def _import_nothing_from(folder: Path) -> None:
    """Take the working folder off the import path, where Ray puts it: a project's own queue.py is no module of Python.

    It stays where Sequifier itself is imported from there.
    """
    folder = folder.resolve()
    if folder != Path(__file__).resolve().parents[3]:
        sys.path[:] = [each for each in sys.path if Path(each).resolve() != folder]


def _refused(error: RunError) -> dict[str, Any]:
    return {"event": REFUSED, "what": error.what, "where": error.where, "fix": error.fix}
