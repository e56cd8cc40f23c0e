"""The cores and the memory that this process may use, with affinity and the limits of its container. Standard library.

On Linux they are read from /proc, /sys and the control groups (cgroups) of the process, version 1 and 2; elsewhere
there are no such limits, and what Python reports is used.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")
_MOUNT = re.compile(r"\S+ \S+ \S+ (\S+) (\S+) .*?- (\S+) \S+ (\S+)")
"""A line of /proc/self/mountinfo: the mounted part of a file system, its folder, its kind and its options."""


def cores(root: Path = _ROOT) -> int:
    """The number of cores that this process may use: hyper-threads of one core count once.

    Args:
        root: folder in which /proc and /sys are; another one in tests.
    """
    allowed = _allowed_processors()
    n_cores = len({_siblings(processor, root) for processor in allowed})
    return max(1, min([n_cores, *(int(limit) for limit in _processor_limits(root))]))


def memory_bytes(root: Path = _ROOT) -> int:
    """The memory that this process may use, in bytes: that of the machine, or less in a container with a limit.

    Args:
        root: as for `cores`.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [
        *_numbers(_cgroups("", root), "memory.max"),
        *_numbers(_cgroups("memory", root), "memory.limit_in_bytes"),
    ]
    return min([total, *(limit for limit, *_ in limits)])


def _allowed_processors() -> list[int]:
    """The numbers of the processors (hardware threads) on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _siblings(processor: int, root: Path) -> str:
    """The processors of one core as Linux writes them, `0,4` or `0-1`; the processor alone where that is not known."""
    topology = root / f"sys/devices/system/cpu/cpu{processor}/topology"
    for name in ("core_cpus_list", "thread_siblings_list"):  # the second one before Linux 5.3
        with suppress(OSError):
            if siblings := (topology / name).read_text().strip():
                return siblings
    return str(processor)


def _processor_limits(root: Path) -> Iterator[float]:
    """The processor time that each group may use, in processors: 1.5 for 150 of 100 ms."""
    for quota, period in _numbers(_cgroups("", root), "cpu.max"):
        yield quota / period
    for folder in _cgroups("cpu", root):
        for quota, *_ in _numbers([folder], "cpu.cfs_quota_us"):
            for period, *_ in _numbers([folder], "cpu.cfs_period_us"):
                if quota > 0:  # -1: no limit
                    yield quota / period


def _numbers(folders: Iterator[Path] | list[Path], name: str) -> Iterator[tuple[int, ...]]:
    """The numbers in a file of each of these groups; a group without the file, or with the word `max`, has no limit."""
    for folder in folders:
        with suppress(OSError, ValueError):
            yield tuple(map(int, (folder / name).read_text().split()))


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, from its own to the outermost one that is visible.

    Args:
        controller: of a group of version 1 (`cpu`, `memory`); "" for version 2, which has one tree for all.
        root: as for `cores`.
    """
    own = _own_group(controller, root)
    mounted = _mounted(controller, root)
    if own is None or mounted is None:
        return
    of_mount, folder = mounted
    # A container may see its own group as `/`, as `/../..`, or by a path of the host that is not below the mounted one.
    is_below = own.is_relative_to(of_mount) and os.pardir not in own.parts
    inside = own.relative_to(of_mount) if is_below else Path()
    for part in (inside, *inside.parents):
        yield folder / part


def _own_group(controller: str, root: Path) -> Path | None:
    """The path of this process's group in its tree, from lines such as `4:cpu,cpuacct:/user.slice`."""
    for line in _lines(root / "proc/self/cgroup"):
        controllers, _, path = line.partition(":")[2].partition(":")
        if controller in controllers.split(","):
            return Path(path)
    return None


def _mounted(controller: str, root: Path) -> tuple[Path, Path] | None:
    """The group that is mounted of a tree, and the folder where it is, from /proc/self/mountinfo."""
    for line in _lines(root / "proc/self/mountinfo"):
        found = _MOUNT.match(line)
        if found is None:
            continue
        of_mount, folder, kind, options = found.groups()
        if kind == "cgroup2" if not controller else kind == "cgroup" and controller in options.split(","):
            return Path(of_mount), root / folder.lstrip("/")
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
