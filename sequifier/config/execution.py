"""`execution` of a search: which machines and devices train its runs, and how many runs at the same time.

It is outside the identity of the runs: where a run trains does not change what it is.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from sequifier.config.base import StrictModel, about
from sequifier.config.dump import inline

MOST_WORKERS = 1024


class Execution(StrictModel):
    """Where the runs of a search train, and how many at the same time."""

    engine: Literal["local", "ray"] = Field(
        "local",
        description="What starts the processes that train: `local` is this machine, `ray` a Ray cluster, which needs "
        "the extra `ray` (docs/cluster.md).",
        json_schema_extra=about(
            interacts="devices, which `local` alone uses; address, gpus_per_run, cpus_per_run and max_node_losses, "
            "which `ray` alone uses",
            change="to ray to train on the nodes of a cluster that share the project folder",
            synonyms="backend launcher executor scheduler distributed_backend cluster",
        ),
    )
    devices: (
        Literal["auto", "all"]
        | Annotated[int, Field(gt=0, le=MOST_WORKERS)]
        | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    ) = Field(
        "auto",
        description="Devices that train at the same time: a number of them, a list of the numbers of GPUs, `all`, or "
        "`auto`. `auto` trains one run after another on a GPU; on a CPU it starts a worker with one thread for each "
        "core, or as many as fit into memory, where no model is wider than 256, and else one worker with all threads. "
        "1 trains one run after another. On a CPU, N starts N workers, which share its cores. The plan of a search "
        "prints what is used and why.",
        json_schema_extra=about(
            unit="devices",
            interacts="cpu_threads, the threads of each worker, and device, which chooses between GPU and CPU",
            change="to 1 to train one run after another, or to all to use every GPU",
            synonyms="n_jobs n_workers max_workers max_concurrent max_concurrent_trials parallelism num_gpus n_gpus "
            "gpus",
        ),
    )
    runs_per_device: int = Field(
        1,
        gt=0,
        le=MOST_WORKERS,
        description="Number of runs that share a GPU. It has no effect on a CPU.",
        json_schema_extra=about(
            unit="runs at the same time on each GPU",
            interacts="devices; the runs of a GPU share its memory",
            change="to 2 or 3 when small models leave a GPU idle for most of the time",
            synonyms="trials_per_gpu workers_per_gpu gpu_fraction",
        ),
    )
    address: str = Field(
        "auto",
        min_length=1,
        description="Address of the Ray cluster: HOST:PORT, or `auto` for the cluster of this machine "
        "(the variable RAY_ADDRESS, else the one that `ray start` started here).",
        json_schema_extra=about(
            interacts="engine",
            change="when this machine belongs to several clusters",
            synonyms="ray_address cluster_address head_address",
        ),
    )
    gpus_per_run: int = Field(
        1,
        ge=0,
        le=1,
        description="Number of GPUs that a run reserves on a Ray cluster: 1, or 0 to train on CPUs. Where the cluster "
        "has no GPU and `device` is auto, the default trains on CPUs.",
        json_schema_extra=about(
            unit="GPUs",
            interacts="runs_per_device, the number of runs that share a GPU; device",
            change="to 0 to leave the GPUs of a cluster to others",
            synonyms="gpus_per_trial resources_per_trial num_gpus_per_run",
        ),
    )
    cpus_per_run: int | None = Field(
        None,
        gt=0,
        description="Number of CPUs that a run reserves on a Ray cluster, and its number of threads where "
        "`cpu_threads` is not set; null: its number of threads, 1 where neither config nor ledger sets it.",
        json_schema_extra=about(
            unit="CPUs",
            interacts="cpu_threads",
            change="to 4 or more for models wider than 256 on CPUs",
            synonyms="cpus_per_trial num_cpus_per_run",
        ),
    )
    max_parallel: int | None = Field(
        None,
        gt=0,
        le=MOST_WORKERS,
        description="Maximum number of runs that train at the same time; null: as many as fit.",
        json_schema_extra=about(
            unit="runs",
            interacts="devices, or on a Ray cluster gpus_per_run and cpus_per_run, which determine how many fit",
            change="when machine or cluster have other work to do, or so that more proposals of `bayesian` follow from "
            "results",
            synonyms="max_concurrent_runs",
        ),
    )
    max_node_losses: int = Field(
        3,
        ge=0,
        description="How often a run resumes on another node after its node was lost; at the next loss it fails.",
        json_schema_extra=about(
            unit="losses of each run",
            interacts="engine: only the nodes of a Ray cluster can be lost",
            change="to a larger number on nodes that may be taken away at any time",
            synonyms="max_failures",
        ),
    )

    @field_validator("gpus_per_run", mode="before")
    @classmethod
    def _one_gpu_or_none(cls, gpus: Any) -> Any:
        """Say what to write instead of several GPUs, or of a part of one."""
        if isinstance(gpus, int | float) and not isinstance(gpus, bool):
            if gpus > 1:
                raise ValueError(
                    f"{gpus} GPUs for one run are refused: models of this size fit on one, and a search fills several "
                    "by training several runs; write 1"
                )
            if 0 < gpus < 1:
                share = max(2, int(1 / gpus))
                raise ValueError(
                    f"{gpus} of a GPU is not a number of GPUs; to share one, write 1 and runs_per_device: {share}"
                )
        return gpus

    @field_validator("devices", mode="before")
    @classmethod
    def _usable(cls, devices: Any) -> Any:
        """Say what is wrong in one sentence: a union of types would report one error for each of them."""
        allowed = "a number of devices, a list of the numbers of GPUs such as [0, 2], `all` or `auto`"
        if isinstance(devices, float) and devices.is_integer():
            devices = int(devices)
        if _is_number(devices):
            if not 0 < devices <= MOST_WORKERS:
                raise ValueError(
                    f"{devices} devices cannot train; write a number from 1 to {MOST_WORKERS:,}, or `auto`"
                )
        elif isinstance(devices, list):
            if not devices:
                raise ValueError("the list names no device; write `auto`, or the numbers of GPUs such as [0, 2]")
            for device in devices:
                if not _is_number(device) or device < 0:
                    raise ValueError(f"{inline(device)} is not the number of a GPU; GPUs are numbered 0, 1, ...")
            if twice := [device for device in devices if devices.count(device) > 1]:
                raise ValueError(
                    f"{devices} names GPU {twice[0]} twice; name it once, and write `runs_per_device: 2` to train "
                    "two runs on each"
                )
        elif devices not in ("auto", "all"):
            raise ValueError(f"got {inline(devices)}, allowed: {allowed}")
        return devices


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
