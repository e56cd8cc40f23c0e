"""How does Sequifier train on a GPU? Results as Markdown tables, ready for RESULTS.md, in about 6 minutes on an H100.

The time is an estimate: no GPU has run this script yet.

Five parts. An error in one of them is printed, and the others run:

- `steps`: time of a training step of the three sizes of training.py, eager and with compiled blocks, beside the plain
  PyTorch loop of that file, which has a process of its own whose steps alternate with ours;
- `syncs`: what a step asks of the GPU, by torch's profiler: kernels, how long they keep the GPU busy, and how often the
  host waits for it (`torch.cuda.set_sync_debug_mode`);
- `formats`: validation loss after each epoch with products in float32 and in bfloat16, on the tokens of Python's
  standard library, two seeds each: the difference between formats beside the difference between seeds;
- `memory`: a search whose run does not fit into the memory that its worker may use. The batch has to be halved and the
  run to finish. A run with half the batch measures how much is allowed: 1.4 times its peak, on a CPU a fixed number;
- `workers`: a search of four runs, one after another and two at a time on the one device. Their losses are compared.

Steps replayed as CUDA graphs are left out: Sequifier has none, since no GPU was at hand when its step was written.

    python benchmarks/gpu.py [--device cpu] [--quick] [PART ...]

It needs one GPU, the first that CUDA shows. Without one it says so and ends. `--device cpu --quick` takes a minute and
shows only whether the script works.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from peers import OURS, new_project, write_ours
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training import SIZES, Size, Take, alternate, finished, our_steps, plain_steps, prepared, write_table

from sequifier.config.train import TrainConfig
from sequifier.experiment.environment import machine
from sequifier.model.device import device_name
from sequifier.prepare import Prepared
from sequifier.run import run
from sequifier.run_record import RunResult
from sequifier.training.memory import release_device_memory

BFLOAT16_FROM = 256
"""Width from which the products of a run are in bfloat16 by default (docs/decisions/028-products-on-a-gpu.md)."""
SLACK = 1.4
"""Memory of the worker in the part `memory`, as a multiple of what half the batch needs."""
CPU_MEGABYTES = 700
"""The same on a CPU, where only growth of the address space can be limited."""
PROFILED_STEPS = 20

Line = list[object]


@dataclass(frozen=True)
class Bench:
    """Where and how much is measured.

    Attributes:
        folder: empty; each part makes folders of its own there.
        device: cuda or cpu.
        quick: models and data are tiny, and figures mean nothing.
    """

    folder: Path
    device: str
    quick: bool

    @property
    def sizes(self) -> list[Size]:
        """The models whose steps are measured."""
        return [Size(16, 1, 2, 8, 1)] if self.quick else SIZES

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU to ask."""
        return self.device != "cpu"


