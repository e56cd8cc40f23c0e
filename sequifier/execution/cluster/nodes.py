"""The nodes of a Ray cluster: the connection to it, what they have, and whether they can train a search."""

import logging
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sequifier.artifacts.atomic import write_text
from sequifier.errors import ConfigError, Problem, RunError
from sequifier.execution.cluster import probe
from sequifier.execution.cluster.places import Node
from sequifier.percent import counted

PROBE_SECONDS = 120.0
"""How long a node may take to start a process that looks at its files."""

_ANSWER_SECONDS = 10.0


def connect(address: str) -> bool:
    """Connect this process to a cluster.

    Returns:
        Whether it was not connected before.

    Raises:
        ConfigError: there is no cluster, or it has another version of Ray or Python.
    """
    if ray.is_initialized():
        return False
    if address.startswith("ray://"):
        raise _problem(
            f"{address} is an address of Ray's client, which a search cannot use",
            "start the search on a node of the cluster, with `address: auto`",
        )
    if (named := os.environ.get("RAY_ADDRESS", "") if address == "auto" else address) and (why := _no_answer(named)):
        raise _no_cluster(named, why)  # Ray itself would try for minutes
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, AssertionError, OSError) as error:
        reason = " ".join(str(error).split())
        if "ersion mismatch" in reason:
            raise _problem(
                f"the cluster at {address} has other versions: {reason}", "install the same on all"
            ) from error
        raise _no_cluster(address, reason[:200]) from error
    return True


def _no_answer(address: str) -> str:
    """Why nothing can be reached at HOST:PORT; "" where something can."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return "write HOST:PORT, or auto"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS):
            return ""
    except (OSError, OverflowError) as error:
        return str(error)


def _no_cluster(address: str, reason: str) -> ConfigError:
    return _problem(
        f"there is no Ray cluster at {address}: {reason}",
        "start one on this machine by `ray start --head`, or write the HOST:PORT that it printed; where the cluster "
        "has an authentication token, set the variable RAY_AUTH_MODE=token",
    )


def _problem(message: str, fix: str) -> ConfigError:
    return ConfigError([Problem("execution.address", message, fix=fix)])


def alive() -> list[Node]:
    """The nodes that are alive, those with the most CPUs and GPUs first."""
    found = [_node(each) for each in ray.nodes() if each["Alive"]]
    return sorted(found, key=lambda node: (-node.gpus, -node.cpus, node.key))


def is_alive(key: str) -> bool:
    """Whether a node is alive, as far as Ray knows."""
    return any(each["NodeID"] == key and each["Alive"] for each in ray.nodes())


def _node(values: Mapping[str, Any]) -> Node:
    has, key = values["Resources"], values["NodeID"]
    memory = has.get("memory")
    return Node(
        key,
        f"{values['NodeManagerHostname']} ({key[:6]})",
        has.get("CPU", 0.0),
        has.get("GPU", 0.0),
        None if memory is None else int(memory),
    )


@dataclass(frozen=True)
class Sight:
    """What each node must see, and the software that it must have.

    Attributes:
        folder: the working folder of the search.
        root: its project folder.
        logs: its own folder in `logs`.
        files: the data.
        lock: the file that it has locked.
    """

    folder: Path
    root: Path
    logs: Path
    files: Sequence[Path]
    lock: Path


def look(nodes: Sequence[Node], sight: Sight) -> tuple[dict[str, str], str]:
    """Look at the files and the software of nodes.

    Returns:
        Node -> why it cannot train, without the nodes that can; and a warning about the lock of the ledger, or "".

    Raises:
        RunError: the mark that nodes look for cannot be written.
    """
    # By value: a node without Sequifier, or with another version, must be able to say so.
    ray.cloudpickle.register_pickle_by_value(probe)
    token = secrets.token_hex(8)
    mark = (sight.logs / f"seen-by-nodes-{token}").absolute()
    write_text(mark, token)
    try:
        here = probe.look(str(sight.folder), str(mark), token, {}, str(sight.lock))["software"]
        sizes = {str(path.absolute()): path.stat().st_size if path.is_file() else None for path in sight.files}
        arguments = (str(sight.folder), str(mark), token, sizes, str(sight.lock.absolute()))
        answers = {
            node: ray.remote(num_cpus=0, max_retries=0)(probe.look)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.key, soft=False))
            .remote(*arguments)
            for node in nodes
        }
        ray.wait(list(answers.values()), num_returns=len(answers), timeout=PROBE_SECONDS)
        found = {node.key: _answer(answer) for node, answer in answers.items()}
    finally:
        mark.unlink(missing_ok=True)
        ray.cloudpickle.unregister_pickle_by_value(probe)
    problems: dict[str, str] = {}
    warning = ""
    for node in nodes:
        if problem := _problem_of(node, found[node.key], here, str(mark), sight.root):
            problems[node.key] = problem
        elif not found[node.key]["is_locked"]:
            warning = (
                f"warning: the lock of the ledger does not hold on {node.name}: never start this search on two "
                "machines at the same time"
            )
    return problems, warning


def _answer(answer: Any) -> dict[str, Any]:
    try:
        return dict(ray.get(answer, timeout=0))
    except Exception as error:  # whatever the node's software raises, the node cannot train
        return {"error": " ".join(str(error).split())[-200:] or type(error).__name__}


def _problem_of(node: Node, seen: Mapping[str, Any], here: Mapping[str, str], mark: str, root: Path) -> str:
    if "error" in seen:
        return f"node {node.name} does not answer: {seen['error']}"
    for name, version in here.items():
        if seen["software"][name] != version:
            there = seen["software"][name] or "none"
            return f"node {node.name} has {name} {there}, this machine has {version}"
    if seen["missing"]:
        path = root.absolute() if seen["missing"] == mark else seen["missing"]
        return f"node {node.name} does not see {path} as this machine does"
    return ""


def check(nodes: Sequence[Node], sight: Sight) -> list[str]:
    """Make sure that nodes can train.

    Returns:
        Lines to print.

    Raises:
        RunError: one of them cannot.
    """
    problems, warning = look(nodes, sight)
    if problems:
        first, *others = problems.values()
        more = f" (and {counted(len(others), 'more node')})" if others else ""
        raise RunError(
            f"{first}{more}",
            fix="project_root and the working folder must be folders that all nodes share, and all nodes need the same "
            "versions; or take the node out of the cluster",
        )
    return [warning] if warning else []
