"""Read a search of either kind by its name or file."""

from pathlib import Path
from typing import Literal

from sequifier.results.find import find_search
from sequifier.results.samplers import collect_result_file, collect_sampler_ledger, is_sampler_ledger
from sequifier.results.training import collect_search
from sequifier.results.trials import Table


def read_search(
    name: str, *, metric: str | None = None, direction: Literal["minimize", "maximize"] | None = None
) -> Table:
    """Read a search, finished or running.

    Args:
        name: the search's name below logs/; or the path of its folder, its ledger, or a sampler search's result file.
        metric: metric that ranks; None: the search's own.
        direction: direction of the metric; None: as the search has it.

    Raises:
        RunError: there is no such search, it is empty or damaged, or it has no such metric.
    """
    path = Path(name)
    if path.suffix == ".json" and path.is_file():
        return collect_result_file(path, metric=metric, direction=direction)
    folder = find_search(name)
    if is_sampler_ledger(folder):
        return collect_sampler_ledger(folder, metric=metric, direction=direction)
    return collect_search(folder, metric=metric, direction=direction)
