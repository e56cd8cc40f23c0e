"""Where the runs of a search train on a cluster: how many fit on each node, and which of them are used. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sequifier.config.execution import Execution
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError, Problem
from sequifier.percent import counted

_SHOWN_NODES = 8


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        key: Ray's name of it; a node that comes back has another one.
        name: its host, and a part of the key, as two nodes may be on one host.
        cpus: that Ray may give away.
        gpus: the same.
        memory: bytes that Ray may give away.
    """

    key: str
    name: str
    cpus: float
    gpus: float = 0.0
    memory: int | None = None


@dataclass(frozen=True)
class Needs:
    """What a run reserves.

    Attributes:
        cpus: number of CPUs.
        gpus: number of GPUs, a fraction where several runs share one.
        memory: bytes, counted on a CPU; None where they are not known.
    """

    cpus: int
    gpus: float = 0.0
    memory: int | None = None


@dataclass(frozen=True)
class Place:
    """Room for one run at a time.

    Attributes:
        node: on which it is.
        number: of the place among those of the node.
    """

    node: Node
    number: int


def n_places(node: Node, needs: Needs) -> int:
    """Number of runs that a node can train at the same time."""
    most = int(node.cpus // needs.cpus)
    if needs.gpus:
        return min(most, int(node.gpus / needs.gpus))
    if needs.memory is not None and node.memory is not None:
        most = min(most, node.memory // needs.memory)
    return most


def free_places(nodes: Sequence[Node], needs: Needs, taken: Iterable[Place], most: int) -> list[Place]:
    """The places that a search uses beside those that it has, spread over the nodes.

    Args:
        nodes: that are alive.
        needs: of each run.
        taken: the places that it has on these nodes.
        most: places in all.
    """
    used = {(place.node.key, place.number) for place in taken}
    room = {node: n_places(node, needs) for node in nodes}
    numbers = range(max(room.values(), default=0))
    places = [Place(node, number) for number in numbers for node in nodes if number < room[node]]
    free = [place for place in places if (place.node.key, place.number) not in used]
    return free[: max(0, most - len(used))]


def with_gpus(needs: Needs, execution: Execution, device: str, nodes: Sequence[Node]) -> Needs:
    """What a run reserves on these nodes: a GPU, or its part of one, unless it trains on CPUs.

    Raises:
        ConfigError: it must train on a GPU, and there is none.
    """
    if device == "cpu" or not execution.gpus_per_run:
        return needs
    if any(node.gpus for node in nodes):
        return replace(needs, gpus=1 / execution.runs_per_device, memory=None)
    if device == "auto" and "gpus_per_run" not in execution.model_fields_set:
        return needs
    raise _problem(
        "execution.gpus_per_run",
        f"no node of the cluster has a GPU: {_listed(nodes)}",
        "write 0, and leave out a device that is not auto or cpu, to train on CPUs",
    )


def no_room(needs: Needs, nodes: Sequence[Node]) -> ConfigError:
    """The error of a cluster on which no run fits."""
    gpu = " and a GPU" if needs.gpus else ""
    return _problem(
        "execution.cpus_per_run",
        f"no node has the {counted(needs.cpus, 'CPU')}{gpu} of a run, or the memory: {_listed(nodes)}",
        "write a smaller number, or add larger nodes to the cluster",
    )


def check_fields(config: SearchConfig, device: str) -> None:
    """Check the fields that a cluster reads otherwise than one machine does.

    Raises:
        ConfigError: one of them is of one machine.
    """
    execution = config.execution
    if execution.devices not in ("auto", "all"):
        raise _problem(
            "execution.devices",
            f"{execution.devices} counts devices of one machine, and engine is ray",
            "leave it out; max_parallel limits how many runs train at the same time",
        )
    if device == "mps" or ":" in device:
        raise _problem(
            "training_hyperparameter_sampling.device",
            f"{device} is a device of one machine, and execution.engine is ray",
            "write auto or cuda: Ray gives each run a GPU of its node",
        )
    if not execution.gpus_per_run and device == "cuda":
        raise _problem("execution.gpus_per_run", "0 does not fit device cuda", "write 1, or set device to auto")


def _problem(key: str, message: str, fix: str) -> ConfigError:
    return ConfigError([Problem(key, message, fix=fix)])


def _listed(nodes: Sequence[Node]) -> str:
    """The nodes of a cluster with what they have, in an error."""
    shown = [f"{node.name} has {node.cpus:.4g} CPUs and {node.gpus:.4g} GPUs" for node in nodes[:_SHOWN_NODES]]
    return ", ".join([*shown, *(["..."] if len(nodes) > _SHOWN_NODES else [])])
