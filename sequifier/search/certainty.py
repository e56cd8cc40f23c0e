"""What the sums by sampling unit that are on disk say of a ranked table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sequifier.artifacts.sequence_losses import OF_BASELINES, OF_TEST, ONE_MODEL, Units, read_unit_sums
from sequifier.search.comparison import Comparison, beats, compare


def certainty(
    files: Iterable[Mapping[int, Path | None]],
    metric: str,
    *,
    maximize: bool,
    folder: Path,
    baselines: Sequence[str],
) -> list[Comparison]:
    """Compare configurations by the files of their runs.

    Args:
        files: of each configuration, from best to worst: training seed -> the sums of that run, None without a file.
        metric: that ranks.
        maximize: more is better.
        folder: of the search.
        baselines: names of those with this metric.
    """
    sums = units_of_baselines(folder, metric) if baselines else {}
    known = {name: sums.get(name) for name in baselines}
    return compare(_units(files, metric), maximize=maximize, baselines=known)


def units_of_baselines(folder: Path, metric: str) -> dict[str, Units]:
    """The units of each baseline that has this metric, from the folder of a search."""
    return {name: sums[metric] for name, sums in read_unit_sums(folder / OF_BASELINES).items() if metric in sums}


def beats_on_test(folder: Path, metric: str, *, maximize: bool) -> bool | None:
    """Whether the model that was scored on the test split beats each baseline there; None where that is not known."""
    sums = read_unit_sums(folder / OF_TEST)
    own = sums.pop(ONE_MODEL, {}).get(metric)
    return None if own is None else beats(own, {name: of.get(metric) for name, of in sums.items()}, maximize=maximize)


def either(one: bool | None, other: bool | None) -> bool | None:
    """Whether one of two claims holds; None where neither is known."""
    return True if True in (one, other) else False if False in (one, other) else None


def _units(files: Iterable[Mapping[int, Path | None]], metric: str) -> Iterator[dict[int, Units]]:
    for of_seeds in files:
        found = {}
        for seed, path in of_seeds.items():
            units = None if path is None else read_unit_sums(path).get(ONE_MODEL, {}).get(metric)
            if units is not None:
                found[seed] = units
        yield found if len(found) == len(of_seeds) else {}
