"""Kills a search again and again with SIGKILL, and compares what comes of it with a search that nobody disturbed.

    python -m tests.end_to_end.kill_hundred_times [--kills 100] [--seed 0]

A search of 12 runs is started, killed at a random moment 3 to 10 seconds later and started again with the same command,
as often as asked; then it may finish. It is made long enough to be still at work after the last kill. In the end every
run must have finished once, and configurations and validation losses must equal those of the undisturbed search to the
last digit. After each kill no process of the search may be left. Takes about a quarter of a minute per kill in all.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from sequifier.artifacts.ledger import Record, latest_by_run, read_ledger
from tests.support.shop import new_shop

N_RUNS = 12
FROM_SECONDS, TO_SECONDS = 3.0, 10.0
TRAINING_PER_KILL_SECONDS = 6.0
"""More than a search gets done between a start and its kill: 6.5 s on average less its start-up, with a margin for a
machine that was slower when the epochs were measured."""

COMMAND = [sys.executable, "-m", "sequifier", "hyperparameter-search", "--config-path", "search.yaml", "--quiet"]


def write_search(root: Path, *, epochs: int, n_runs: int = N_RUNS) -> None:
    """A search of runs with dropout, so that a random state that got lost would show."""
    config = {
        "metadata_config_path": "configs/metadata_configs/shop.json",
        "hp_search_name": "tune",
        "search_strategy": "grid",
        "target_columns": ["item"],
        "model_hyperparameter_sampling": {"dim_model": 16, "n_head": 2, "num_layers": 2, "dim_feedforward": 32},
        "training_hyperparameter_sampling": {
            "device": "cpu",
            "epochs": epochs,
            "batch_size": 16,
            "learning_rate": 0.003,
            "dropout": [round(0.05 * number, 2) for number in range(1, n_runs + 1)],
            "save_interval_epochs": epochs,
        },
    }
    (root / "search.yaml").write_text(yaml.safe_dump(config))


def new_project(data: Path, root: Path, *, epochs: int, n_runs: int = N_RUNS) -> Path:
    """A copy of the preprocessed data with a search of its own."""
    shutil.copytree(data, root)
    write_search(root, epochs=epochs, n_runs=n_runs)
    return root


def finish(root: Path) -> dict[int, Record]:
    """Let a search run to its end; returns the last record of each run."""
    subprocess.run(COMMAND, cwd=root, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return latest_by_run(read_ledger(root / "logs/tune"))


def is_alive(root: Path) -> bool:
    """Whether a process works in the folder."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cwd").resolve() == root and (folder / "stat").read_text().rpartition(")")[2].split()[
                0
            ] != "Z":
                return True
        except OSError:
            continue  # it ended meanwhile
    return False


def kill_once(root: Path, seconds: float) -> bool:
    """Start the search and kill it after so many seconds; False when it came to its end before."""
    started = subprocess.Popen(
        COMMAND, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, said = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()
    else:
        if started.returncode:
            raise SystemExit(f"the search failed:\n{said}")
        return False
    end = time.monotonic() + 5
    while is_alive(root):
        if time.monotonic() > end:
            raise SystemExit("a process of the search outlived it by 5 s")
        time.sleep(0.02)
    return True


def epochs_for(data: Path, folder: Path, kills: int) -> int:
    """How many epochs each run needs for the search to outlast the kills; measured with a search of one run."""
    n_epochs = 60
    (record,) = finish(new_project(data, folder / "measure", epochs=n_epochs, n_runs=1)).values()
    return max(10, round(kills * TRAINING_PER_KILL_SECONDS / N_RUNS / (record.seconds["total"] / n_epochs)))


def main() -> None:
    """Kill, compare, and say what was found; exit code 1 when something differs."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=0, help="of the moments")
    given = options.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        data = folder / "data"
        new_shop(data)
        epochs = epochs_for(data, folder, given.kills)
        print(f"{N_RUNS} runs of {epochs} epochs, {os.cpu_count()} cores", flush=True)
        began = time.monotonic()
        expected = finish(new_project(data, folder / "calm", epochs=epochs))
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)

        root = new_project(data, folder / "disturbed", epochs=epochs)
        kills = 0
        while kills < given.kills and kill_once(root, draw.uniform(FROM_SECONDS, TO_SECONDS)):
            kills += 1
            if kills % 10 == 0 or kills == given.kills:
                done = latest_by_run(read_ledger(root / "logs/tune")).values()
                print(f"{kills} kills, {sum(r.state == 'finished' for r in done)} runs finished", flush=True)
        found = finish(root)
        records = read_ledger(root / "logs/tune")

        problems = []
        if kills < given.kills:
            problems.append(f"the search came to its end after {kills} kills")
        if [run for run, record in found.items() if record.state != "finished"] or len(found) != N_RUNS:
            problems.append(f"states: {[record.state for record in found.values()]}")
        finished = sorted(record.run for record in records if record.state == "finished")
        if finished != list(range(N_RUNS)):
            problems.append(f"not every run finished once: {finished}")
        for run, record in expected.items():
            other = found.get(run)
            if other is None or (other.identity, other.best_val_loss, other.best_epoch, other.metrics) != (
                record.identity,
                record.best_val_loss,
                record.best_epoch,
                record.metrics,
            ):
                problems.append(f"run {run}: {other and other.best_val_loss!r} instead of {record.best_val_loss!r}")
        models = {path.name for path in (root / "models").iterdir()} ^ {
            path.name for path in (folder / "calm/models").iterdir()
        }
        if models:
            problems.append(f"models differ: {sorted(models)}")
        attempts = sum(record.state == "running" for record in records)
        print(f"{kills} kills, {attempts} attempts of {N_RUNS} runs: {'; '.join(problems) or 'all equal'}")
        sys.exit(bool(problems))


if __name__ == "__main__":
    main()
