"""docs/cluster.md, command by command: two nodes as two processes on this machine."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.processes import wait_for

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## A cluster by hand")[2].partition("\n## ")[0]
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL) for line in block.splitlines()]
PROGRAMS = Path(sys.executable).parent
WITHOUT_TOKEN = {"RAY_AUTH_MODE": "disabled"}  # which the user of this machine may have for clusters of their own


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def node(line: str, folder: Path) -> Iterator[None]:
    """A `ray start` that stays in the foreground, so that it can be ended alone."""
    words = [*shlex.split(line), "--num-cpus=1", "--block"]
    environment = {**os.environ, **WITHOUT_TOKEN}
    with (folder / "ray.log").open("a") as log:
        process = subprocess.Popen(
            [PROGRAMS / words[0], *words[1:]], stdout=log, stderr=log, cwd=folder, env=environment
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def test_the_page_leads_from_two_nodes_to_a_ranked_table(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    assert COMMANDS[0].startswith("pip install")
    starts = [line for line in COMMANDS if line.startswith("ray start")]
    port, address = free_port(), socket.gethostbyname(socket.gethostname())
    starts = [line.replace("6379", str(port)).replace("192.168.0.10", address) for line in starts]
    found = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "RAY_ADDRESS": f"{address}:{port}"}
    environment = {**os.environ, **WITHOUT_TOKEN, **found}
    folder, printed = tmp_path, ""
    with ExitStack() as nodes:
        for line in starts:
            nodes.enter_context(node(line, tmp_path))
            time.sleep(1)
        wait_for(lambda: _status(environment).count("node_") == 2, seconds=90)
        for line in COMMANDS[COMMANDS.index("sequifier make trips --example flights") :]:
            if line == "ray stop":  # ends every cluster of this user
                continue
            if line.startswith("cd "):
                folder /= line.removeprefix("cd ")
                continue
            done = subprocess.run(
                shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, timeout=400
            )
            assert done.returncode == 0, done.stderr
            printed += done.stdout + done.stderr
    assert "2 workers on 2 nodes of a Ray cluster (1 CPU for each)" in printed
    assert "best model:" in printed


def _status(environment: dict[str, str]) -> str:
    done = subprocess.run(["ray", "status"], env=environment, capture_output=True, text=True)
    return done.stdout
