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
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sequifier-peers"
PEERS = {"1.0.0.6": ["numpy<2", "pyarrow==21"], "3.1.1.0": []}
SEQ_LENGTH, BATCH_SIZE, WIDTH = 48, 64, 64
DROPOUT, FEED_FORWARD = [0.0, 0.1], [96, 128]
TWENTY, EIGHT = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3], [1e-3, 3e-3]
"""Learning rates, which make grids of so many runs."""
MANY_EPOCHS = 101


@dataclass(frozen=True)
class Grid:
    """The searched values."""

    rates: list[float]
    dropout: list[float]
    feed_forward: list[int]
    epochs: int = 1

    @property
    def n_runs(self) -> int:
        """How many runs it has."""
        return len(self.rates) * len(self.dropout) * len(self.feed_forward)


def write_table(path: Path) -> None:
    """10 sequences of 600 events: a category that mostly follows itself, and a real number."""
    draw = random.Random(0)
    lines = ["sequenceId,itemPosition,item,price"]
    for sequence in range(10):
        item = 0
        for position in range(600):
            item = (item + draw.choice([1, 1, 1, 2])) % 20
            lines.append(f"{sequence},{position},{item},{draw.gauss(item, 1):.4f}")
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


def write(path: Path, values: dict[str, Any]) -> None:
    """A YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def write_ours(root: Path, grid: Grid) -> None:
    """Configs of this release."""
    write(root / "configs/preprocess.yaml", {"data_path": "data/events.csv", "seq_length": SEQ_LENGTH})
    write(
        root / "configs/hyperparameter_search.yaml",
        {
            "metadata_config_path": "configs/metadata_configs/events.json",
            "hp_search_name": "tune",
            "search_strategy": "grid",
            "target_columns": ["item"],
            "override_input": True,
            "model_hyperparameter_sampling": {
                "dim_model": WIDTH,
                "n_head": 4,
                "num_layers": 2,
                "dim_feedforward": grid.feed_forward,
            },
            "training_hyperparameter_sampling": {
                "device": "cpu",
                "epochs": grid.epochs,
                "learning_rate": grid.rates,
                "batch_size": BATCH_SIZE,
                "dropout": grid.dropout,
            },
        },
    )


def write_v1(root: Path, grid: Grid) -> None:
    """Configs of 1.0, which wants the folder of its run files to be there."""
    (root / "configs/hp_search").mkdir(parents=True)
    write(
        root / "configs/preprocess.yaml",
        {
            "project_root": ".",
            "data_path": "data/events.csv",
            "read_format": "csv",
            "write_format": "parquet",
            "selected_columns": ["item", "price"],
            "split_ratios": [0.8, 0.1, 0.1],
            "seq_length": SEQ_LENGTH,
            "stride_by_split": [SEQ_LENGTH] * 3,
            "max_rows": None,
        },
    )
    columns = ["item", "price"]
    write(
        root / "configs/hyperparameter_search.yaml",
        {
            "project_root": ".",
            "metadata_config_path": "configs/metadata_configs/events.json",
            "hp_search_name": "tune",
            "search_strategy": "grid",
            "n_samples": None,
            "model_config_write_path": "configs/hp_search",
            "training_data_path": "data/events-split0.parquet",
            "validation_data_path": "data/events-split1.parquet",
            "read_format": "parquet",
            "input_columns": [columns],
            "target_columns": ["item"],
            "target_column_types": {"item": "categorical"},
            "seq_length": [SEQ_LENGTH],
            "inference_batch_size": 10,
            "export_generative_model": True,
            "export_embedding_model": False,
            "override_input": True,
            "model_hyperparameter_sampling": {
                "initial_embedding_dim": [WIDTH],
                "joint_embedding_dim": [None],
                "feature_embedding_dims": [{"item": WIDTH // 2, "price": WIDTH // 2}],
                "dim_model": [WIDTH],
                "n_head": [4],
                "dim_feedforward": grid.feed_forward,
                "num_layers": [2],
                "prediction_length": 1,
                "activation_fn": ["swiglu"],
                "normalization": ["rmsnorm"],
                "positional_encoding": ["learned"],
                "attention_type": ["mha"],
                "norm_first": [True],
                "n_kv_heads": [None],
                "rope_theta": [10000.0],
            },
            "training_hyperparameter_sampling": {
                "device": "cpu",
                "epochs": [grid.epochs] * len(grid.rates),
                "save_interval_epochs": grid.epochs,
                "batch_size": [BATCH_SIZE],
                "learning_rate": grid.rates,
                "criterion": {"item": "CrossEntropyLoss"},
                "accumulation_steps": [1],
                "dropout": grid.dropout,
                "optimizer": [{"name": "Adam"}],
                "scheduler": [{"name": "StepLR", "step_size": 1, "gamma": 0.99}] * len(grid.rates),
                "continue_training": False,
            },
        },
    )


def write_v3(root: Path, grid: Grid) -> None:
    """Configs of 3.1."""
    write(
        root / "configs/preprocess.yaml",
        {
            "project_root": ".",
            "preprocessing_data_path": "data/events.csv",
            "read_format": "csv",
            "write_format": "parquet",
            "selected_columns": ["item", "price"],
            "split_ratios": [0.8, 0.1, 0.1],
            "split_method": "within_sequence",
            "window_length": SEQ_LENGTH + 1,
            "max_target_offset": 1,
            "window_stride": SEQ_LENGTH,
            "max_rows": None,
        },
    )
    write(
        root / "configs/train.yaml",
        {
            "project_root": ".",
            "model_name": "base",
            "device": "cpu",
            "global_training": {
                "training_objective": "causal",
                "context_length": SEQ_LENGTH,
                "inference_batch_size": 10,
                "batch_size": BATCH_SIZE,
                "learning_rate": grid.rates[0],
                "optimizer": {"name": "Adam"},
                "scheduler": {"name": "StepLR", "step_size": 1, "gamma": 0.99},
                "scheduler_step_on": "epoch",
            },
            "model": {
                "backbone": {
                    "architecture": {
                        "dim_model": WIDTH,
                        "num_layers": 2,
                        "attention": {"n_heads": 4},
                        "feed_forward": {"dim": 128},
                        "dropout": 0.0,
                    }
                },
                "interface": {
                    "input_columns": ["item", "price"],
                    "target_columns": ["item"],
                    "ingestion": {
                        "type": "embedding",
                        "output_dim": WIDTH,
                        "feature_embedding_dims": {"item": WIDTH // 2, "price": WIDTH // 2},
                    },
                    "decoder": {"type": "linear", "prediction_length": 1},
                },
            },
            "dataset": {
                "part": {"metadata_config_path": "configs/metadata_configs/events.json"},
                "criterion": {"item": "CrossEntropyLoss"},
            },
            "training_plan": {"epochs": grid.epochs},
            "evaluation": True,
            "export_generative_model": True,
            "export_embedding_model": False,
        },
    )
    write(
        root / "configs/hyperparameter_search.yaml",
        {
            "base_config_path": "train.yaml",
            "project_root": ".",
            "name": "tune",
            "method": "grid",
            "model_config_write_path": "configs/hp_search",
            "prune_trials": False,
            "parameters": {
                "global_training": {"learning_rate": grid.rates},
                "model": {
                    "backbone": {"architecture": {"dropout": grid.dropout, "feed_forward": {"dim": grid.feed_forward}}}
                },
            },
        },
    )


Write = Callable[[Path, Grid], None]


def new_project(root: Path, grid: Grid, write_configs: Write, program: list[str]) -> Path:
    """A preprocessed project with the search still to be done."""
    write_table(root / "data/events.csv")
    write_configs(root, grid)
    sequifier(program, "preprocess", root)
    return root


def sequifier(program: list[str], command: str, root: Path) -> float:
    """Run a command in a project; returns the seconds of the whole process."""
    # The peers start `sequifier` by its name.
    path = f"{Path(program[0]).parent}{os.pathsep}{os.environ['PATH']}"
    began = time.perf_counter()
    done = subprocess.run(
        [*program, command, f"--config-path=configs/{command.replace('-', '_')}.yaml"],
        cwd=root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{program} {command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return time.perf_counter() - began


def measure_parts(folder: Path) -> dict[str, float]:
    """Search 20 runs; seconds of each part, per run but for the start-up."""
    grid = Grid(TWENTY, DROPOUT, FEED_FORWARD)
    root = new_project(folder, grid, write_ours, OURS)
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
        root = new_project(folder / name, grid, write_configs, program)
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


def peer(version: str) -> list[str]:
    """The command of an earlier release, installed when it is not there yet."""
    folder = CACHE / f"v{version}"
    program = folder / "bin/sequifier"
    if not program.exists():
        print(f"installing sequifier {version} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        wanted = [f"sequifier=={version}", *PEERS[version]]
        subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return [str(program)]


OURS = [sys.executable, "-m", "sequifier"]


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
