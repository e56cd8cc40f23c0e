"""Experiments in files of their own, and the records of their runs."""

import subprocess
import sys
import textwrap
from pathlib import Path

from sequifier.experiment import Experiment

HEADER = "from sequifier.experiment import Experiment, CacheBackend, file_namespace, folder_path\n"
DECORATOR = "@Experiment(base_path=folder_path(__file__), namespace=file_namespace(__file__), glob=globals())\n"


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file; the text may be indented."""
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def write_experiment(folder: Path, body: str, *, above: str = "", below: str = "", name: str = "exp.py") -> Path:
    """Write an experiment whose function has this body."""
    function = "def experiment(e):\n" + textwrap.indent(textwrap.dedent(body).strip() or "pass", "    ")
    above, below = textwrap.dedent(above), textwrap.dedent(below)
    return write(folder, name, f"{HEADER}{above}\n{DECORATOR}{function}\n\n{below}\nexperiment.run_if_main()\n")


def start(path: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the file as a program."""
    return subprocess.run([sys.executable, str(path), *words], check=check, capture_output=True, text=True)


def folders(base: Path, namespace: str = "results/exp") -> list[Path]:
    """Return the folders of the runs, oldest first."""
    found = [path for path in (base / namespace).iterdir() if path.name != "cache" and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path / "experiment_meta.json").stat().st_mtime_ns)


def last(base: Path, namespace: str = "results/exp") -> Experiment:
    """Return the record of the newest run."""
    return Experiment.load(folders(base, namespace)[-1])
