"""How fast does a model train? Windows per second beside a careful plain loop and, with --peers, earlier releases.

Three sizes, windows of 48 events of 3 categorical and 2 real columns, one categorical target, AdamW or Adam. First
float32 against float32; then bfloat16, where the machine multiplies it in hardware or with --bfloat16, against the
plain loop and 1.0 under their autocast. Each comparison has one number format.

The plain loop is what a careful person writes in eager torch: one matrix for queries, keys and values, one for both
halves of the SwiGLU, causal attention without a mask, fused AdamW, data held as tensors. It has a process of its own,
whose steps alternate with ours, so that the ratio holds when the speed of the machine drifts. In bfloat16 it takes its
blocks under torch.autocast and its head in float32, as ours does.

Earlier releases run in environments of their own (peers.py) on the same table. They do not say how long they trained,
so a search of one model is timed with one epoch and with many, in processes of their own, and ours in the same way:
the difference is training with validation on a fiftieth of the rows, start-up and compilation apart. The second figure
is that of the longer search as a whole, with its start, compilation and export. Counted are the windows that each
release trains: 1.0 leaves out the last batch of an epoch where it is not full, 896 of 1,000 windows remain with batches
of 128. 3.1 has no autocast on one CPU, so it is measured in float32 alone.

Utilisation is the rate of the model's own products, 6 x windows/s x T x (P + L x T x D), by the machine's best matrix
product of the same number format in the same process. P: weights of the linear layers; T steps, L layers, D width; 6 =
a product and a sum, forward and twice backward; T x D for attention that sees half the steps, for queries with keys and
again with values (Chowdhery et al. 2022, appendix B, with half the attention because it is causal).

    python benchmarks/training.py [--rounds 20] [--peers 2] [--compile] [--bfloat16 | --float32]
"""

import argparse
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from peers import OURS, PEERS, Grid, Write, formats_ours, new_project, peer, sequifier, write_ours, write_v1, write_v3
from torch import Tensor, nn

from sequifier.config.train import TrainConfig
from sequifier.prepare import Prepared, prepare
from sequifier.training.precision import has_matrix_unit
from sequifier.training.shared import Shared
from sequifier.training.step import train_step
from sequifier.training.threads import set_threads

N_SEQUENCES, N_EVENTS, STEPS = 40, 1250, 48
COLUMNS = ("item", "shop", "channel", "price", "weight")
CLASSES = {"item": 50, "shop": 20, "channel": 10}
SPLIT_RATIOS = [0.96, 0.02, 0.02]


@dataclass(frozen=True)
class Size:
    """A model and its batch."""

    width: int
    layers: int
    heads: int
    batch_size: int
    epochs: int  # of the long run that earlier releases are timed with

    def __str__(self) -> str:
        return f"width {self.width} x {self.layers}, batch {self.batch_size}"

    def grid(self, epochs: int, products: str = "float32") -> Grid:
        """A search of this model alone."""
        shape = {"width": self.width, "layers": self.layers, "heads": self.heads, "batch_size": self.batch_size}
        common = {"columns": COLUMNS, "split_ratios": SPLIT_RATIOS, "products": products}
        return Grid([1e-3], [0.0], [4 * self.width], epochs, **shape, **common)


Take = Callable[[int], float]
"""Takes so many steps and says how many seconds they took."""

LEAVES_PARTIAL_BATCH = {"1.0.0.6"}
"""Releases that train full batches alone."""

HAS_AUTOCAST = {"1.0.0.6"}
"""Releases that compute under autocast on one device."""

SIZES = [Size(64, 2, 4, 128, 40), Size(128, 4, 4, 128, 10), Size(256, 6, 8, 64, 4)]


def write_table(path: Path, n_sequences: int = N_SEQUENCES, n_events: int = N_EVENTS) -> None:
    """Sequences of events: categories that mostly follow themselves, and real numbers around them."""
    draw = random.Random(0)
    lines = [",".join(("sequenceId", "itemPosition", *COLUMNS))]
    for sequence in range(n_sequences):
        state = dict.fromkeys(CLASSES, 0)
        for position in range(n_events):
            state = {column: (state[column] + draw.choice([1, 1, 1, 2])) % n for column, n in CLASSES.items()}
            reals = (draw.gauss(state["item"], 1), draw.gauss(state["shop"], 1))
            lines.append(f"{sequence},{position},{','.join(map(str, state.values()))},{reals[0]:.4f},{reals[1]:.4f}")
    path.write_text("\n".join(lines) + "\n")


def prepared(root: Path, size: Size, products: str, *, compiled: bool, device: str = "auto") -> Prepared:
    """Our model of this size, ready to train."""
    config = {
        "project_root": str(root),
        "metadata_config_path": "configs/metadata_configs/events.json",
        "model_name": "speed",
        "target_columns": ["item"],
        "model_spec": {"dim_model": size.width, "n_head": size.heads, "num_layers": size.layers},
        "training_spec": {
            "device": device,
            "batch_size": size.batch_size,
            "learning_rate": 1e-3,
            "optimizer": {"name": "AdamW"},
            "torch_compile": compiled,
            **formats_ours(size.grid(1, products)),
        },
    }
    return prepare(TrainConfig.model_validate(config), Shared())


