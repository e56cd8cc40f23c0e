"""`execution` of a search: which devices of this machine train its runs, and how many runs at the same time.

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
        description="What starts the processes that train: `local` is this machine.",
        json_schema_extra=about(
            interacts="devices and runs_per_device, which say how many runs train at the same time",
            change="only if a later version trains on several machines",
            refused="training on several machines will be an optional extra of a later version",
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
            synonyms="n_jobs n_workers max_workers max_concurrent max_concurrent_trials max_parallel parallelism "
            "num_gpus n_gpus gpus",
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
