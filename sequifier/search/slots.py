"""The slots of a search: each trains one run at a time, and all their events come in one queue.

A slot has an executor and a thread that waits for it, so the search waits for all of them at once and decides alone, in
its own thread.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from sequifier.callbacks import Log
from sequifier.errors import RunError
from sequifier.percent import counted
from sequifier.search.executor import Executor, LostError
from sequifier.search.placement import Slot

Event = dict[str, Any]

_END_SECONDS = 60.0
"""How long executors that are closed may take to end their runs."""

_CLOSE_AGAIN_SECONDS = 0.5
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Joined:
    """A place to train that appeared while the search ran.

    Attributes:
        executor: that trains there.
        memory: in which it trains.
    """

    executor: Executor
    memory: object


@dataclass(frozen=True)
class Work:
    """Something that a slot does for a run.

    Attributes:
        do: called in the thread of the slot; yields events, up to the last one.
        is_alone: no other slot may work meanwhile.
        is_training: a search that is ending does not begin it any more; what follows a training is still done.
    """

    do: Callable[[Executor], Iterator[Event]]
    is_alone: bool = False
    is_training: bool = True


class Slots:
    """Several executors as one; `end` ends what is running and the threads.

    Args:
        executors: one for each slot.
        memories: what memory each of them trains in: of the machine, of a GPU. Empty: all in the same.
        patience_seconds: how long to wait for another slot to join when all are lost.
    """

    def __init__(
        self, executors: Sequence[Executor], memories: Sequence[object] = (), *, patience_seconds: float = 0.0
    ) -> None:
        self.executors: list[Executor] = []
        self._memories: list[object] = []
        self._patience_seconds = patience_seconds
        self._ending = threading.Event()
        self._events: SimpleQueue[tuple[int, Event | BaseException | None] | Joined | str] = SimpleQueue()
        self._work: list[SimpleQueue[Work | None]] = []
        self._busy: set[int] = set()
        self._lost: set[int] = set()
        self._last_loss: tuple[float, RunError] | None = None  # when, where none is left
        self._threads: list[threading.Thread] = []
        self._is_stopping = False
        for executor, memory in zip(executors, list(memories) or [None] * len(executors), strict=True):
            self._add(executor, memory)

    def start(self, log: Log) -> None:
        """Let all executors load what runs need; one that cannot start is given up while there are others.

        Args:
            log: receives a line for each that is given up.

        Raises:
            RunError: none can start.
        """
        for slot in range(len(self.executors)):
            self._start(slot, log)

    def join(self, executor: Executor, slot: Slot) -> None:
        """Add a slot, from any thread; it counts when `next` has met it."""
        self._events.put(Joined(executor, slot.memory))

    def tell(self, line: str) -> None:
        """Let `next` log a line, from any thread."""
        self._events.put(line)

    def _add(self, executor: Executor, memory: object) -> int:
        slot = len(self.executors)
        self.executors.append(executor)
        self._memories.append(memory)
        self._work.append(SimpleQueue())
        self._threads.append(threading.Thread(target=self._serve, args=(slot,), daemon=True, name=f"slot {slot}"))
        return slot

    def _start(self, slot: int, log: Log) -> None:
        try:
            self._start_thread(slot)
            self.executors[slot].start()
        except RunError as error:
            self.lose(slot, error, log)

    def _start_thread(self, slot: int) -> None:
        try:
            self._threads[slot].start()
        except RuntimeError as error:
            raise RunError(
                "no thread can be started that waits for it",
                fix="raise the limit of this process (ulimit -u), or end programs that use it up",
            ) from error

    @property
    def left(self) -> list[Executor]:
        """The executors that are not lost."""
        return [executor for slot, executor in enumerate(self.executors) if slot not in self._lost]

    @property
    def free(self) -> list[int]:
        """The slots that have nothing to do, in order."""
        return [slot for slot in range(len(self.executors)) if slot not in self._busy | self._lost]

    @property
    def n_left(self) -> int:
        """Number of slots that are not lost."""
        return len(self.executors) - len(self._lost)

    def is_ending(self) -> bool:
        """Whether `end` was called: work that no executor can end has to look."""
        return self._ending.is_set()

    def share_memory(self, slot: int, other: int) -> bool:
        """Whether two slots train in the same memory."""
        return self._memories[slot] == self._memories[other]

    def begin(self, slot: int, work: Work) -> None:
        """Let a free slot work."""
        assert slot in self.free
        self._busy.add(slot)
        self._work[slot].put(work)

    def next(self, log: Log) -> tuple[int, Event | BaseException | None] | None:
        """Wait for a slot: its next event; None after the last one, or the error that ended its work.

        Args:
            log: receives lines about slots that join, and those of `tell`.

        Returns:
            The number of the slot, and what it sent; None when another line came, and now and then while none is left.

        Raises:
            RunError: all slots are lost, and none has joined for a long time.
        """
        try:
            sent = self._events.get(timeout=_LOOK_SECONDS if self._last_loss else None)
        except Empty:
            assert self._last_loss is not None
            since, error = self._last_loss
            if time.monotonic() > since + self._patience_seconds:
                raise error from None
            return None
        if isinstance(sent, str):
            log(sent)
            return None
        if isinstance(sent, Joined):
            self._take_in(sent, log)
            return None
        slot, event = sent
        if not isinstance(event, dict):
            self._busy.discard(slot)
        return slot, event

    def _take_in(self, joined: Joined, log: Log) -> None:
        slot = self._add(joined.executor, joined.memory)
        self._last_loss = None
        if self._is_stopping:
            joined.executor.stop()
        log(f"worker {slot} joins the search, which now has {self._workers()}")
        self._start(slot, log)

    def _workers(self) -> str:
        return counted(self.n_left, "worker") if self.n_left > 1 else "one worker"

    def lose(self, slot: int, error: RunError, log: Log) -> None:
        """Give up a slot that cannot work any more.

        Args:
            slot: its number.
            error: why; raised when there is no other slot, and another one is not waited for or would not help.
            log: receives a line about it.
        """
        if self.n_left == 1 and not (self._patience_seconds and isinstance(error, LostError)):
            raise error
        self._lost.add(slot)
        self.executors[slot].close()
        if self.n_left:
            follows = f"the search continues with {self._workers()}"
        else:
            self._last_loss = time.monotonic(), error
            follows = f"the search waits {self._patience_seconds / 60:.0f} minutes for another one"
        log(f"warning: worker {slot} cannot train, so {follows}: {error.in_one_line()}")

    @property
    def is_waiting(self) -> bool:
        """Whether all slots are lost, and another one may join."""
        return self._last_loss is not None

    def score(
        self, config_path: Path, model_path: Path, split_path: str, *, data: str, sums: Path | None = None
    ) -> dict[str, float]:
        """Evaluate an exported model where that is possible; see `Executor.score`."""
        error = RunError("no worker is left that could score a model")
        for executor in self.left:
            try:
                return executor.score(config_path, model_path, split_path, data=data, sums=sums)
            except LostError as lost:
                error = lost
        raise error

    def rest(self, beside: int) -> None:
        """End the processes of slots that have nothing to do, which frees the memory that they share with another."""
        for slot in self.free:
            if self.share_memory(slot, beside):
                self.executors[slot].close()

    def stop(self) -> None:
        """Ask for an early end of all runs. Called from a signal handler too."""
        self._is_stopping = True
        for executor in self.executors:
            executor.stop()

    def end(self) -> None:
        """End what is running at once, and the threads; wait for both."""
        self._ending.set()
        for queue in self._work:
            queue.put(None)
        last = time.monotonic() + _END_SECONDS
        while True:
            for executor in self.executors:
                executor.close()
            working = next((thread for thread in self._threads if thread.is_alive()), None)
            if working is None or time.monotonic() > last:
                return
            working.join(_CLOSE_AGAIN_SECONDS)  # it may only have been about to start its worker

    def _serve(self, slot: int) -> None:
        """Work until the end; the thread of a slot."""
        while (work := self._work[slot].get()) is not None and not self._ending.is_set():
            end: BaseException | None = None
            try:
                for event in work.do(self.executors[slot]):
                    self._events.put((slot, event))
            except BaseException as error:  # it is raised where the search waits
                end = error
            self._events.put((slot, end))