class PlainBlock(nn.Module):
    """A block as nanoGPT has it, with RMSNorm and SwiGLU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 8 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        B, T, D = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        up, gate = self.up(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)  # type: ignore[no-any-return]


class PlainModel(nn.Module):
    """Embeddings side by side, positions, blocks, one head."""

    def __init__(self, n_classes: list[int], widths: list[int], size: Size, products: str) -> None:
        super().__init__()
        self.is_short = products == "bfloat16"
        self.categories = nn.ModuleList(
            nn.Embedding(classes, width) for classes, width in zip(n_classes, widths, strict=False)
        )
        self.reals = nn.ModuleList(nn.Linear(1, width) for width in widths[len(n_classes) :])
        self.positions = nn.Parameter(torch.zeros(STEPS, size.width))
        self.blocks = nn.ModuleList(PlainBlock(size.width, size.heads) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.width, eps=1e-6)
        self.head = nn.Linear(size.width, CLASSES["item"])

    def forward(self, categories: Tensor, reals: Tensor) -> Tensor:
        """(B, T, C) and (B, T, R) -> logits (B, T, classes)."""
        parts = [embed(categories[..., number]) for number, embed in enumerate(self.categories)]
        parts += [embed(reals[..., number, None]) for number, embed in enumerate(self.reals)]
        x = torch.cat(parts, dim=-1) + self.positions
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.is_short):
            for block in self.blocks:
                x = block(x)
        return self.head(self.norm(x.float()))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PlainData:
    """What the plain loop trains on: the first category is the target."""

    categories: NDArray[np.int64]  # (rows, C)
    reals: NDArray[np.float32]  # (rows, R)
    starts: NDArray[np.int64]  # first rows of the windows
    n_classes: list[int]
    widths: list[int]  # of the embeddings


def plain_data(ready: Prepared) -> PlainData:
    """The rows that ours trains on."""
    events, shape = ready.train.events, ready.architecture
    columns = [np.asarray(events.columns[name]) for name, _ in shape.categorical]
    assert shape.categorical[0][0] == "item"
    return PlainData(
        np.stack(columns, axis=1).astype(np.int64),
        np.stack([np.asarray(events.columns[name]) for name in shape.real], axis=1),
        np.asarray(ready.train.windows.last).astype(np.int64) - STEPS,
        [classes for _, classes in shape.categorical],
        list(shape.embedding_widths),
    )


def plain_loop(pipe: Connection, data: PlainData, size: Size, products: str, device: torch.device) -> None:
    """The plain loop, in a process that nothing of ours has set up: takes steps, says how long they took."""
    set_threads(None)
    categories, reals, starts = (
        torch.from_numpy(values).to(device) for values in (data.categories, data.reals, data.starts)
    )
    model = PlainModel(data.n_classes, data.widths, size, products).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    steps = torch.arange(STEPS, device=device)
    while (n_steps := pipe.recv()) is not None:
        began = finished(device)
        for _ in range(n_steps):
            chosen = starts[torch.randint(0, len(starts), (size.batch_size,), device=device)]
            rows = chosen[:, None] + steps
            logits = model(categories[rows], reals[rows])
            loss = F.cross_entropy(logits.flatten(0, 1), categories[rows + 1][..., 0].flatten() - 1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        pipe.send(finished(device) - began)


@contextmanager
def plain_steps(ready: Prepared, size: Size, products: str) -> Iterator[Take]:
    """Steps of the plain loop."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=plain_loop, args=(theirs, plain_data(ready), size, products, ready.device), daemon=True
    )
    process.start()

    def take(n_steps: int) -> float:
        ours.send(n_steps)
        return float(ours.recv())

    yield take
    ours.send(None)
    process.join()


def our_steps(ready: Prepared, size: Size) -> Take:
    """Steps of ours."""
    draw = np.random.default_rng(0)
    ready.state.model.train()

    def take(n_steps: int) -> float:
        began = finished(ready.device)
        for _ in range(n_steps):
            chosen = ready.train.choose(draw.integers(0, len(ready.train), size.batch_size))
            train_step(ready.state, ready.train, [chosen], ready.objective, ready.config)
        return finished(ready.device) - began

    return take


def finished(device: torch.device) -> float:
    """The time when the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def alternate(loops: dict[str, Take], rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each loop, in turn; a turn takes about half a second."""
    turns = {}
    for name, take in loops.items():
        take(3)
        turns[name] = max(1, round(0.5 / take(1)))
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, take in loops.items():
            seconds[name].append(take(turns[name]) / turns[name])
    return seconds


def matrix_rate(device: torch.device, products: str) -> float:
    """Floating-point operations per second of a product of two square matrices in a format; the best of 20."""
    n = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device).to(getattr(torch, products)) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        began = finished(device)
        torch.mm(a, b)
        best = min(best, finished(device) - began)
    return 2 * n**3 / best


