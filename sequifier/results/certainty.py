"""What the sums by sampling unit that are on disk say of a ranked table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sequifier.artifacts.sequence_losses import OF_BASELINES, OF_TEST, ONE_MODEL, Units, read_unit_sums
from sequifier.results.comparison import Comparison, beats, compare

Files = Mapping[int, Path | None]
"""Training seed -> the sums of that run; None without a file."""


def certainty(
    files: Iterable[Files],
    metric: str,
    *,
    maximize: bool,
    folder: Path,
    baselines: Sequence[str],
    tested: int | None,
) -> list[Comparison]:
    """Compare configurations by the files of their runs.

    Args:
        files: of each configuration, from best to worst.
        metric: that ranks.
        maximize: more is better.
        folder: of the search.
        baselines: names of those with this metric.
        tested: place of the configuration that was scored on the test split; None without one.
    """
    sums = units_of_baselines(folder, metric) if baselines else {}
    known = {name: sums.get(name) for name in baselines}
    found = compare(_units(files, metric), maximize=maximize, baselines=known)
    if tested is not None:  # the test split did not choose the winner
        better = _either(found[tested].beats_baselines, _beats_on_test(folder, metric, maximize=maximize))
        found[tested] = replace(found[tested], beats_baselines=better)
    return found


def standard_error(found: Comparison, files: Files, recorded: float | None, by: str) -> tuple[float | None, str]:
    """The standard error of a row, and what its units are.

    Args:
        found: of its configuration.
        files: of its configuration.
        recorded: the standard error without any sums.
        by: what the units of that are.
    """
    if found.standard_error is not None:
        return found.standard_error, str(found.by)
    if by != "seeds" and any(path is not None and path.exists() for path in files.values()):
        return None, by  # its units are too few
    return recorded, by


def units_of_baselines(folder: Path, metric: str) -> dict[str, Units]:
    """The units of each baseline that has this metric, from the folder of a search."""
    return {name: sums[metric] for name, sums in read_unit_sums(folder / OF_BASELINES).items() if metric in sums}


def _beats_on_test(folder: Path, metric: str, *, maximize: bool) -> bool | None:
    """Whether the model that was scored on the test split beats each baseline there; None where that is not known."""
    sums = read_unit_sums(folder / OF_TEST)
    own = sums.pop(ONE_MODEL, {}).get(metric)
    return None if own is None else beats(own, {name: of.get(metric) for name, of in sums.items()}, maximize=maximize)


def _either(one: bool | None, other: bool | None) -> bool | None:
    """Whether one of two claims holds; None where neither is known."""
    return True if True in (one, other) else False if False in (one, other) else None


def _units(files: Iterable[Files], metric: str) -> Iterator[dict[int, Units]]:
    for of_seeds in files:
        found = {}
        for seed, path in of_seeds.items():
            units = None if path is None else read_unit_sums(path).get(ONE_MODEL, {}).get(metric)
            if units is not None:
                found[seed] = units
        yield found if len(found) == len(of_seeds) else {}
