"""Trainings in processes of their own without an import of torch for each: a server imports once and forks per run.

The server never computes, so no OpenMP thread and no thread pool of polars exists that a fork could lose. A run can be
killed with SIGKILL as it is told of a step; it is done from within, so the moment is exact.
"""

import json
import os
import random
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

SECONDS_PER_RUN = 120
"""A run that takes longer hangs: it ends with SIGALRM."""


@dataclass(frozen=True)
class Moment:
    """After which optimizer step of which epoch a run is killed, both from 1."""

    epoch: int
    step: int


class RunServer:
    """Runs trainings one after the other, each in a process forked from one that has imported everything.

    Args:
        hash_seed: of Python's hashes, so that two servers differ in the order of their sets as two starts do.
        log: gets what the runs say.
    """

    def __init__(self, *, hash_seed: int, log: Path) -> None:
        self._log, self._before = log, 0
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "OPENBLAS_NUM_THREADS": "1"}
        with log.open("a") as said:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=environment,
            )

    def run(self, root: Path, config: Mapping[str, Any], *, kill_after: Moment | None = None) -> int:
        """Train in the project `root`; returns the exit status, or minus the signal that ended it."""
        job = {
            "root": str(root),
            "config": config,
            "kill_after": None if kill_after is None else asdict(kill_after),
        }
        self._before = self._log.stat().st_size
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server ended: {self.said()}")
        return int(answer)

    def said(self) -> str:
        """What the last run has written to stderr."""
        return self._log.read_bytes()[self._before :].decode()

    def __enter__(self) -> "RunServer":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def serve() -> None:
    """One job per line of stdin, its exit status as a line of stdout."""
    import onnx  # noqa: F401
    import pytorch_optimizer  # noqa: F401
    import torch

    import sequifier.api
    import sequifier.run  # noqa: F401

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(False)  # imports half of torch, which each run would do again
    assert "polars" not in sys.modules, "its thread pool does not survive a fork"
    n_threads = _n_threads()
    for line in sys.stdin:
        assert _n_threads() == n_threads, "a fork loses threads"
        child = os.fork()
        if child == 0:
            os._exit(_train(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _n_threads() -> int:
    """Of this process, on Linux; onnxruntime, which a run here does not use, starts one when it is imported."""
    return len(list(Path("/proc/self/task").glob("*")))


def _train(job: dict[str, Any]) -> int:
    """One run, in the forked process."""
    try:
        import numpy as np
        import torch

        from sequifier import api
        from sequifier.config.train import TrainConfig

        signal.alarm(SECONDS_PER_RUN)
        # A process that is started has states of its own; what draws from them cannot be resumed.
        random.seed()
        np.random.seed()
        torch.seed()
        os.chdir(job["root"])

        def emit(event: str, **fields: Any) -> None:
            if event == "step" and job["kill_after"] == {"epoch": fields["epoch"], "step": fields["step"]}:
                os.kill(os.getpid(), signal.SIGKILL)

        result = api.train(TrainConfig.model_validate(job["config"]), emit=emit)
        assert result.ended == "finished", f"{result.ended}: {result.error}"
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()


if __name__ == "__main__":
    serve()
