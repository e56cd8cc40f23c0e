"""How fast are predictions? Four tables: `infer` on a split, generation, the exported model itself, and exporting.

One model, width 128 x 4 layers, 4 heads, windows of 48 events of 3 categorical and 2 real columns, trained for a moment
on a table of 32 sequences; its test split has 10,304 windows, one at each event. Times are of whole processes, from the
shell's point of view, ONNX in all releases, the number of threads left to them.

1. `infer`: windows per second, and the seconds that a call with 4 windows takes, which is start-up. Ours evaluates
   what it predicts too, as is its default. Each release has the batch size that suits it best, found on a quarter of
   the split. Models of 1.0 are exported for one batch size, so it has a model for each.
2. Generation: a second model of the three categories alone, all of them inputs and targets (1.0 fails on mixed ones),
   greedily from the first window of each sequence. Steps per second from the difference between a call with many and
   one with few steps, so without start-up; 32 sequences at once, then one alone. 1.0 is given fewer steps, because each
   takes it the longer the more there are.
3. The exported model in onnxruntime: milliseconds of a call with random full windows, the probabilities asked for.
4. Exporting the same weights: our graph written directly, with and without the comparison with torch that every export
   goes through, beside torch's exporters. docs/decisions/002-onnx-graph-built-directly.md holds the choice.

With --peers, 1 and 2 are also measured for earlier releases (peers.py), in turn with ours; takes half an hour.

    python benchmarks/inference.py [--rounds 3] [--calls 1000] [--peers]
"""

import argparse
import logging
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import peers
import polars as pl
import torch
from peers import OURS, PEERS, Grid, Job, Write, WriteInfer, new_project, peer, sequifier
from torch import Tensor, nn
from training import COLUMNS, write_table

from sequifier.artifacts.model_file import read_model_file, write_model
from sequifier.config.architecture import Architecture
from sequifier.export.onnx import build_graph, export_onnx
from sequifier.model.build import build_model

N_SEQUENCES, N_EVENTS, STEPS = 32, 500, 48
N_WINDOWS = N_SEQUENCES * (370 - STEPS)  # of the last of these splits
GRID = Grid(
    [1e-3],
    [0.0],
    [512],
    width=128,
    layers=4,
    columns=COLUMNS,
    split_ratios=[0.16, 0.1, 0.74],
    stride=1,
)
GENERATING = replace(GRID, columns=COLUMNS[:3], targets=dict.fromkeys(COLUMNS[:3], "categorical"))
BATCHES = [16, 64, 256]
FEW = 4


@dataclass
class Release:
    """A release of Sequifier and its projects."""

    name: str
    program: list[str]
    write_configs: Write
    write_infer: WriteInfer
    many_steps: dict[int, int]  # sequences -> steps of the longer generation
    fixed_batch: bool = False  # its models are exported for one batch size
    projects: dict[tuple[int, int], tuple[Path, Grid]] = field(default_factory=dict)  # targets, batch size

    def project(self, folder: Path, grid: Grid, batch_size: int) -> tuple[Path, Grid]:
        """A project with a model of these targets, trained when it is first asked for."""
        key = (len(grid.targets), batch_size if self.fixed_batch else 0)
        if key not in self.projects:
            source = folder / self.name / "prepared"
            if not source.exists():
                table = partial(write_table, n_sequences=N_SEQUENCES, n_events=N_EVENTS)
                new_project(table, source, GRID, self.write_configs, self.program)
            root = folder / self.name / f"{key[0]}-targets-batch-{key[1]}"
            shutil.copytree(source, root)
            grid = replace(grid, inference_batch_size=batch_size)
            self.write_configs(root, grid)
            sequifier(self.program, "hyperparameter-search", root)
            self.projects[key] = (root, grid)
        return self.projects[key]

    def infer(self, folder: Path, grid: Grid, batch_size: int, sequences: int, windows: int, steps: int = 0) -> float:
        """Seconds of a call on the first windows of the first sequences of the split."""
        root, grid = self.project(folder, grid, batch_size)
        data = "data/events-split2.parquet"
        n_rows = N_WINDOWS
        if (sequences, windows) != (N_SEQUENCES, 0):
            data = f"data/cut-{sequences}-{windows}.parquet"
            n_rows = cut(root, data, sequences, windows)
        model = next(path for path in (root / "models").glob("*-best-*.onnx"))
        self.write_infer(root, Job(grid, f"models/{model.name}", data, batch_size, steps))
        shutil.rmtree(root / "outputs", ignore_errors=True)
        seconds = sequifier(self.program, "infer", root)
        written = [path for path in (root / "outputs/predictions").rglob("*.csv") if not path.is_symlink()]
        found = sum(pl.read_csv(path, infer_schema=False).height for path in written)
        if found != n_rows * max(steps, 1):
            raise SystemExit(f"{self.name}: {found} predictions instead of {n_rows * max(steps, 1)}")
        return seconds


