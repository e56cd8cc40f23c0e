"""Standard errors and verdicts of a ranked table, from the sums by sampling unit that its runs stored."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from sequifier.artifacts.sequence_losses import (
    BLOCK_TARGETS,
    BLOCKS,
    FEWEST,
    OF_BASELINES,
    OF_TEST,
    ONE_MODEL,
    Units,
    read_unit_sums,
)
from sequifier.results.comparison import Comparison, beats, compare

Files = Mapping[int, Path | None]
"""Training seed -> file with the sums of that run; None where it has none."""


def certainty(
    files: Iterable[Files],
    metric: str,
    *,
    maximize: bool,
    baselines: Mapping[str, Path],
    tested: int | None,
    test_folder: Path,
) -> list[Comparison]:
    """Compare configurations by the files of their runs.

    Args:
        files: the files of each configuration, from best to worst.
        metric: the metric that ranks.
        maximize: higher is better.
        baselines: name of each baseline that has this metric -> folder with its sums.
        tested: index of the configuration that was scored on the test split; None without one.
        test_folder: folder with the sums of that score.
    """
    sums = units_of_baselines(baselines, metric)
    known = {name: sums.get(name) for name in baselines}
    found = compare(_units(files, metric), maximize=maximize, baselines=known)
    if tested is not None:  # the test split did not choose the winner
        better = _either(found[tested].beats_baselines, _beats_on_test(test_folder, metric, maximize=maximize))
        found[tested] = replace(found[tested], beats_baselines=better)
    return found


def standard_error(found: Comparison, files: Files, recorded: float | None, by: str) -> tuple[float | None, str]:
    """The standard error of a configuration, and what its units are.

    Args:
        found: the configuration's comparison.
        files: the configuration's files.
        recorded: the standard error that is known without sums.
        by: the units of `recorded`.
    """
    if found.standard_error is not None:
        return found.standard_error, str(found.by)
    if by != "seeds" and any(path is not None and path.exists() for path in files.values()):
        return None, by  # too few units
    return recorded, by


def why_no_error(path: Path | None, metric: str) -> str:
    """Return why the run with this file has no standard error."""
    units = None if path is None else read_unit_sums(path).get(ONE_MODEL, {}).get(metric)
    if units is None:
        return f"no standard error is known for {metric}"
    if units.n >= FEWEST:
        return f"the values of the {units.n} {units.by} of the validation split are equal or not finite"
    sequences = "sequence with a target" if units.n == 1 else "sequences with a target"
    targets = f", with {units.count.sum():,.0f} targets" if units.by != "groups" else ""
    return (
        f"the validation split has {units.n} {sequences}{targets}; a standard error requires {FEWEST} sequences, "
        f"or {BLOCKS} blocks of {BLOCK_TARGETS} targets"
    )


def best_baseline_on_test(folder: Path, metric: str, *, maximize: bool) -> tuple[str, float] | None:
    """Return the best baseline on the test split and its value; None where the values are unknown."""
    sums = read_unit_sums(folder / OF_TEST)
    known = {name: of[metric] for name, of in sums.items() if name != ONE_MODEL and metric in of}
    values = {name: units.value for name, units in known.items() if units.by != "groups"}
    if not values:
        return None
    return (max if maximize else min)(values.items(), key=lambda item: item[1])


def units_of_baselines(folders: Mapping[str, Path], metric: str) -> dict[str, Units]:
    """The units of the baselines that have this metric.

    Args:
        folders: name of a baseline -> folder with its sums.
        metric: of the sums.
    """
    sums = {folder: read_unit_sums(folder / OF_BASELINES) for folder in set(folders.values())}
    found = {name: sums[folder].get(name, {}).get(metric) for name, folder in folders.items()}
    return {name: units for name, units in found.items() if units is not None}


def _beats_on_test(folder: Path, metric: str, *, maximize: bool) -> bool | None:
    """Whether the model that was scored on the test split beats each baseline there; None where this is unknown."""
    sums = read_unit_sums(folder / OF_TEST)
    own = sums.pop(ONE_MODEL, {}).get(metric)
    return None if own is None else beats(own, {name: of.get(metric) for name, of in sums.items()}, maximize=maximize)


def _either(one: bool | None, other: bool | None) -> bool | None:
    """Whether at least one of two claims is true; None where both are unknown."""
    return True if True in (one, other) else False if False in (one, other) else None


def _units(files: Iterable[Files], metric: str) -> Iterator[dict[int, Units]]:
    for of_seeds in files:
        found = {}
        for seed, path in of_seeds.items():
            units = None if path is None else read_unit_sums(path).get(ONE_MODEL, {}).get(metric)
            if units is not None:
                found[seed] = units
        yield found if len(found) == len(of_seeds) else {}
