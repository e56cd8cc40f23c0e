"""Where the runs of a search train: one slot for each run that trains at the same time. Pure data.

An engine (execution/) makes it from what the machine has.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time.

    Attributes:
        device: number of its GPU; None for the CPU. Slots of one device share its memory.
        environment: variables that the process of this slot gets, beside those of the search.
        node: which machine of a cluster it is on; "" for this one.
    """

    device: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    node: str = ""

    @property
    def memory(self) -> tuple[str, int | None]:
        """The memory in which its runs train: of a machine, or of a GPU."""
        return self.node, self.device


@dataclass(frozen=True)
class Placement:
    """The slots of a search.

    Attributes:
        slots: at least one.
        cpu_threads: of every run, written into its file; None: as the machine has processors.
        sentences: what was chosen and why, for the plan. Each is shorter than a line of a terminal.
        memory: bytes that the runs of one device share: of the machine, or of the smallest GPU; None: not known.
    """

    slots: tuple[Slot, ...]
    cpu_threads: int | None = None
    sentences: tuple[str, ...] = ()
    memory: int | None = None

    @property
    def is_on_gpu(self) -> bool:
        """Whether the runs train on GPUs."""
        return self.slots[0].device is not None

    @property
    def runs_per_device(self) -> int:
        """The most runs that train on one device at the same time."""
        return max(Counter(slot.memory for slot in self.slots).values())
