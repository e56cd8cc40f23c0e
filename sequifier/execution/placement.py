"""Where the runs of a search train on this machine: on which devices, how many at a time, with how many threads.

On a CPU the last digits of a run depend on its number of threads, among which sums are split, and on every device a
run resumes only with the number that it began with. So this number follows from the config and the machine, or from the
ledger, but never from how many runs are left nor from how many workers fit into memory.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from sequifier.artifacts.ledger import Record
from sequifier.config.ranges import Range
from sequifier.config.search import SearchConfig
from sequifier.config.size import size_text
from sequifier.errors import ConfigError, Problem
from sequifier.execution.machine import Gpu, Machine
from sequifier.execution.threads import SPINS_BESIDE_OTHERS, spinning
from sequifier.percent import counted
from sequifier.search.memory import MemoryUse
from sequifier.search.placement import Placement, Slot
from sequifier.search.plan import Plan
from sequifier.search.repeats import n_to_come

WIDEST = 256
"""Width up to which workers with one thread each train more windows per second than one worker with all threads: 1.6 to
1.7 times as many at width 32, 1.3 to 1.4 at 64, 1.2 at 128 (two workers on 2 cores, 2 layers, batches of 128)."""

USABLE = 0.9
"""Proportion of the memory that workers may fill. The rest is for the search process and for files that are read."""

_POLARS = "POLARS_MAX_THREADS"
_OF_A_CLUSTER = ("address", "gpus_per_run", "cpus_per_run", "max_node_losses")


def place(plan: Plan, memory: MemoryUse | None, records: Sequence[Record], machine: Machine) -> Placement:
    """Decide where the runs of a search train.

    Args:
        plan: of the search.
        memory: that a process needs for the runs to come; None where there are none.
        records: the ledger.
        machine: what this process may use.

    Raises:
        ConfigError: `execution.devices` names devices that are not here, or contradicts `device`.
    """
    config = plan.config
    device = str(dict(config.training_hyperparameter_sampling)["device"])
    _check_devices(config, device, machine.gpus)
    n_runs = len(plan.without_result) + n_to_come(plan)
    if device == "cpu" or (device == "auto" and not machine.gpus):
        placement = _on_cpu(plan, memory, records, machine, n_runs)
    elif device in ("auto", "cuda") and machine.gpus:
        placement = _on_gpus(config, records, machine, n_runs)
    else:  # where there is no such device, its check before the first run reports it
        number = int(device.partition(":")[2] or 0)
        bytes_of = [gpu.memory for gpu in machine.gpus if gpu.number == number]
        threads = _written(_decided_threads(config, records, machine)[0], config, machine)
        placement = _one_after_another(threads, f"on {device}", number, bytes_of[0] if bytes_of else None)
    if not n_runs:
        return replace(placement, sentences=())
    return replace(placement, sentences=(*placement.sentences, *_without_effect(config)))


def _check_devices(config: SearchConfig, device: str, gpus: Sequence[Gpu]) -> None:
    devices = config.execution.devices
    wrong = fix = ""
    if device == "cpu":
        if isinstance(devices, list):
            wrong, fix = "device is cpu, and a list names GPUs", "write a number of workers, or set device to auto"
    elif devices not in ("auto", 1) and (device == "mps" or ":" in device):
        wrong = f"{devices} does not fit device {device}, which is one device"
        fix = "leave it out, or set device to auto to train on several GPUs"
    elif isinstance(devices, list) and (missing := [number for number in devices if number >= len(gpus)]):
        wrong = f"there is no GPU {missing[0]}: {_listed(gpus)}"
        fix = "write numbers of these" if gpus else "leave it out, or write a number of workers"
    elif isinstance(devices, int) and gpus and devices > len(gpus):
        wrong = f"{devices} are more than there are: {_listed(gpus)}"
        fix = f"write {len(gpus)} or all; runs_per_device: 2 trains two runs on each GPU, device: cpu uses the CPU"
    if wrong:
        raise ConfigError([Problem("execution.devices", wrong, fix=fix)])


def _on_gpus(config: SearchConfig, records: Sequence[Record], machine: Machine, n_runs: int) -> Placement:
    devices, each, gpus = config.execution.devices, config.execution.runs_per_device, machine.gpus
    threads, _ = _decided_threads(config, records, machine)  # the digits of a GPU do not depend on it
    if isinstance(devices, list):
        used = tuple(gpus[number] for number in devices)
    else:
        used = gpus if devices == "all" else gpus[: 1 if devices == "auto" else devices]
    memory = min((gpu.memory for gpu in used if gpu.memory is not None), default=None)
    n_places = len(used) * each
    if n_places == 1 and not isinstance(devices, list):  # a list always means its GPUs and no other
        more = f"; execution.devices: all uses all {len(gpus)}" if devices == "auto" and len(gpus) > 1 else ""
        where = f"on GPU {_named(used[0])}{more}"
        return _one_after_another(_written(threads, config, machine), where, used[0].number, memory)
    if threads is None and n_places > 1:
        threads = max(1, machine.cores // n_places)
    most = min(max(n_runs, 1), config.execution.max_parallel or n_places)
    places = [gpu for _ in range(each) for gpu in used][:most]
    sharing = sharing_cores(len(places), threads or machine.processors)
    slots = [Slot(gpu.number, {gpu.variable: gpu.key, **sharing}) for gpu in places]
    numbers = [str(number) for number in dict.fromkeys(gpu.number for gpu in places)]
    sentence = f"{counted(len(slots), 'worker')} on {'GPU' if len(numbers) == 1 else 'GPUs'} {', '.join(numbers)}"
    return Placement(tuple(slots), _written(threads, config, machine), (sentence,), memory)


def _on_cpu(
    plan: Plan, memory: MemoryUse | None, records: Sequence[Record], machine: Machine, n_runs: int
) -> Placement:
    config, devices, cores = plan.config, plan.config.execution.devices, machine.cores
    threads, sentences = _decided_threads(config, records, machine)
    widest = _widest(plan)
    if isinstance(devices, int):
        wanted, why = devices, f"execution.devices: {devices}"
    elif devices == "auto" and threads is None and widest > WIDEST:
        wanted, why = 1, f"the widest model has {widest:,}; workers pay off up to {WIDEST}"
    else:
        wanted = max(1, cores // (threads or 1))
        why = f"{counted(cores, 'core')}; the widest model has {widest:,}" if wanted > 1 else counted(cores, "core")
    fitting = wanted if memory is None else int(USABLE * machine.memory // memory.process)
    n_workers = max(1, min(wanted, fitting))
    if n_workers < wanted:
        assert memory is not None
        here, needed = size_text(machine.memory), size_text(memory.process)
        sentences.append(
            f"memory is enough for {n_workers} of {wanted} workers: 90 % of {here} here, {needed} for each"
        )
    if threads is None and wanted > 1:
        threads = max(1, cores // wanted) if isinstance(devices, int) else 1
    if n_workers > max(n_runs, 1):
        n_workers, why = max(n_runs, 1), f"{why}; {counted(n_runs, 'run')} to train"
    most = config.execution.max_parallel
    if most is not None and n_workers > most:
        n_workers, why = most, f"{why}; execution.max_parallel: {most}"
    if n_workers * (threads or 1) > cores and n_workers > 1:
        sentences.append(f"{_work(n_workers, threads)} are more than the {counted(cores, 'core')} here")
    if config.execution.runs_per_device > 1:
        sentences.append("execution.runs_per_device has no effect on a CPU")
    first = f"{_work(n_workers, threads)} ({why})"
    slots = (Slot(None, sharing_cores(n_workers, threads or machine.processors)),) * n_workers
    return Placement(slots, _written(threads, config, machine), (first, *sentences), machine.memory)


def _without_effect(config: SearchConfig) -> list[str]:
    """Notes for the plan on fields of `execution` that have no effect on one machine."""
    execution = config.execution
    changed = [name for name in _OF_A_CLUSTER if getattr(execution, name) != type(execution).model_fields[name].default]
    return [f"execution.{name} has no effect: engine is local" for name in changed]


def stored_threads(records: Sequence[Record]) -> int | None:
    """The number of threads of the first run in a ledger; None before one was trained."""
    return next((record.cpu_threads for record in records if record.cpu_threads is not None), None)


def _decided_threads(config: SearchConfig, records: Sequence[Record], machine: Machine) -> tuple[int | None, list[str]]:
    """The number of threads that the user or the ledger has decided, and what the plan prints about it."""
    given, stored = config.cpu_threads, stored_threads(records)
    if stored is None or stored == given:
        return given, []
    if given is None and stored <= machine.processors:
        return stored, [f"cpu_threads is {stored}, as in the ledger: the last digits of losses depend on it"]
    here = f"cpu_threads is {given}" if given else f"there are {counted(machine.processors, 'processor')} here"
    return given, [f"{here}, but {stored} threads in the ledger: the last digits of losses differ"]


def _written(threads: int | None, config: SearchConfig, machine: Machine) -> int | None:
    """The number of threads as run files have it: None is one for each processor, as earlier releases write it.

    A run resumes only where its file says what it said before.
    """
    return None if threads == machine.processors and config.cpu_threads is None else threads


def _widest(plan: Plan) -> int:
    """The largest width that a run of this search can have."""
    searched = plan.config.searched("dim_model")
    widths = [searched.high] if isinstance(searched, Range) else list(searched or ())
    return int(max([*widths, *(run.config.model_spec.dim_model for run in plan.runs)]))


def _one_after_another(threads: int | None, where: str, device: int, memory: int | None) -> Placement:
    """One worker that chooses its device by the run file alone, as `train` does."""
    return Placement((Slot(device),), threads, (f"one run after another {where}",), memory)


def sharing_cores(n_workers: int, threads: int) -> dict[str, str]:
    """Variables of workers that share the cores: each library has as many threads as torch, and none spins for long.

    Args:
        n_workers: that train at the same time.
        threads: of each of them.
    """
    if n_workers == 1:
        return {}
    pool = {} if _POLARS in os.environ else {_POLARS: str(threads)}  # else polars has one for each processor
    return pool | (spinning(SPINS_BESIDE_OTHERS) if threads > 1 else {})


def _work(n_workers: int, threads: int | None) -> str:
    each = "all threads" if threads is None else "one thread" if threads == 1 else f"{threads} threads"
    if n_workers == 1:
        return f"one run after another with {each}"
    return f"{n_workers} workers with {each} each"


def _listed(gpus: Sequence[Gpu]) -> str:
    """The GPUs of this machine, in an error."""
    if not gpus:
        return "this machine has no GPU that torch can use"
    return f"this machine has {counted(len(gpus), 'GPU')}: {', '.join(map(_named, gpus))}"


def _named(gpu: Gpu) -> str:
    return f"{gpu.number} ({gpu.name})" if gpu.name else str(gpu.number)