def table(head: Line, lines: list[Line]) -> str:
    """A Markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)


def steps(bench: Bench) -> Iterator[str]:
    """Milliseconds of a step: ours, ours compiled, the plain loop."""
    lines: list[Line] = []
    for size in bench.sizes:
        usual = "bfloat16" if size.width >= BFLOAT16_FROM else "float32"
        for products in ("float32", "bfloat16"):
            note(f"steps: {size}, {products}")
            found = measure_steps(bench, size, products, compiled=products == usual)
            lines.append([f"{size.width} x {size.layers}, batch {size.batch_size}", products, *found])
    yield table(["model", "products", "ours", "compiled", "plain loop", "plain / ours", "windows/s, ours"], lines)
    yield (
        "Milliseconds of a step, medians (lowest-highest). Compiled blocks are measured in the default format of a "
        "size; the plain loop is eager."
    )


def measure_steps(bench: Bench, size: Size, products: str, *, compiled: bool) -> Line:
    """A line of the table: times of the three loops, and our windows per second."""
    root = table_project(bench.folder / f"steps-{size.width}-{products}", size, bench)
    ready = prepared(root, size, products, compiled=False, device=bench.device)
    ours = {"ours": our_steps(ready, size)}
    if compiled and not bench.quick:
        again = prepared(root, size, products, compiled=True, device=bench.device)
        ours["compiled"] = our_steps(again, size)
    with plain_steps(ready, size, products) as plain:
        seconds = alternate({**ours, "plain": plain}, 1 if bench.quick else 6)
    ratio = statistics.median(p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True))
    times = [milliseconds(seconds[name]) if name in seconds else "" for name in ("ours", "compiled", "plain")]
    return [*times, f"{ratio:.2f}", f"{size.batch_size / statistics.median(seconds['ours']):,.0f}"]


def milliseconds(seconds: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{1e3 * statistics.median(seconds):.2f} ({1e3 * min(seconds):.2f}-{1e3 * max(seconds):.2f})"


def syncs(bench: Bench) -> Iterator[str]:
    """What a step asks of the GPU, and how often the host waits for it."""
    lines: list[Line] = []
    for size in bench.sizes:
        note(f"syncs: {size}")
        root = table_project(bench.folder / f"syncs-{size.width}", size, bench)
        ready = prepared(root, size, "float32", compiled=False, device=bench.device)
        take = our_steps(ready, size)
        take(3)
        kernels, busy, wall = profiled(take, ready)
        waits = waits_of(take, ready)
        lines.append(
            [
                f"{size.width} x {size.layers}, batch {size.batch_size}",
                f"{kernels:.0f}",
                f"{1e3 * busy:.2f}",
                f"{1e3 * wall:.2f}",
                f"{busy / wall:.0%}",
                f"{waits:.2f}" if bench.on_gpu else "",
            ]
        )
    yield table(["model, float32", "kernels", "GPU busy, ms", "step, ms", "GPU busy", "host waits"], lines)
    yield f"Per eager step, means of {PROFILED_STEPS}; the profiler itself lengthens a step."


def profiled(take: Take, ready: Prepared) -> tuple[float, float, float]:
    """Kernels of a step, their seconds, and the seconds of the step; on a CPU operators instead of kernels."""
    on_gpu = ready.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        wall = take(PROFILED_STEPS)
    if on_gpu:  # ranges of the host, such as the optimizer's step, are repeated on the device as annotations
        on_device = [event for event in found.events() or [] if event.device_type == DeviceType.CUDA]
        kernels = [event for event in on_device if not event.is_user_annotation]
        busy = sum(event.time_range.elapsed_us() for event in kernels)
    else:
        kernels = list(found.events() or [])
        busy = sum(event.self_cpu_time_total for event in kernels)
    return len(kernels) / PROFILED_STEPS, busy / 1e6 / PROFILED_STEPS, wall / PROFILED_STEPS


def waits_of(take: Take, ready: Prepared) -> float:
    """Operations of a step for which the host waits, as torch counts them."""
    if ready.device.type != "cuda":
        take(1)
        return 0.0
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            take(PROFILED_STEPS)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = sum("synchronizing CUDA operation" in str(warning.message) for warning in warned)
    return found / PROFILED_STEPS


def formats(bench: Bench) -> Iterator[str]:
    """Validation losses by epoch in float32 and bfloat16."""
    root, epochs = tokens_project(bench), 2 if bench.quick else 10
    curves: dict[tuple[str, int], list[float]] = {}
    for seed in (1, 2):
        for products in ("float32", "bfloat16"):
            note(f"formats: {products}, seed {seed}")
            training = {"epochs": epochs, "layer_type_dtypes": {"linear": products, "decoder": "float32"}}
            result = train(root, bench, f"{products}-{seed}", training, seed=seed)
            curves[products, seed] = result.curve
    lines: list[Line] = [
        [epoch + 1, *(f"{curve[epoch]:.4f}" for curve in curves.values())]
        for epoch in range(min(len(curve) for curve in curves.values()))
    ]
    yield table(["epoch", *(f"{products}, seed {seed}" for products, seed in curves)], lines)
    best = {key: min(curve) for key, curve in curves.items()}
    apart = [abs(best["bfloat16", seed] - best["float32", seed]) for seed in (1, 2)]
    between = abs(best["float32", 1] - best["float32", 2])
    yield (
        f"Validation loss of the token's kind and length. Best losses of the formats differ by {apart[0]:.4f} and "
        f"{apart[1]:.4f}, those of the seeds in float32 by {between:.4f}."
    )


def memory(bench: Bench) -> Iterator[str]:
    """A search whose run does not fit, on the device's real allocator."""
    root = tokens_project(bench)
    batch = 512 if bench.quick else 8192
    training: dict[str, Any] = {"epochs": 1, "max_steps": 3, "batch_size": batch}
    environment: dict[str, str] = {}
    values: dict[str, Any] = {}
    if bench.on_gpu:
        note("memory: a run with half the batch")
        needed = train(root, bench, "half", training | {"batch_size": batch // 2}).peak_memory_bytes
        release_device_memory()
        fraction = min(0.9, SLACK * needed / torch.cuda.get_device_properties(0).total_memory)
        text = (
            f"import torch\n\n\ndef limit(e, **context):\n    torch.cuda.set_per_process_memory_fraction({fraction})\n"
        )
        (root / "limited.py").write_text(text)
        values["hooks"] = {"before_training": "limited:limit"}
        limit = f"{SLACK * needed / 1e9:.2f} GB"
    else:
        environment["SEQUIFIER_WORKER_MEMORY_MB"] = str(CPU_MEGABYTES)
        limit = f"{CPU_MEGABYTES} MB"
    note("memory: the search")
    search(root, bench, "memory", training, {"dim_model": [128]}, environment, **values)
    records = ledger(root, "memory")
    lines: list[Line] = [
        [record["attempt"], f"{record['batch_size']} x {record['accumulation_steps']}", record["state"], why(record)]
        for record in records
    ]
    yield table(["attempt", "batch", "state", "reason"], lines)
    was_halved = records[-1]["state"] == "finished" and records[-1]["batch_size"] < batch
    yield f"Width 128 x 2, batch {batch}; the worker may use {limit}. " + (
        "Halved and finished." if was_halved else "**Not as expected: the run should be halved and finish.**"
    )


def why(record: dict[str, Any]) -> str:
    """The reason in a record, short enough for a cell."""
    return str(record["error"] or "").partition(";")[0][:90]


def workers(bench: Bench) -> Iterator[str]:
    """The same search with one worker and with two, on the one device."""
    ways = {"one after another": {"devices": 1}, "two at a time": {"devices": 2}}
    if bench.on_gpu:
        ways = {"one after another": {"devices": [0]}, "two at a time": {"devices": [0], "runs_per_device": 2}}
    training = {"epochs": 1 if bench.quick else 30, "learning_rate": [1e-3, 2e-3, 3e-3, 4e-3], "cpu_threads": 1}
    root, seconds, losses, lines = tokens_project(bench), {}, {}, list[Line]()
    for name, execution in ways.items():
        note(f"workers: {name}")
        search_name = name.replace(" ", "-")
        seconds[name] = search(root, bench, search_name, training, {"dim_model": 64}, {}, execution=execution)
        done = [record for record in ledger(root, search_name) if record["state"] == "finished"]
        losses[name] = sorted((record["run"], record["best_val_loss"]) for record in done)
        busy = sum(record["seconds"]["training"] for record in done)
        lines.append([name, len(done), f"{seconds[name]:.1f}", f"{busy:.1f}"])
    yield table(["four runs, 64 x 2, batch 128", "finished", "search, s", "training, s, summed"], lines)
    first, second = seconds.values()
    same = len({str(found) for found in losses.values()}) == 1
    apart = max((abs(a[1] - b[1]) for a, b in zip(*losses.values(), strict=False)), default=float("nan"))
    yield (
        f"Two at a time take {second / first:.2f} of the time of the whole search, start included. "
        f"Losses: {'the same to the last digit' if same else f'differ by up to {apart:.2g}'}."
    )


def table_project(root: Path, size: Size, bench: Bench) -> Path:
    """A project with the table of training.py."""

    def write(path: Path) -> None:
        write_table(path, n_sequences=4, n_events=400) if bench.quick else write_table(path)

    return new_project(write, root, size.grid(1), write_ours, OURS)


def tokens_project(bench: Bench) -> Path:
    """The project with the tokens of Python's standard library, some modules alone when it has to be quick."""
    root = bench.folder / "tokens"
    if not (root / "configs/metadata_configs").exists():
        command(bench.folder, "make", root.name, "--example", "python")
        command(root, "preprocess", *(["-D", "max_rows=20000"] if bench.quick else []))
    return root


def window_stride(bench: Bench) -> int:
    """Events between two training windows."""
    return 24 if bench.quick else 4


def train(root: Path, bench: Bench, name: str, training: dict[str, Any], *, seed: int = 1) -> RunResult:
    """Train one model of the tokens, 128 x 2, in this process."""
    values = {
        "project_root": str(root),
        "metadata_config_path": "configs/metadata_configs/python_tokens.json",
        "model_name": name,
        "seed": seed,
        "target_columns": ["kind", "length"],
        "input_columns": ["kind", "length"],
        "window_stride": window_stride(bench),
        "model_spec": {"dim_model": 32 if bench.quick else 128, "n_head": 4, "num_layers": 2},
        "training_spec": {"device": bench.device, "batch_size": 128, "learning_rate": 1e-3, **training},
    }
    return run(TrainConfig.model_validate(values), emit=lambda event, **fields: None, resume="never")


def search(
    root: Path,
    bench: Bench,
    name: str,
    training: dict[str, Any],
    model: dict[str, Any],
    environment: dict[str, str],
    **values: Any,
) -> float:
    """Search over models of the tokens; returns the seconds of the whole command."""
    root_fields = {name: training[name] for name in ("cpu_threads",) if name in training}
    config = {
        "metadata_config_path": "configs/metadata_configs/python_tokens.json",
        "hp_search_name": name,
        "search_strategy": "grid",
        "target_columns": ["kind", "length"],
        "input_columns": [["kind", "length"]],
        "window_stride": window_stride(bench),
        "model_hyperparameter_sampling": {"n_head": 4, "num_layers": 2, **model},
        "training_hyperparameter_sampling": {
            "device": bench.device,
            "batch_size": 128,
            "learning_rate": 1e-3,
            **{key: value for key, value in training.items() if key not in root_fields},
        },
        **root_fields,
        **values,
    }
    path = root / "configs" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    began = time.perf_counter()
    command(root, "hyperparameter-search", "--config-path", str(path), environment=environment)
    return time.perf_counter() - began


def command(folder: Path, *words: str, environment: dict[str, str] | None = None) -> None:
    """A command of Sequifier, in a process of its own.

    Raises:
        RuntimeError: it failed; the message has the end of what it printed.
    """
    done = subprocess.run(
        [*OURS, *words],
        cwd=folder,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"sequifier {' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def ledger(root: Path, name: str) -> list[dict[str, Any]]:
    """The records of a search."""
    return [json.loads(line) for line in (root / f"logs/{name}/ledger.jsonl").read_text().splitlines()]


def note(line: str) -> None:
    """Progress, beside the results."""
    print(line, file=sys.stderr, flush=True)


PARTS: dict[str, tuple[str, Callable[[Bench], Iterator[str]]]] = {
    "steps": ("Training steps", steps),
    "syncs": ("The GPU in a step", syncs),
    "formats": ("float32 and bfloat16", formats),
    "memory": ("Out of memory in a search", memory),
    "workers": ("Two runs on one device", workers),
}


def measure(bench: Bench, parts: list[str]) -> int:
    """Print the results of each part; returns how many failed."""
    device = torch.device("cuda", 0) if bench.on_gpu else torch.device("cpu")
    name = device_name(device, str(machine()["processor"]))
    if bench.on_gpu:
        name += f", {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB"
    print(f"## On a GPU: `gpu.py`\n\n{time.strftime('%Y-%m-%d')}, {name}, {os.cpu_count()} processors,")
    print(f"torch {torch.__version__}, Python {platform.python_version()}.")
    failed, began = 0, finished(device)
    for name in parts:
        title, part = PARTS[name]
        print(f"\n### {title}\n")
        try:
            for number, text in enumerate(part(bench)):
                print("\n" * (number > 0) + text, flush=True)
        except Exception:
            failed += 1
            print(f"\n**failed:**\n\n```\n{traceback.format_exc()}```", flush=True)
    print(f"\n{(finished(device) - began) / 60:.1f} minutes in all.")
    return failed


def main() -> None:
    """Measure, or say that there is no GPU."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: to try the script")
    options.add_argument("--quick", action="store_true", help="tiny models: to try the script")
    options.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    given = options.parse_args()
    if unknown := sorted(set(given.parts) - PARTS.keys()):
        options.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if given.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here, nothing measured: torch.cuda.is_available() is False")
        return
    with tempfile.TemporaryDirectory() as folder:
        failed = measure(Bench(Path(folder), given.device, given.quick), given.parts or list(PARTS))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
