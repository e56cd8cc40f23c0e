"""What do targets of very many classes cost? Prints the steps of a catalogue, and every command with a million classes.

    python benchmarks/catalogues.py [--steps 10] [--classes 54542] [--million 1000000] [--folder DIR]

1. 40,000 sequences of 52 events of 54,542 items: a step of 128 windows of 50 events, width 64, two layers, tied
   weights, over all classes and over a sample of 2,000. A step of 32 windows over all classes, in chunks and with all
   logits at once, which for 128 would be 8 GB. Each in a process of its own; the memory is by how much its peak grows.
   Then one epoch with the sample by `sequifier train`.
2. 400 sequences of 5,000 events of a million items: `sequifier preprocess`, a dry run of a search, `train` with three
   steps and one validation, its models included, and `infer` with `top_k`. Each is a process.

Processor time beside the clock: with other processes at work, the clock says little.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

N_SEQUENCES, LENGTH = 40_000, 52
WITH_TOP = {"top_k": 10, "model_path": "models/sequifier-catalogue-best-1.onnx"}
WITH_LABELS = {"export_end_to_end": True, "export_top_k": 10}
METADATA = "configs/metadata_configs/events.json"
SAMPLED = {"softmax": {"item": {"sampled": 2000}}}
LOSSES: dict[str, dict[str, Any]] = {
    "all classes, all logits at once, 32 windows": {"batch_size": 32, "loss_memory_mb": 1_000_000},
    "all classes, 32 windows": {"batch_size": 32},
    "all classes": {},
    "2,000 sampled classes": SAMPLED,
}


def write_table(path: Path, n_sequences: int, length: int, n_classes: int) -> None:
    """Write sequences that stay for ten events among 50 items, by popularity; each item occurs once at least."""
    import polars as pl

    draw = np.random.default_rng(0)
    n_groups, n_events = max(n_classes // 50, 1), n_sequences * length
    group = np.repeat(draw.integers(0, n_groups, (n_sequences, -(-length // 10))), 10, axis=1)[:, :length]
    popularity = 1 / np.arange(1, 51) ** 0.8
    item = group + n_groups * draw.choice(50, (n_sequences, length), p=popularity / popularity.sum())
    item = item.ravel() % n_classes
    item[draw.choice(n_events, n_classes, replace=False)] = draw.permutation(n_classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = np.array([f"item{number:07}" for number in range(n_classes)])
    keys = {"user": np.repeat(np.arange(n_sequences), length), "step": np.tile(np.arange(length), n_sequences)}
    pl.DataFrame({**keys, "item": names[item]}).write_parquet(path)


def write_configs(folder: Path, *, training: dict[str, Any], **fields: Any) -> None:
    """Write the config of each command; JSON is YAML."""
    data = {"data_path": "data/events.parquet", "read_format": "parquet"}
    keys = {"sequence_column": "user", "position_column": "step", "selected_columns": ["item"]}
    split = {"split_method": "last_events", "split_events": [1, 1], "seq_length": 50}
    run = {"metadata_config_path": METADATA, "target_columns": ["item"], "seq_length": 50, "direction": "maximize"}
    run |= {"metric": "val_item_ndcg_10", "ranking": {"item": {"k": [10], "exclude_seen": True}}, **fields}
    sampling = {"dim_model": [64], "n_head": [2], "tie_weights": [["item"], []]}
    model = {"dim_model": 64, "n_head": 2, "num_layers": 2, "dim_feedforward": 64, "tie_weights": ["item"]}
    spec = {"epochs": 1, "batch_size": 128, "learning_rate": 0.001, **training}
    configs: dict[str, dict[str, Any]] = {
        "preprocess": {**data, **keys, **split},
        "train": {**run, "model_name": "catalogue", "model_spec": model, "training_spec": spec},
        "hyperparameter_search": {
            **run,
            "hp_search_name": "catalogues",
            "search_strategy": "grid",
            "model_hyperparameter_sampling": sampling,
            "training_hyperparameter_sampling": {
                "learning_rate": [0.001, 0.003],
                "epochs": 1,
                "softmax": [SAMPLED["softmax"]],
            },
        },
        "infer": {"metadata_config_path": METADATA, "data_path": "data/events-split2.parquet", **WITH_TOP},
    }
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    for name, content in configs.items():
        (folder / "configs" / f"{name}.yaml").write_text(json.dumps({"project_root": str(folder), **content}))


def command(folder: Path, *words: str) -> tuple[float, float, float]:
    """Run a command; returns seconds, seconds of a processor, and its peak memory in bytes."""
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    said = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed:\n{said}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def measure(folder: Path, n_steps: int) -> None:
    """Take some steps and print what they cost, as JSON: run by a process of its own."""
    from sequifier.config.loading.load import load
    from sequifier.config.train import TrainConfig
    from sequifier.prepare import prepare
    from sequifier.training.shared import Shared
    from sequifier.training.step import train_step

    ready = prepare(load(TrainConfig, folder / "configs" / "train.yaml").config, Shared())
    began, size, clock, processor = _peak(), ready.config.training_spec.batch_size, [], []
    for number in range(n_steps):
        windows = np.arange(number * size, (number + 1) * size)
        at, used = time.perf_counter(), time.process_time()
        train_step(ready.state, ready.train, [ready.train.choose(windows)], ready.objective, ready.config)
        ready.state.progress.step += 1
        clock.append(time.perf_counter() - at)
        processor.append(time.process_time() - used)
    n_windows = len(ready.train)
    print(json.dumps({"clock": clock, "processor": processor, "memory": _peak() - began, "steps": n_windows // size}))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def losses(folder: Path, n_steps: int, n_classes: int) -> None:
    """Print a table of the losses."""
    write_table(folder / "data" / "events.parquet", N_SEQUENCES, LENGTH, n_classes)
    write_configs(folder, training={})
    preprocess = ("-m", "sequifier", "preprocess", "--config-path", "configs/preprocess.yaml")
    command(folder, *preprocess)
    print(f"\n{n_classes:,} classes, {N_SEQUENCES:,} sequences, width 64, windows of 50 events\n")
    print(
        "| loss over | a step, s | of a processor, s | an epoch, minutes (from the steps) | memory of the steps, MB |"
    )
    print("|---|---|---|---|---|")
    for name, training in LOSSES.items():
        write_configs(folder, training=training)
        ours = [sys.executable, __file__, "--measure", str(folder), "--steps", str(n_steps)]
        found = json.loads(subprocess.run(ours, check=True, stdout=subprocess.PIPE).stdout)
        # The first step allocates what the others use again.
        step, used = (statistics.median(found[kind][1:]) for kind in ("clock", "processor"))
        minutes = step * found["steps"] / 60
        print(f"| {name} | {step:.2f} | {used:.2f} | {minutes:.1f} | {found['memory'] / 1e6:,.0f} |", flush=True)
    seconds, used, memory = command(folder, "-m", "sequifier", "train", "--config-path", "configs/train.yaml")
    print(
        f"\n`sequifier train` with the sample: {seconds:.0f} s, {used:.0f} of a processor, {memory / 1e6:,.0f} MB at "
        f"most, for start, baselines, an epoch, a validation of {N_SEQUENCES:,} targets over all classes, and export."
    )


def million(folder: Path, n_classes: int) -> None:
    """Print a table of the commands."""
    write_table(folder / "data" / "events.parquet", 400, 5000, max(n_classes, 1000))
    write_configs(folder, training={**SAMPLED, "batch_size": 400}, window_stride=4000, **WITH_LABELS)
    print(f"\n{n_classes:,} classes, 2,000,000 events\n")
    print("| command | s | of a processor, s | peak memory, MB |\n|---|---|---|---|")
    words = {
        "preprocess": ["preprocess"],
        "a search, --dry-run": ["hyperparameter-search", "--dry-run"],
        "train: 3 steps, 400 validation targets, two models": ["train"],
        "infer: 400 predictions, top_k: 10": ["infer"],
    }
    for name, (verb, *options) in words.items():
        config = folder / "configs" / f"{verb.replace('hyperparameter-', 'hyperparameter_')}.yaml"
        seconds, used, memory = command(folder, "-m", "sequifier", verb, "--config-path", str(config), *options)
        print(f"| {name} | {seconds:.1f} | {used:.1f} | {memory / 1e6:,.0f} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=10, help="steps with each loss (default 10)")
    options.add_argument("--classes", type=int, default=54_542, help="classes of the catalogue (default 54542)")
    options.add_argument("--million", type=int, default=1_000_000, help="classes of the commands (default 1000000)")
    options.add_argument("--folder", type=Path, help="folder that keeps tables, models and logs; default: none is kept")
    options.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args(arguments)
    if given.measure is not None:
        measure(given.measure, given.steps)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        losses(folder / "catalogue", given.steps, given.classes)
        million(folder / "million", given.million)


if __name__ == "__main__":
    main()