def cut(root: Path, data: str, sequences: int, windows: int) -> int:
    """Write the first windows of the first sequences of the split, 0 for all of them; returns how many there are."""
    split = pl.read_parquet(root / "data/events-split2.parquet").filter(pl.col("sequenceId") < sequences)
    if "subsequenceId" in split.columns:  # earlier releases store windows
        number = pl.col("subsequenceId") - pl.col("subsequenceId").min().over("sequenceId")
    else:
        split = split.filter(~pl.col("isContext"))
        number = pl.int_range(pl.len()).over("sequenceId") - STEPS
    if windows:
        split = split.filter(number < windows)
    split.write_parquet(root / data)
    return sequences * (windows or N_WINDOWS // N_SEQUENCES)


def best_batch(release: Release, folder: Path) -> int:
    """The batch size with which a quarter of the split takes the least time, of two turns."""
    turns = [{size: release.infer(folder, GRID, size, N_SEQUENCES // 4, 0) for size in BATCHES} for _ in range(2)]
    seconds = {size: min(turn[size] for turn in turns) for size in BATCHES}
    shown = ", ".join(f"{size}: {value:.2f} s" for size, value in seconds.items())
    print(f"  {release.name:12} a quarter of the split by batch size: {shown}", flush=True)
    return min(seconds, key=lambda size: seconds[size])


def in_turn(measures: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each gives, one after another, so that a drift of the machine meets all."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def compared(rates: dict[str, list[float]]) -> str:
    """The median of the rounds' ratios of ours to the fastest other release."""
    others = {name: statistics.median(values) for name, values in rates.items() if name != "ours"}
    if not others:
        return "ours alone: --peers compares"
    fastest = max(others, key=lambda name: others[name])
    ratio = statistics.median(ours / it for ours, it in zip(rates["ours"], rates[fastest], strict=True))
    return f"ours / {fastest}: {ratio:.2f}"


def measure_infer(releases: list[Release], folder: Path, rounds: int) -> None:
    """Table 1."""
    print(f"infer: {N_WINDOWS:,} windows, whole processes, {rounds} rounds in turn: medians (lowest-highest)")
    batch = {release.name: best_batch(release, folder) for release in releases}
    whole, start = (
        in_turn(
            {
                release.name: partial(release.infer, folder, GRID, batch[release.name], sequences, windows)
                for release in releases
            },
            rounds,
        )
        for sequences, windows in ((N_SEQUENCES, 0), (1, FEW))
    )
    rates = {name: [N_WINDOWS / seconds for seconds in values] for name, values in whole.items()}
    for name, values in rates.items():
        print(
            f"  {name:12} {statistics.median(values):6.0f} windows/s ({min(values):.0f}-{max(values):.0f}), "
            f"batch {batch[name]}; {statistics.median(start[name]):5.2f} s for {FEW} windows "
            f"({min(start[name]):.2f}-{max(start[name]):.2f})"
        )
    print(f"  {compared(rates)}", flush=True)


def generated_per_second(release: Release, folder: Path, sequences: int) -> float:
    """Events per second beyond the first few, each step of all sequences in one batch."""
    many = release.many_steps[sequences]
    long, short = (release.infer(folder, GENERATING, sequences, sequences, 1, steps=steps) for steps in (many, FEW))
    return sequences * (many - FEW) / (long - short)


def measure_generation(releases: list[Release], folder: Path, rounds: int) -> None:
    """Table 2."""
    print(f"generation: whole processes without start-up, {rounds} rounds in turn: medians (lowest-highest)")
    for sequences in (N_SEQUENCES, 1):
        measures = {release.name: partial(generated_per_second, release, folder, sequences) for release in releases}
        rates = in_turn(measures, rounds)
        shown = ", ".join(
            f"{name} {statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"
            for name, values in rates.items()
        )
        print(f"  {sequences:2} sequences at once, events/s: {shown}; {compared(rates)}", flush=True)


def random_windows(shape: Architecture, n: int) -> dict[str, Any]:
    """Inputs of the exported model: full windows."""
    draw = np.random.default_rng(0)
    feed: dict[str, Any] = {name: draw.integers(1, classes, (n, STEPS)) for name, classes in shape.categorical}
    feed |= {name: draw.standard_normal((n, STEPS), np.float32) for name in shape.real}
    return feed | {"n_events": np.full(n, STEPS)}


def milliseconds(path: Path, shape: Architecture, batch_size: int, threads: int, calls: int) -> list[float]:
    """Of single calls, after some to get warm."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed, taken = random_windows(shape, batch_size), []
    for _ in range(calls + 5):
        began = time.perf_counter()
        session.run(["item_probabilities"], feed)
        taken.append(1000 * (time.perf_counter() - began))
    return taken[5:]


def measure_latency(path: Path, calls: int) -> None:
    """Table 3."""
    shape = read_model_file(path).architecture
    print(f"the exported model in onnxruntime {onnxruntime.__version__}: ms of a call, {calls:,} calls")
    for batch_size in (1, 64):
        for threads in (1, 2):
            median, slow = np.percentile(milliseconds(path, shape, batch_size, threads, calls), [50, 99])
            print(f"  batch {batch_size:2}, {threads} threads: median {median:.2f}, 99 % within {slow:.2f}", flush=True)


class Predictions(nn.Module):
    """The model as torch's exporters take it: the inputs and outputs of our graph."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.model = build_model(shape, torch.Generator().manual_seed(0)).eval()
        self.n_categorical = len(shape.categorical)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Columns (B, T) and n_events (B,) -> probabilities (B, 1, K + 1) and ids (B, 1)."""
        *columns, n_events = inputs
        categories = torch.stack(columns[: self.n_categorical], dim=-1)
        reals = torch.stack(columns[self.n_categorical :], dim=-1)
        is_event = torch.arange(STEPS, 0, -1) <= n_events[:, None]
        # With n_last the number of windows would be fixed: torch.export takes `len` of a tensor for a constant.
        logits = self.model.predict(self.model(categories, reals, is_event)[:, -1:])["item"]
        return nn.functional.pad(logits.softmax(-1), (1, 0)), logits.argmax(-1) + 1


def measure_export(path: Path, folder: Path, rounds: int) -> None:
    """Table 4."""
    shape = read_model_file(path).architecture
    module = Predictions(shape).eval()
    weights, feed = module.model.state_dict(), random_windows(shape, 64)
    given = {"input_names": list(feed), "output_names": ["item_probabilities", "item_id"]}
    inputs = tuple(torch.from_numpy(values[:3]) for values in feed.values())
    some = torch.export.Dim("batch", min=1)
    ways: dict[str, Callable[[Path], Any]] = {
        "written directly": lambda path: write_model(path, build_graph(shape, weights, metadata_props={})),
        "written directly and compared with torch": lambda path: export_onnx(
            path, shape, module.model, properties={}, seed=0
        ),
        "torch, dynamo=True": lambda path: torch.onnx.export(
            module,
            inputs,
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            **given,
            dynamic_shapes={"inputs": tuple({0: some} for _ in inputs)},
        ),
        "torch, dynamo=False": lambda path: torch.onnx.export(
            module,
            inputs,
            path,
            dynamo=False,
            opset_version=20,
            dynamic_axes={name: {0: "batch"} for name in feed},
            **given,
        ),
    }
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    expected = None
    print("exporting: seconds of the first and the median of further exports; ms of a call with 64 windows, 1 thread")
    for name, export in ways.items():
        file, seconds = folder / f"{name}.onnx", []
        try:
            for _ in range(rounds + 1):
                began = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    export(file)
                seconds.append(time.perf_counter() - began)
        except Exception as error:
            print(f"  {name:42} fails: {str(error).strip().splitlines()[0][:100]}")
            continue
        taken = statistics.median(milliseconds(file, shape, 64, 1, 20))
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        found = session.run(["item_probabilities"], feed)[0]
        expected = found if expected is None else expected
        print(
            f"  {name:42} {seconds[0]:7.3f} s, then {statistics.median(seconds[1:]):7.3f}; "
            f"{file.stat().st_size / 1e6:.2f} MB; {taken:.1f} ms; differs by {np.abs(found - expected).max():.1g}",
            flush=True,
        )


def main() -> None:
    """Print four tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--calls", type=int, default=1000)
    options.add_argument("--peers", action="store_true")
    given = options.parse_args()
    releases = [Release("ours", OURS, peers.write_ours, peers.infer_ours, {N_SEQUENCES: 104, 1: 2004})]
    if given.peers:
        v1, v3 = PEERS
        releases += [
            Release(v1, peer(v1), peers.write_v1, peers.infer_v1, {N_SEQUENCES: 54, 1: 504}, fixed_batch=True),
            Release(v3, peer(v3), peers.write_v3, peers.infer_v3, {N_SEQUENCES: 104, 1: 2004}),
        ]
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root, _ = releases[0].project(folder, GRID, BATCHES[0])
        model = next((root / "models").glob("*-best-*.onnx"))
        measure_latency(model, given.calls)
        measure_export(model, folder, given.rounds)
        measure_infer(releases, folder, given.rounds)
        measure_generation(releases, folder, given.rounds)


if __name__ == "__main__":
    main()
