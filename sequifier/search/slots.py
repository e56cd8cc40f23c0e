"""The slots of a search: each trains one run at a time, and all their events come in one queue.

A slot has an executor and a thread that waits for it, so the search waits for all of them at once and decides alone, in
its own thread.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from sequifier.callbacks import Log
from sequifier.errors import RunError
from sequifier.search.executor import Executor

Event = dict[str, Any]

_END_SECONDS = 60.0
"""How long executors that are closed may take to end their runs."""

_CLOSE_AGAIN_SECONDS = 0.5


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
        memories: what memory each of them trains in: of the machine, of a GPU. None: all in the same.
    """

    def __init__(self, executors: Sequence[Executor], memories: Sequence[object] = ()) -> None:
        self.executors = list(executors)
        self._memories = list(memories) or [None] * len(self.executors)
        self._ending = threading.Event()
        self._events: SimpleQueue[tuple[int, Event | BaseException | None]] = SimpleQueue()
        self._work: list[SimpleQueue[Work | None]] = [SimpleQueue() for _ in executors]
        self._busy: set[int] = set()
        self._lost: set[int] = set()
        self._threads = [
            threading.Thread(target=self._serve, args=(slot,), daemon=True, name=f"slot {slot}")
            for slot in range(len(executors))
        ]

    def start(self, log: Log) -> None:
        """Let all executors load what runs need; one that cannot start is given up while there are others.

        Args:
            log: receives a line for each that is given up.

        Raises:
            RunError: none can start.
        """
        for slot, executor in enumerate(self.executors):
            try:
                self._start_thread(slot)
                executor.start()
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
        """The executors that are not lost; there is always one."""
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

    def next(self) -> tuple[int, Event | BaseException | None]:
        """Wait for a slot: its next event; None after the last one, or the error that ended its work."""
        slot, event = self._events.get()
        if not isinstance(event, dict):
            self._busy.discard(slot)
        return slot, event

    def lose(self, slot: int, error: RunError, log: Log) -> None:
        """Give up a slot that cannot work any more.

        Args:
            slot: its number.
            error: why; raised when there is no other slot.
            log: receives a line about it.
        """
        if self.n_left == 1:
            raise error
        self._lost.add(slot)
        self.executors[slot].close()
        left = f"{self.n_left} workers" if self.n_left > 1 else "one worker"
        log(f"warning: worker {slot} cannot train, so the search continues with {left}: {error.in_one_line()}")

    def rest(self, beside: int) -> None:
        """End the processes of slots that have nothing to do, which frees the memory that they share with another."""
        for slot in self.free:
            if self.share_memory(slot, beside):
                self.executors[slot].close()

    def stop(self) -> None:
        """Ask for an early end of all runs. Called from a signal handler too."""
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
