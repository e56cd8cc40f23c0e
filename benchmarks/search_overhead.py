"""What does a search cost beyond training? Prints seconds per run, start-up apart, and seconds per exported model.

20 runs of one tiny epoch (width 64, two layers, windows of 48 events) are searched in a process of their own. From the
ledger: start-up is the time of the process without that of its runs, the loading of the worker above all; beyond
training is what is left of the time per run without training, validation and export. The best and the last epoch of
such a run are the same, so that one model is exported and checked, and its file copied.

With --peers a grid of 8 runs on the same table is also searched by earlier releases of Sequifier, each in a virtual
environment that this script makes in a cache folder (once; about 7 GB each where pip takes torch with CUDA). They do
not say how long their training took, so one run is also searched alone, with one epoch and with 101: the first tells
the start of a search, the difference an epoch. What the other runs of the grid take without an epoch is beyond
training, models included. Ours is measured in the same way beside them. Takes about 5 minutes.

    python benchmarks/search_overhead.py [--rounds 3] [--peers]
"""

import argparse
import json
import os
import random
import statistics
import tempfile
from datetime import datetime
from pathlib import Path

from peers import OURS, PEERS, Grid, Write, new_project, peer, sequifier, write_ours, write_v1, write_v3

DROPOUT, FEED_FORWARD = [0.0, 0.1], [96, 128]
TWENTY, EIGHT = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3], [1e-3, 3e-3]
"""Learning rates, which make grids of so many runs."""
MANY_EPOCHS = 101


def write_table(path: Path) -> None:
    """10 sequences of 600 events: a category that mostly follows itself, and a real number."""
    draw = random.Random(0)
    lines = ["sequenceId,itemPosition,item,price"]
    for sequence in range(10):
        item = 0
        for position in range(600):
            item = (item + draw.choice([1, 1, 1, 2])) % 20
            lines.append(f"{sequence},{position},{item},{draw.gauss(item, 1):.4f}")
    path.write_text("\n".join(lines) + "\n")


def measure_parts(folder: Path) -> dict[str, float]:
    """Search 20 runs; seconds of each part, per run but for the start-up."""
    grid = Grid(TWENTY, DROPOUT, FEED_FORWARD)
    root = new_project(write_table, folder, grid, write_ours, OURS)
    whole = sequifier(OURS, "hyperparameter-search", root)
    records = [json.loads(line) for line in (root / "logs/tune/ledger.jsonl").read_text().splitlines()]
    finished = [record for record in records if record["state"] == "finished"]
    assert len(finished) == grid.n_runs
    # The worker loads during the first run, so runs are counted from its end.
    first, *others = finished
    began, ended = (datetime.fromisoformat(record["time"]) for record in (first, others[-1]))
    per_run = (ended - began).total_seconds() / len(others)
    parts = {
        part: sum(record["seconds"][part] for record in others) / len(others)
        for part in ("training", "validation", "export")
    }
    return {
        "start-up": whole - per_run * len(others) - first["seconds"]["total"],
        **parts,
        "beyond training": per_run - sum(parts.values()),
        "per run": per_run,
    }


def measure_whole(folder: Path, write_configs: Write, program: list[str]) -> dict[str, float]:
    """Search the grid of 8, and one run of it alone with one epoch and with many; seconds of whole processes."""
    grids = {
        "all": Grid(EIGHT, DROPOUT, FEED_FORWARD),
        "one": Grid(EIGHT[:1], DROPOUT[:1], FEED_FORWARD[:1]),
        "long": Grid(EIGHT[:1], DROPOUT[:1], FEED_FORWARD[:1], MANY_EPOCHS),
    }
    seconds = {}
    for name, grid in grids.items():
        root = new_project(write_table, folder / name, grid, write_configs, program)
        seconds[name] = sequifier(program, "hyperparameter-search", root)
    epoch = (seconds["long"] - seconds["one"]) / (MANY_EPOCHS - 1)
    per_run = (seconds["all"] - seconds["one"]) / (grids["all"].n_runs - 1)
    return {
        "grid": seconds["all"],
        "first run": seconds["one"],
        "further run": per_run,
        "its epoch": epoch,
        "beyond training": per_run - epoch,
    }


def main() -> None:
    """Print two tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--peers", action="store_true")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rounds = [measure_parts(folder / f"round{number}") for number in range(given.rounds)]
        print(
            f"20 runs of one epoch, {os.cpu_count()} cores, {given.rounds} rounds: medians, in seconds (lowest-highest)"
        )
        for part in rounds[0]:
            values = [each[part] for each in rounds]
            unit = "once" if part == "start-up" else "per run"
            print(f"{part:16} {unit:8} {statistics.median(values):7.3f}  ({min(values):.3f}-{max(values):.3f})")
        if not given.peers:
            return
        print("\ngrid of 8 runs of one epoch, models included, one round, in seconds")
        ours = measure_whole(folder / "ours", write_ours, OURS)
        rows = {"this release": ours}
        for version, write_configs in zip(PEERS, (write_v1, write_v3), strict=True):
            rows[version] = measure_whole(folder / version, write_configs, peer(version))
        for name, row in rows.items():
            ratio = row["beyond training"] / ours["beyond training"]
            values = "  ".join(f"{part} {seconds:.2f}" for part, seconds in row.items())
            print(f"{name:12}  {values}, which is {ratio:.0f} x ours")


if __name__ == "__main__":
    main()
