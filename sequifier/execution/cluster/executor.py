"""Runs on a node of a Ray cluster, one at a time, in an actor that is started again after it died.

Ray knows two failures: the actor is lost, or its node is. Everything else happens in the child of the actor and arrives
as the events that a worker of this machine would send. The actor stays on its node: when that is lost, so is this
executor, and the search gives its run to another one.
"""

import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sequifier.artifacts.atomic import write_text
from sequifier.errors import RunError
from sequifier.execution.cluster.actor import REFUSED, Host
from sequifier.execution.cluster.nodes import is_alive
from sequifier.execution.cluster.places import Needs, Place
from sequifier.search.executor import LostError

START_SECONDS = 300.0
"""How long an actor may take to start: its node may be slow to load, or have given its CPUs to others."""

_LOOK_SECONDS = 1.0
_LOW_MEMORY = "running low on memory"  # Ray ends actors before the kernel would
_OF_ONE_NODE = ("disk", "shared", "full")
"""Failures that end a search: the user must know on which node they happened."""


@dataclass(frozen=True)
class Deployment:
    """What all actors of a search have in common.

    Attributes:
        folder: the working folder of the search.
        attempts: folder of the tokens by which attempts may write, see artifacts/fence.py.
        needs: what each actor reserves.
        options: arguments of the local executors.
        host: class of the actors.
    """

    folder: Path
    attempts: Path
    needs: Needs
    options: Mapping[str, Any] = field(default_factory=dict)
    host: type[Host] = Host


class ClusterExecutor:
    """Passes run files to an actor on a node and its events back; see search/executor.py for the commands.

    Args:
        place: where it trains.
        log_path: file for the output of its worker.
        deployment: of the search.
    """

    def __init__(self, place: Place, log_path: Path, deployment: Deployment) -> None:
        self.place = place
        self._log_path, self._deployment = log_path, deployment
        self._actor: Any = None
        self._is_closed = self._is_stopping = False
        self._starting = threading.Lock()

    def start(self) -> None:
        """Let Ray start the actor, which loads in the background; do nothing when it is there already."""
        with self._starting:
            if self._actor is None:
                self._actor = self._new_actor()
                if self._is_stopping:
                    self._actor.stop.remote()

    def _new_actor(self) -> Any:
        needs = self._deployment.needs
        actor = ray.remote(self._deployment.host).options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=2,  # a run, and a request to stop it
            scheduling_strategy=NodeAffinitySchedulingStrategy(self.place.node.key, soft=False),
        )
        return actor.remote(str(self._deployment.folder), str(self._log_path), dict(self._deployment.options))

    def run(self, config_path: Path, *, data: str, resume: str, **limits: Any) -> Iterator[dict[str, Any]]:
        """Train one run and yield the worker's events, with `lost` as the last one where actor or node were lost.

        Raises:
            LostError: the node is gone, or has no room.
            RunError: the worker cannot start there.
        """
        self._is_closed = False
        actor = self._started()
        token = self._deployment.attempts / config_path.stem
        fence = str(token.absolute()), secrets.token_hex(8)
        write_text(token, fence[1])
        stream = actor.run.options(num_returns="streaming")
        event: dict[str, Any] = {}
        try:
            for reference in stream.remote(str(config_path), fence, {"data": data, "resume": resume, **limits}):
                event = ray.get(reference)
                if event["event"] == REFUSED:
                    raise _error(event)
                yield self._with_node(event)
        except RayActorError as error:
            yield self._loss(error)
        finally:
            with suppress(OSError):  # a full disk keeps no file from being removed; a lost one ends the search anyway
                token.unlink(missing_ok=True)

    def score(
        self, config_path: Path, model_path: Path, split_path: str, *, data: str, sums: Path | None = None
    ) -> dict[str, float]:
        """Evaluate an exported model on another split; returns its metrics."""
        paths = str(config_path), str(model_path), split_path, data, None if sums is None else str(sums)
        return dict(self._call("score", *paths)["metrics"])

    def check(self, device: str) -> None:
        """Make sure that the node can train on a device."""
        self._call("check", device)

    def _call(self, method: str, *arguments: Any) -> dict[str, Any]:
        actor = self._started()
        try:
            event: dict[str, Any] = ray.get(getattr(actor, method).remote(*arguments))
        except RayActorError as error:
            reason = self._loss(error)["reason"]
            self.close()
            raise LostError(reason) from error
        if event["event"] == REFUSED:
            raise _error(event)
        return event

    def stop(self) -> None:
        """Ask the worker, and any that replaces it, to save and end its run after the current epoch."""
        self._is_stopping = True
        if (actor := self._actor) is not None:
            # Not here: a signal handler may have interrupted a call of Ray that holds a lock.
            threading.Thread(target=actor.stop.remote, daemon=True).start()

    def close(self) -> None:
        """End the actor with its worker at once; the next run starts a new one. In another thread, `run` then ends."""
        self._is_closed = True
        actor, self._actor = self._actor, None
        if actor is not None:
            with suppress(RayError, RuntimeError, ValueError):  # it is dead, or the connection is
                ray.kill(actor)

    def _started(self) -> Any:
        """The actor, when it answers."""
        self.start()
        actor, since = self._actor, time.monotonic()
        if actor is None:
            raise LostError("it was closed")
        answer = actor.__ray_ready__.remote()
        while True:
            try:
                ray.get(answer, timeout=_LOOK_SECONDS)
                return actor
            except GetTimeoutError:
                pass
            except RayError as error:
                self.close()
                raise self._cannot_start(error) from error
            if not is_alive(self.place.node.key):
                self.close()
                raise LostError(f"node {self.place.node.name} was lost")
            if time.monotonic() > since + START_SECONDS:
                self.close()
                raise LostError(
                    f"node {self.place.node.name} has no room for another run since {START_SECONDS / 60:.0f} minutes",
                    fix="`ray status` shows who has its CPUs and GPUs; a smaller execution.max_parallel needs fewer",
                )

    def _cannot_start(self, error: RayError) -> RunError:
        """Why an actor does not start: its node is gone, or something in it failed."""
        node = self.place.node
        cause = getattr(error, "cause", None)
        if isinstance(error, RayTaskError) or isinstance(cause, RayTaskError) or "creation task" in str(error):
            last = [line for line in str(error).splitlines() if line.strip()][-1].strip()
            return RunError(f"nothing can train on node {node.name}: {last}")
        return LostError(f"node {node.name} was lost" if not is_alive(node.key) else f"the actor on {node.name} died")

    def _loss(self, error: RayActorError) -> dict[str, Any]:
        """The event of a run that ended without one of its own."""
        node, message = self.place.node, str(error)
        if self._is_closed or _LOW_MEMORY in message:
            killed = {"signal": 9, "code": -9, "stderr": "", "kernel_oom": not self._is_closed}
            return {"event": "died", **killed}
        what = f"the actor on node {node.name} died" if is_alive(node.key) else f"node {node.name} was lost"
        return {"event": "lost", "reason": what}

    def _with_node(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] == "failed" and event["kind"] in _OF_ONE_NODE:
            return event | {"error": f"{event['error']} (on node {self.place.node.name})"}
        return event


def _error(event: Mapping[str, Any]) -> RunError:
    return RunError(event["what"], where=event["where"], fix=event["fix"])
