"""What a machine has, read from trees as Linux shows them in machines and containers."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sequifier.execution.machine import Gpu, find_gpus, this_machine
from sequifier.machine import cores, memory_bytes

GIB = 1 << 30
V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)
CORES_OF_8 = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
"""4 cores with 2 hyper-threads each, numbered as on most Intel machines."""

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Write the files of a machine with 8 hyper-threads; returns its root."""
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 * GIB // 4096}

    def write(files: Mapping[str, str] = {}, *, affinity: range | list[int] = range(8)) -> Path:
        topology = "sys/devices/system/cpu/cpu{}/topology/core_cpus_list"
        every = {topology.format(cpu): f"{siblings}\n" for cpu, siblings in CORES_OF_8.items()} | dict(files)
        for name, text in every.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(affinity), raising=False)
        monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
        return tmp_path

    return write


def test_hyper_threads_of_one_core_count_once(tree: Tree) -> None:
    assert cores(tree()) == 4
    assert cores(tree(affinity=[0, 4])) == 1
    assert cores(tree(affinity=[0, 1, 6])) == 3


def test_siblings_are_read_from_the_file_of_an_older_kernel(tree: Tree) -> None:
    root = tree({"sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0,4\n"}, affinity=[0, 4])
    (root / "sys/devices/system/cpu/cpu0/topology/core_cpus_list").unlink()
    assert cores(root) == 1


def test_a_system_that_hides_the_topology_has_as_many_cores_as_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    assert cores(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert cores(tmp_path) == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores(tmp_path) == 1


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), ("garbage", 4)],
)
def test_a_quota_of_version_2_limits_the_cores(tree: Tree, quota: str, expected: int) -> None:
    root = tree(
        {
            "proc/self/cgroup": "0::/user.slice/job\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/user.slice/job/cpu.max": f"{quota}\n",
        }
    )
    assert cores(root) == expected


def test_the_smallest_limit_of_nested_groups_counts(tree: Tree) -> None:
    root = tree(
        {
            "proc/self/cgroup": "0::/user.slice/job\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/user.slice/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/user.slice/job/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/user.slice/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/user.slice/job/memory.max": "max\n",
        }
    )
    assert (cores(root), memory_bytes(root)) == (2, 8 * GIB)


@pytest.mark.parametrize(
    ("own", "mounted"),
    [
        ("/", "/"),  # a container with a view of its own
        ("/docker/4f5a", "/docker/4f5a"),  # the mount shows the container's group as its top
        ("/docker/4f5a", "/"),  # a path of the host, where the container sees only its own group
        ("/../..", "/"),
    ],
)
def test_limits_of_a_container_are_found(tree: Tree, own: str, mounted: str) -> None:
    root = tree(
        {
            "proc/self/cgroup": f"12:pids:{own}\n4:cpu,cpuacct:{own}\n2:memory:{own}\n1:name=systemd:{own}\n",
            "proc/self/mountinfo": V1.replace(" / /", f" {mounted} /"),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        }
    )
    assert (cores(root), memory_bytes(root)) == (3, 2 * GIB)


def test_groups_of_version_1_without_limits(tree: Tree) -> None:
    root = tree(
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/job\n2:memory:/job\n",
            "proc/self/mountinfo": V1,
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n",
        }
    )
    assert (cores(root), memory_bytes(root)) == (4, 16 * GIB)


def test_this_machine_has_what_python_reports_or_less() -> None:
    machine = this_machine()
    assert 1 <= machine.cores <= machine.processors == os.cpu_count()
    assert 0 < machine.memory <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


CUDA = (
    "from typing import Optional\n\n__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n"
)
TWO = "0, NVIDIA H100 80GB HBM3, GPU-5a01, 81559\n1, NVIDIA A100, 40GB, GPU-77c2, [N/A]\n".replace(
    "A100, 40", "A100 40"
)


@pytest.fixture
def gpus(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Gpu, ...]]:
    """The GPUs of a machine with this torch/version.py, this answer of nvidia-smi and these variables."""

    def find(version: str, smi: str | None, files: Mapping[str, str] = {}, **environment: str) -> tuple[Gpu, ...]:
        root = tree({"torch/version.py": version} | dict(files))
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        if smi is not None:
            program = tmp_path / "bin" / "nvidia-smi"
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{smi}\n")
            program.chmod(0o755)
        return find_gpus(environment, root, root / "torch")

    return find


def printing(text: str) -> str:
    return f"printf '%s' '{text}'"


def test_gpus_are_those_of_nvidia_smi(gpus: Callable[..., tuple[Gpu, ...]]) -> None:
    first, second = gpus(CUDA, printing(TWO))
    assert first == Gpu(0, "NVIDIA H100 80GB HBM3", "GPU-5a01", 81559 << 20)
    assert second == Gpu(1, "NVIDIA A100 40GB", "GPU-77c2", None)


@pytest.mark.parametrize(
    ("variable", "keys"),
    [
        ("1,0", ["GPU-77c2", "GPU-5a01"]),
        ("GPU-77", ["GPU-77c2"]),
        ("1,7,0", ["GPU-77c2"]),  # CUDA ignores what follows an entry that is not a GPU
        ("MIG-1234", ["MIG-1234"]),
        ("", []),
        ("-1", []),
    ],
)
def test_hidden_gpus_are_not_used(gpus: Callable[..., tuple[Gpu, ...]], variable: str, keys: list[str]) -> None:
    found = gpus(CUDA, printing(TWO), CUDA_VISIBLE_DEVICES=variable)
    assert [gpu.key for gpu in found] == keys
    assert [gpu.number for gpu in found] == list(range(len(keys)))


@pytest.mark.parametrize("smi", [None, "echo 'Driver/library version mismatch'; exit 18", printing("No devices")])
def test_where_nvidia_smi_fails_the_driver_lists_its_gpus(
    gpus: Callable[..., tuple[Gpu, ...]], smi: str | None
) -> None:
    folder = "proc/driver/nvidia/gpus/0000:{}:00.0/information"
    files = {
        folder.format("3b"): "Model: \t\t NVIDIA A10\nIRQ:   \t\t 96\nGPU UUID: \t GPU-11\nDevice Minor: \t 0\n",
        folder.format("af"): "Model: \t\t NVIDIA A10\nGPU UUID: \t GPU-????????\n",
    }
    assert gpus(CUDA, smi, files) == (Gpu(0, "NVIDIA A10", "GPU-11"), Gpu(1, "NVIDIA A10", "1"))


def test_a_torch_for_the_cpu_uses_no_gpu(gpus: Callable[..., tuple[Gpu, ...]]) -> None:
    assert gpus(CUDA.replace("'12.8'", "None"), printing(TWO)) == ()
    assert gpus("", printing(TWO)) == ()


def test_amd_gpus_are_the_nodes_with_shader_units(gpus: Callable[..., tuple[Gpu, ...]]) -> None:
    version = "cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n"
    node = "sys/class/kfd/kfd/topology/nodes/{}/properties"
    files = {
        node.format(number): f"cpu_cores_count 0\nsimd_count {units}\n"
        for number, units in ((0, 0), (1, 416), (10, 416))
    }
    assert gpus(version, None, files) == tuple(Gpu(i, "", str(i), variable="HIP_VISIBLE_DEVICES") for i in (0, 1))
    assert [gpu.key for gpu in gpus(version, None, files, HIP_VISIBLE_DEVICES="1")] == ["1"]
