"""What a search asks of the place where its runs train: this machine, another one, or a test.

An engine says how many runs can train at the same time, and gives one executor for each. A search hands run files over
to executors and receives events; it never sees a model or a process. Each command is an iterator or a call that returns
when the command has ended. An event is a dict with its name under "event":

- `ready`, `started`, `stage` (stage), `log` (line), `step`, `epoch` while a run trains;
- as the last event of `run` one of
    - `finished` with `result`, the fields of `run.RunResult` as plain values;
    - `failed` with `kind` ("oom", "full": the device had no memory left before the run used any, "disk": the disk is
      full, "shared": every other run would fail like this, "error"), `stage`, `error` and `where`;
    - `timeout` with `seconds`;
    - `lost` with `reason`: the machine on which it trained, or the process that holds its worker there, is gone;
    - `died` with `signal`, `code`, `kernel_oom` (the kernel's out-of-memory killer struck meanwhile), `stderr`, and
      `silent_seconds` or `stalled_seconds` with `doing` and `log`, the file of its stacks, where the executor ended it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sequifier.artifacts.ledger import Record
from sequifier.callbacks import Log
from sequifier.errors import RunError
from sequifier.search.memory import MemoryUse
from sequifier.search.placement import Placement, Slot
from sequifier.search.plan import Plan


class LostError(RunError):
    """The machine of an executor is gone, so that it cannot work any more; others may."""


class Executor(Protocol):
    """Trains and scores run files, one after another.

    A search calls `run` in a thread of its own for each executor, and after a failure `close`; `stop` and `close` also
    from its main thread meanwhile.
    """

    def start(self) -> None:
        """Begin to load whatever the first run needs, without waiting for it. Does nothing when it is loaded.

        Raises:
            RunError: it cannot be started.
        """
        ...

    def check(self, device: str) -> None:
        """Make sure that runs can train on a device.

        Raises:
            RunError: they cannot.
        """
        ...

    def run(
        self,
        config_path: Path,
        *,
        data: str,
        resume: str,
        until_epoch: int | None = None,
        thresholds: Mapping[int, float] | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Train one run and yield its events, up to the last one.

        Args:
            config_path: the run file.
            data: fingerprint of the data that the run was planned on; other data are refused.
            resume: "never" to begin at step 0, "matching" to resume from the run's own last checkpoint where one fits.
                A run whose training has ended has one too: the search may have died before it wrote the result down.
            until_epoch: pause after this epoch.
            thresholds: epoch -> the worst value of the metric with which the run continues after it.
            timeout_seconds: time limit of this attempt.

        Raises:
            RunError: nothing can be started at all, so that the search ends.
        """
        ...

    def score(
        self, config_path: Path, model_path: Path, split_path: str, *, data: str, sums: Path | None = None
    ) -> dict[str, float]:
        """Evaluate an exported model on another split; returns its metrics.

        Args:
            config_path: run file of the model.
            model_path: the ONNX file.
            split_path: the encoded events, as the metadata name them.
            data: as for `run`.
            sums: file for the sums of losses by sampling unit.

        Raises:
            RunError: it could not be done.
        """
        ...

    def stop(self) -> None:
        """Ask for an early end: the current run is saved and ends after its epoch. Called from a signal handler."""
        ...

    def close(self) -> None:
        """End what is running at once, so that `run` ends too; the next run starts clean."""
        ...


class Engine(Protocol):
    """The devices that a search trains on.

    Attributes:
        patience_seconds: how long a search that has lost all of them waits for others; 0 where none can come.
    """

    patience_seconds: float

    def place(self, plan: Plan, memory: MemoryUse | None, records: Sequence[Record]) -> Placement:
        """Decide where the runs of a search train.

        Args:
            plan: of the search.
            memory: that a process needs for the runs without a result; None where there are none.
            records: the ledger.

        Raises:
            ConfigError: there are no such devices.
        """
        ...

    def executors(self, placement: Placement) -> Sequence[Executor]:
        """An executor for each slot of a placement."""
        ...

    def watch(self, join: Callable[[Executor, Slot], None], log: Log) -> None:
        """Look for places to train that appear while a search runs, in a thread of the engine's own.

        Args:
            join: to be called for each of them, from any thread.
            log: receives lines about them, from any thread.
        """
        ...
