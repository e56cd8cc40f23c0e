"""onnxruntime-node in a folder, where node and npm are installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def install_onnxruntime_node(folder: Path) -> None:
    """Install the package without its script, which fetches a library for CUDA; skip the test where that fails."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("node and npm are not installed")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    made = run_outside(
        *("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-timeout=60000"),
        *("--fetch-retries=1", "onnxruntime-node"),
        cwd=folder,
    )
    if made.returncode:
        pytest.skip(f"onnxruntime-node cannot be installed here: {made.stderr.strip()[-300:]}")
    loads = run_outside("node", "--input-type=module", "-e", "import 'onnxruntime-node'", cwd=folder)
    if loads.returncode:
        pytest.skip(f"onnxruntime-node brings no library for this machine: {loads.stderr.strip()[-300:]}")


def run_outside(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program that does not see this project's packages; one that does not end has failed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = list(map(str, words))
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "it did not end within five minutes")