def operations_per_window(ready: Prepared, size: Size) -> float:
    """Of the model's products, forward and backward; the formula is at the top."""
    linear = sum(module.weight.numel() for module in ready.state.model.modules() if isinstance(module, nn.Linear))
    return 6 * STEPS * (linear + size.layers * STEPS * size.width)


def measure_steps(folder: Path, size: Size, products: str, rounds: int, *, compiled: bool) -> None:
    """Print our windows per second, the plain loop's, and the utilisation, both in one number format."""
    root = new_project(write_table, folder, size.grid(1), write_ours, OURS)
    ready = prepared(root, size, products, compiled=compiled)
    rate = matrix_rate(ready.device, products)
    with plain_steps(ready, size, products) as plain:
        seconds = alternate({"ours": our_steps(ready, size), "plain loop": plain}, rounds)
    speeds = {name: size.batch_size / statistics.median(values) for name, values in seconds.items()}
    ratios = [plain / ours for ours, plain in zip(seconds["ours"], seconds["plain loop"], strict=True)]
    used = speeds["ours"] * operations_per_window(ready, size) / rate
    print(
        f"{size!s:24} {products:8} ours {speeds['ours']:6.0f} windows/s, plain loop {speeds['plain loop']:6.0f}, "
        f"ours / plain loop {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}); "
        f"{100 * used:.0f} % of {rate / 1e9:.0f} GFLOP/s in {products}",
        flush=True,
    )


def trained_windows(size: Size, *, leaves_partial_batch: bool) -> int:
    """Windows that an epoch trains."""
    windows = N_SEQUENCES * len(range(0, round(N_EVENTS * SPLIT_RATIOS[0]) - STEPS - 1 + STEPS, STEPS))
    return windows // size.batch_size * size.batch_size if leaves_partial_batch else windows


def speeds_of(
    folder: Path, size: Size, products: str, release: str, write_configs: Write, program: list[str], rounds: int
) -> tuple[float, float]:
    """Windows per second of further epochs, and of the whole command with many epochs; the best of some rounds."""
    windows = trained_windows(size, leaves_partial_batch=release in LEAVES_PARTIAL_BATCH)
    seconds: dict[int, list[float]] = {1: [], size.epochs: []}
    for number in range(rounds + 1):  # the first only fills caches of compiled code
        for epochs, found in seconds.items():
            place, grid = folder / f"{number}-{epochs}", size.grid(epochs, products)
            root = new_project(write_table, place, grid, write_configs, program)
            found.append(sequifier(program, "hyperparameter-search", root))
    one, many = (min(found[1:]) for found in seconds.values())
    return windows * (size.epochs - 1) / (many - one), windows * size.epochs / many


def measure_peers(folder: Path, size: Size, products: str, rounds: int) -> None:
    """Print windows per second of whole processes, ours and those of earlier releases, all in one number format."""
    programs: dict[str, tuple[Write, list[str]]] = {"ours": (write_ours, OURS)}
    for version, write_configs in zip(PEERS, (write_v1, write_v3), strict=True):
        if products == "float32" or version in HAS_AUTOCAST:
            programs[version] = (write_configs, peer(version))
    found = {
        name: speeds_of(folder / name, size, products, name, *program, rounds) for name, program in programs.items()
    }
    for kind, what in enumerate(("further epochs", "whole command")):
        speeds = {name: speed[kind] for name, speed in found.items()}
        others = ", ".join(
            f"{name} {speed:.0f} (ours / it {speeds['ours'] / speed:.2f})"
            for name, speed in speeds.items()
            if name != "ours"
        )
        print(f"{size!s:24} {products:8} {what:14} ours {speeds['ours']:6.0f} windows/s; {others}", flush=True)


def main() -> None:
    """Print a line for each size and number format."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--peers", type=int, default=0, metavar="ROUNDS", help="measure earlier releases too")
    options.add_argument("--compile", action="store_true", help="compile our model")
    which = options.add_mutually_exclusive_group()
    which.add_argument("--bfloat16", action="store_true", help="measure bfloat16 on a CPU without a unit for it, too")
    which.add_argument("--float32", action="store_true", help="leave bfloat16 out")
    given = options.parse_args()
    has_unit = torch.cuda.is_available() or has_matrix_unit()
    formats = ["float32", "bfloat16"] if given.bfloat16 or (has_unit and not given.float32) else ["float32"]
    print(f"{os.cpu_count()} cores, torch {torch.__version__}; bfloat16 in hardware: {'yes' if has_unit else 'no'}")
    with tempfile.TemporaryDirectory() as temporary:
        for products in formats:
            for size in SIZES:
                place = Path(temporary) / f"steps-{products}-{size.width}"
                measure_steps(place, size, products, given.rounds, compiled=given.compile)
        if given.peers:
            print("processes of their own, validation and checkpoints included; windows as each release trains them")
            for products in formats:
                for size in SIZES:
                    measure_peers(Path(temporary) / f"peers-{products}-{size.width}", size, products, given.peers)


if __name__ == "__main__":
    main()
