"""A Ray cluster of several nodes on this machine, and what runs on it."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import is_alive


class RayCluster:
    """Nodes with one CPU each.

    Attributes:
        address: for `execution.address`.
    """

    def __init__(self, n_nodes: int) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.address: str = self._cluster.address
        self.others: list[Any] = []
        for _ in range(n_nodes - 1):
            self.add()

    def add(self) -> None:
        """Let another node join."""
        self.others.append(self._cluster.add_node(num_cpus=1))

    def remove(self) -> None:
        """Take the last node away without a warning."""
        self._cluster.remove_node(self.others.pop(), allow_graceful=False)

    def shutdown(self) -> None:
        """End all of it."""
        self._cluster.shutdown()


@contextmanager
def cluster_of(n_nodes: int) -> Iterator[RayCluster]:
    """Yield a cluster that has ended when the block is left."""
    cluster = RayCluster(n_nodes)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def actors() -> list[int]:
    """The processes of this machine that hold a worker for a search on a cluster."""
    return [pid for pid, words in _processes() if words.startswith("ray::Host")]


def workers_of(actor: int) -> list[int]:
    """The workers that an actor has started."""
    return [pid for pid, words in _processes() if "sequifier.execution.worker" in words and _parent(pid) == actor]


def workers_in(root: Path) -> list[int]:
    """The workers that have a project as their working folder."""
    found = [pid for pid, words in _processes() if "sequifier.execution.worker" in words]
    return [pid for pid in found if Path(f"/proc/{pid}/cwd").exists() and Path(f"/proc/{pid}/cwd").resolve() == root]


def all_die(pids: list[int], seconds: float = 30) -> bool:
    """Whether processes end within a time."""
    deadline = time.monotonic() + seconds
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive


def kill(pid: int) -> None:
    """Kill a process that a test started."""
    import os

    os.kill(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words and is_alive(int(folder.name)):
            yield int(folder.name), words


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
