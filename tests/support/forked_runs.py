"""Trainings in processes of their own that need not import torch: a server imports it once and forks for each run.

The server never computes, so it has no OpenMP threads and no thread pool of polars that a fork could lose. A run can
kill itself with SIGKILL when a given step is reported, so the moment is exact.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
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
    """The optimizer step and the epoch after which a run is killed; both count from 1."""

    epoch: int
    step: int


class RunServer:
    """Runs trainings one after another, each in a process forked from one that has imported everything.

    Args:
        hash_seed: seed of Python's hashes; two servers order their sets differently, as two starts of Python do.
        log: file for the stderr of the runs.
    """

    def __init__(self, *, hash_seed: int, log: Path) -> None:
        self._log, self._before = log, 0
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "OPENBLAS_NUM_THREADS": "1"}
        with log.open("a") as file:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=environment,
            )

    def run(self, root: Path, config: Mapping[str, Any], *, kill_after: Moment | None = None) -> int:
        """Train in the project `root`; return the exit status, or minus the signal that ended the run."""
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
            raise RuntimeError(f"the server ended: {self.stderr()}")
        return int(answer)

    def stderr(self) -> str:
        """Return the stderr of the last run."""
        return self._log.read_bytes()[self._before :].decode()

    def __enter__(self) -> "RunServer":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def serve() -> None:
    """Run the job of each line of stdin and print its exit status."""
    import onnx  # noqa: F401
    import pytorch_optimizer  # noqa: F401
    import torch
    import torch._dynamo  # half of torch, once and not in each run: its optimizers load it

    import sequifier.api
    import sequifier.run  # noqa: F401

    torch.set_num_threads(1)
    assert "polars" not in sys.modules, "its thread pool does not survive a fork"
    n_threads = _n_threads()
    for line in sys.stdin:
        end = time.monotonic() + 10
        while _n_threads() > n_threads and time.monotonic() < end:  # some last for a moment only
            time.sleep(0.01)
        assert _n_threads() <= n_threads, "a fork loses threads"
        child = os.fork()
        if child == 0:
            os._exit(_train(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _n_threads() -> int:
    """Return the number of threads of this process, on Linux; importing onnxruntime, not needed here, starts one."""
    return len(list(Path("/proc/self/task").glob("*")))


def _train(job: dict[str, Any]) -> int:
    """Train in the forked process and return its exit status."""
    try:
        import numpy as np
        import torch

        from sequifier import api
        from sequifier.config.train import TrainConfig

        signal.alarm(SECONDS_PER_RUN)
        # A new process has random states of its own: a run that used them could not be resumed exactly.
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
