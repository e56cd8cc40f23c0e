"""What does each hand-written function of `sequifier/model/cpu` gain on this CPU, and what do the last steps alone?

A training step with the functions and one without some of them alternate in one process, so that their ratio holds when
the speed of the machine drifts: seconds without / seconds with, above 1 where the functions are faster. One line for
each width and part, the median of the rounds and their quartiles. `all` is the plain path against everything.

- norms: RMSNorm folded into the matrices behind it (`fused.py`), without and with dropout.
- dropout: masks by SFC64 (`dropout.py`) instead of torch's serial generator.
- attention: attention as batched products (`short_attention.py`), with dropout, and in bfloat16.
- last steps: a prediction of the last step alone against one of all steps, of which the last is taken.

bfloat16 is measured where the processor multiplies it in hardware (AMX) or with --bfloat16.

    python benchmarks/cpu_paths.py [--rounds 15] [--widths 64 128 256] [--bfloat16]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from sequifier.config.architecture import Architecture, Target
from sequifier.model.build import build_model
from sequifier.model.cpu.switch import Part, only
from sequifier.training.memory import keep_freed_memory
from sequifier.training.precision import has_matrix_unit
from sequifier.training.threads import set_threads

STEPS, CLASSES = 48, 50
SHAPES = {64: (2, 4, 128), 128: (4, 4, 128), 256: (6, 8, 64)}
"""Width -> layers, heads, windows in a batch; the sizes of benchmarks/training.py."""

ALL: tuple[Part, ...] = ("norms", "attention", "dropout")


def architecture(width: int, dropout: float) -> Architecture:
    """A model of one categorical column."""
    layers, heads, _ = SHAPES[width]
    return Architecture(
        categorical=(("item", CLASSES),),
        real=(),
        embedding_widths=(width,),
        targets=(Target("item", "categorical", CLASSES),),
        seq_length=STEPS,
        prediction_length=1,
        dim_model=width,
        n_head=heads,
        n_kv_heads=heads,
        num_layers=layers,
        dim_feedforward=4 * width,
        joint_embedding=False,
        activation_fn="swiglu",
        normalization="rmsnorm",
        norm_first=True,
        positional_encoding="learned",
        rope_theta=10000.0,
        dropout=dropout,
    )


def training_step(width: int, dropout: float, *, bfloat16: bool) -> Callable[[], None]:
    """A step on one batch of random events, its weights changed by fused AdamW."""
    model = build_model(architecture(width, dropout), torch.Generator().manual_seed(0)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(1, CLASSES, (SHAPES[width][2], STEPS + 1, 1))
    no_reals = torch.empty(len(ids), STEPS, 0)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            hidden = model(ids[:, :-1], no_reals)
        loss = F.cross_entropy(model.predict(hidden)["item"].flatten(0, 1), ids[:, 1:].flatten() - 1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

    return step


def prediction(width: int, n_last: int | None) -> Callable[[], None]:
    """A prediction of each window's next event."""
    model = build_model(architecture(width, 0.0), torch.Generator().manual_seed(0)).eval()
    ids = torch.randint(1, CLASSES, (SHAPES[width][2], STEPS, 1))
    no_reals = torch.empty(len(ids), STEPS, 0)

    def predict() -> None:
        with torch.inference_mode():
            model.predict(model(ids, no_reals, n_last=n_last)[:, -1:])

    return predict


def under(parts: tuple[Part, ...], step: Callable[[], None]) -> Callable[[], None]:
    """The step with these functions alone."""

    def switched() -> None:
        with only(*parts):
            step()

    return switched


def ratios(without: Callable[[], None], with_them: Callable[[], None], rounds: int) -> list[float]:
    """Seconds without / seconds with, one ratio for each round; each turn takes about a fifth of a second."""

    def seconds(step: Callable[[], None], count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            step()
        return time.perf_counter() - began

    for step in (without, with_them):
        seconds(step, 2)
    count = max(1, round(0.2 / seconds(with_them, 1)))
    found = []
    for number in range(rounds):
        pair = [(without, count), (with_them, count)]
        taken = [seconds(*each) for each in (pair if number % 2 else reversed(pair))]
        found.append(taken[0] / taken[1] if number % 2 else taken[1] / taken[0])
    return found


def report(width: int, what: str, found: list[float]) -> None:
    """Print one line."""
    low, middle, high = statistics.quantiles(found, n=4)
    print(f"width {width:3}  {what:32} {middle:.3f} ({low:.3f}-{high:.3f})", flush=True)


def main() -> None:
    """Print a line for each width and part."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--widths", type=int, nargs="+", choices=list(SHAPES), default=list(SHAPES))
    options.add_argument("--bfloat16", action="store_true", help="measure bfloat16 on a CPU without a unit for it, too")
    given = options.parse_args()
    set_threads(int(os.environ.get("OMP_NUM_THREADS", 0)) or None)
    keep_freed_memory()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    cases: list[tuple[str, float, bool, Part | None]] = [
        ("norms", 0.0, False, "norms"),
        ("all, dropout 0.1", 0.1, False, None),
        ("norms, dropout 0.1", 0.1, False, "norms"),
        ("attention, dropout 0.1", 0.1, False, "attention"),
        ("dropout, dropout 0.1", 0.1, False, "dropout"),
    ]
    if has_matrix_unit() or given.bfloat16:
        cases += [
            ("all, bfloat16", 0.0, True, None),
            ("norms, bfloat16", 0.0, True, "norms"),
            ("attention, bfloat16", 0.0, True, "attention"),
        ]
    for width in given.widths:
        for what, dropout, bfloat16, part in cases:
            step = training_step(width, dropout, bfloat16=bfloat16)
            others = () if part is None else tuple(each for each in ALL if each != part)
            report(width, what, ratios(under(others, step), step, given.rounds))
        report(width, "last steps", ratios(prediction(width, None), prediction(width, 1), given.rounds))


if __name__ == "__main__":
    main()
