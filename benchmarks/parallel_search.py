"""How much sooner is a search done when several runs train at once? Prints seconds of a whole search, and ratios.

The 8 runs of `sequifier make NAME --example python` (widths 32 and 64, one and two epochs) are searched on this CPU in
three ways, in turn: one run after another with all threads, one after another with one thread, and by default, which is
a worker with one thread for each core. The last two must give the same losses to the last digit. Takes 10 minutes.

    python benchmarks/parallel_search.py [--rounds 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sequifier.artifacts.ledger import latest_by_run, read_ledger
from sequifier.execution.machine import this_machine

WAYS = {
    "one run after another, all threads": ["execution.devices=1"],
    "one run after another, one thread": ["execution.devices=1", "cpu_threads=1"],
    "a worker with one thread for each core": [],
}


def sequifier(root: Path, *arguments: str) -> float:
    """Run a command; returns its seconds."""
    before = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "sequifier", *arguments], cwd=root, check=True, capture_output=True, env=os.environ
    )
    return time.perf_counter() - before


def search(root: Path, name: str, settings: list[str]) -> tuple[float, dict[str, float | None]]:
    """Search once; returns the seconds, and the loss of each run by identity."""
    defines = [
        word
        for setting in [f"hp_search_name={name}", "training_hyperparameter_sampling.device=cpu", *settings]
        for word in ("-D", setting)
    ]
    config = "configs/hyperparameter_search.yaml"
    seconds = sequifier(root, "hyperparameter-search", "--config-path", config, "--yes", *defines)
    records = latest_by_run(read_ledger(root / "logs" / name)).values()
    assert all(record.state == "finished" for record in records)
    return seconds, {record.identity: record.best_val_loss for record in records}


def main() -> None:
    """Search in each way, in turn, and print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    rounds = options.parse_args().rounds
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tokens"
        sequifier(Path(folder), "make", "tokens", "--example", "python")
        sequifier(root, "preprocess")
        for number in range(rounds):
            found = {}
            for place, (way, settings) in enumerate(WAYS.items()):
                took, found[way] = search(root, f"search-{number}-{place}", settings)
                seconds[way].append(took)
            _, one, several = found.values()
            assert one == several, "losses differ"
    print(
        f"{this_machine().cores} cores, {rounds} rounds in turn, medians (lowest-highest) of whole searches of 8 runs\n"
    )
    print("| | seconds | | times as fast |\n|---|---|---|---|")
    first = statistics.median(next(iter(seconds.values())))
    for way, taken in seconds.items():
        median = statistics.median(taken)
        print(f"| {way} | {median:.1f} | ({min(taken):.1f}-{max(taken):.1f}) | {first / median:.2f} |")
    print("\nThe last two have the same losses to the last digit.")


if __name__ == "__main__":
    main()
