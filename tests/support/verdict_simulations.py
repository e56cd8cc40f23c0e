"""Simulated searches for the verdict on a result, and the figures of docs/decisions/014-statistics-of-a-result.md.

Print all of them (about ten minutes): python -m tests.support.verdict_simulations
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.sequence_losses import Units
from sequifier.results.comparison import Comparison, compare
from sequifier.results.student import half_width

Floats = NDArray[np.float64]
R = 20
SIZES = (5, 10, 20, 40)
KINDS = ("normal", "heavy tails", "one wild run")
SD = 0.2


@dataclass(frozen=True)
class Search:
    """One simulated search: runs on the same sequences, some of which are hard for all."""

    losses: Floats  # (R, n) mean loss of each sequence
    truth: Floats  # (R,) the loss of each trained model over all sequences that exist
    counts: Floats  # (n,)

    def compared(self) -> list[Comparison]:
        """Return the verdict on each run, in the order of the runs."""
        values = (self.losses * self.counts).sum(axis=1)
        order = np.argsort(values, kind="stable")
        found = compare([{0: Units(self.losses[run] * self.counts, self.counts, "sequences")} for run in order])
        by_run = dict(zip(order.tolist(), found, strict=True))
        return [by_run[run] for run in range(len(values))]


def noise(draw: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Floats:
    """Return the noise of each run and sequence, of standard deviation SD."""
    if kind == "heavy tails":
        return draw.standard_t(3, shape) * SD / 3**0.5
    return draw.normal(0, SD, shape)


def search(draw: np.random.Generator, kind: str, n: int, *, worse_by: float = 0.0, spread: float = 0.0) -> Search:
    """Simulate a search of R runs on n sequences.

    Args:
        draw: generator of random numbers.
        kind: one of KINDS.
        n: number of sequences.
        worse_by: how much worse run 0 is, in standard errors of a difference of two runs.
        spread: standard deviation of the true losses of the runs.
    """
    counts = draw.integers(20, 60, n).astype(np.float64)
    truth = draw.normal(0, spread, R) if spread else np.zeros(R)
    error = SD * 2**0.5 * np.sqrt((counts**2).sum()) / counts.sum()
    truth[0] += worse_by * error
    losses = draw.normal(2, 0.5, n) + noise(draw, kind, (R, n)) + truth[:, None]
    if kind == "one wild run":
        losses[1] += draw.normal(5, 5, n)
        truth[1] += 5
    return Search(losses, truth, counts)


def equal_called_worse(kind: str, n: int, searches: int, seed: int = 0) -> float:
    """Proportion of equal runs that are called worse; the wild one does not count."""
    draw = np.random.default_rng(seed)
    called = []
    for _ in range(searches):
        found = search(draw, kind, n).compared()
        called += [bool(each.is_worse) for run, each in enumerate(found) if run != 1 or kind != "one wild run"]
    return float(np.mean(called))


def best_kept(kind: str, n: int, searches: int, seed: int = 1) -> float:
    """Proportion of searches in which the best trained model is not called worse."""
    draw = np.random.default_rng(seed)
    kept = 0
    for number in range(searches):
        one = search(draw, kind, n, spread=0.0 if number % 2 else 0.03)
        kept += not one.compared()[int(np.argmin(one.truth))].is_worse
    return kept / searches


def found_worse(kind: str, n: int, searches: int, seed: int = 2) -> float:
    """Proportion of searches in which a run that is worse by 3.5 standard errors is called worse."""
    draw = np.random.default_rng(seed)
    return float(np.mean([search(draw, kind, n, worse_by=3.5).compared()[0].is_worse for _ in range(searches)]))


def covered(n: int, searches: int, *, long_tail: bool = False, seed: int = 3) -> float:
    """Proportion of 95 % intervals of a single run that hold its loss over all sequences."""
    draw = np.random.default_rng(seed)
    hits = 0
    for _ in range(searches):
        counts = draw.integers(20, 60, n).astype(np.float64)
        losses = 2 + (draw.standard_t(3, n) * 0.3 if long_tail else draw.normal(0, 0.5, n))
        (found,) = compare([{0: Units(losses * counts, counts, "sequences")}])
        half = half_width(found.standard_error, found.degrees)
        hits += half is not None and abs((losses * counts).sum() / counts.sum() - 2) <= half
    return hits / searches


def with_seeds(n: int, seeds: int, searches: int, *, of_seeds: float = 0.05, seed: int = 4) -> tuple[float, float]:
    """Equal configurations of several seeds: proportion called worse, and searches with at least one."""
    draw = np.random.default_rng(seed)
    called = []
    for _ in range(searches):
        counts = draw.integers(20, 60, n).astype(np.float64)
        hard = draw.normal(2, 0.5, n)
        losses = hard + draw.normal(0, SD, (R, seeds, n)) + draw.normal(0, of_seeds, (R, seeds, 1))
        order = np.argsort((losses * counts).sum(axis=(1, 2)))
        found = compare(
            [{s: Units(losses[run, s] * counts, counts, "sequences") for s in range(seeds)} for run in order]
        )
        called.append([bool(each.is_worse) for each in found])
    return float(np.mean(called)), float(np.mean(np.any(called, axis=1)))


def in_blocks(correlation: float, targets: int, searches: int, seed: int = 5) -> tuple[float, float]:
    """One sequence with autocorrelated losses (AR(1)): equal runs called worse, and coverage of single intervals."""
    draw = np.random.default_rng(seed)
    ends = np.arange(21) * targets // 20
    counts = np.diff(ends).astype(np.float64)
    called, hits = [], []
    for _ in range(searches):
        own = _ar1(draw, correlation, (R, targets)) * SD
        losses = 2 + _ar1(draw, correlation, (1, targets)) * 0.5 + own
        totals = np.add.reduceat(losses, ends[:-1], axis=1)
        order = np.argsort(totals.sum(axis=1))
        found = compare([{0: Units(totals[run], counts, "blocks")} for run in order])
        called += [bool(each.is_worse) for each in found]
        for run, each in zip(order, found, strict=True):
            half = half_width(each.standard_error, each.degrees)
            hits.append(half is not None and abs(totals[run].sum() / targets - 2) <= half)
    return float(np.mean(called)), float(np.mean(hits))


def _ar1(draw: np.random.Generator, correlation: float, shape: tuple[int, int]) -> Floats:
    """Stationary AR(1) of variance 1 along the last axis."""
    steps = draw.normal(0, (1 - correlation**2) ** 0.5, shape)
    values = np.empty(shape)
    values[:, 0] = draw.normal(0, 1, shape[0])
    for place in range(1, shape[1]):
        values[:, place] = correlation * values[:, place - 1] + steps[:, place]
    return values


def lines(searches: int) -> Iterator[str]:
    """Yield all figures as text."""
    tables: list[tuple[str, Callable[[str, int, int], float]]] = [
        ("equal runs called worse", equal_called_worse),
        ("best trained model kept", best_kept),
        ("3.5 standard errors found", found_worse),
    ]
    for title, figure in tables:
        for kind in KINDS:
            yield f"{title}, {kind}: " + ", ".join(f"n={n} {100 * figure(kind, n, searches):.1f} %" for n in SIZES)
    for long_tail in (False, True):
        name = "heavy tails" if long_tail else "normal"
        figures = ", ".join(f"n={n} {100 * covered(n, 10 * searches, long_tail=long_tail):.1f} %" for n in (5, 10, 40))
        yield f"coverage of 95 % intervals, {name}: {figures}"
    for seeds in (2, 3):
        for n in (10, 40):
            called, any_called = with_seeds(n, seeds, searches)
            yield f"{seeds} seeds, n={n}: {100 * called:.2f} % called worse, in {100 * any_called:.1f} % of searches"
    for correlation in (0.0, 0.5, 0.9, 0.97):
        for targets in (200, 2000):
            called, coverage = in_blocks(correlation, targets, searches)
            yield (
                f"blocks, correlation {correlation}, {targets} targets: {100 * called:.1f} % called worse, "
                f"intervals cover {100 * coverage:.0f} %"
            )


if __name__ == "__main__":
    for line in lines(400):
        print(line, flush=True)
