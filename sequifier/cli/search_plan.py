"""The plan of a search in lines: its runs, and the memory, disk and time that they need."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sequifier.cli.output import duration
from sequifier.config.size import size_text
from sequifier.percent import counted

if TYPE_CHECKING:
    from sequifier.search.memory import MemoryUse
    from sequifier.search.placement import Placement


def memory_lines(memory: "MemoryUse | None", placement: "Placement") -> list[str]:
    """The memory that the runs of one device need at the same time, and a warning where it has less."""
    if memory is None:
        return []
    together = placement.runs_per_device
    least, most = size_text(together * memory.least), size_text(together * memory.most)
    amount = most if least == most else f"{least} to {most}"
    runs = "" if together == 1 else f" of {together} runs at a time"
    if placement.is_on_gpu:
        needed, where = together * memory.most, "the GPU"
        lines = [f"  memory: about {amount} on a GPU for training{runs}, estimated as on a CPU"]
    else:
        needed, where = together * memory.process, "this machine"
        base = size_text(together * memory.base)
        lines = [f"  memory: about {amount} for training{runs}, and {base} for libraries and data"]
    if placement.memory is not None and needed > placement.memory:
        lines.append(f"  warning: {where} has {size_text(placement.memory)}; runs that do not fit end as oom")
    return lines


def needs_lines(plan: Any, disk: Any, free_bytes: int, seconds_left: float | None) -> list[str]:
    """The disk that a search needs, and the time once runs were measured.

    Args:
        plan: the search's.
        disk: a `search.estimate.DiskUse`; None where no run is known yet.
        free_bytes: on the disk of the project.
        seconds_left: for the rest of the search; None before a run was measured.
    """
    lines = []
    if disk is not None:
        keep = plan.config.keep_models
        kept = {"all": "", "best": " of the best run"}.get(str(keep), f" of the best {keep} runs")
        passing = f" (up to {size_text(disk.passing)} more while it runs)" if disk.passing else ""
        lines.append(
            f"  disk: about {size_text(disk.models)} of models{kept}{passing}, {size_text(disk.others)} of checkpoints "
            f"and records; {size_text(free_bytes)} free"
        )
        if disk.most > free_bytes:
            less = "" if keep == "best" else "; keep_models: best needs less"
            lines.append(f"  warning: this is more than the free disk space{less}")
    if seconds_left:
        lines.append(f"  time left: about {duration(seconds_left)}, estimated from the runs so far")
    return lines


def plan_lines(plan: Any, to_run: list[Any]) -> list[str]:
    """A plan in a few lines."""
    config = plan.config
    cells = "a continuous space" if plan.n_cells is None else counted(plan.n_cells, "cell")
    n_runs = len(plan.runs) + plan.n_to_propose
    lines = [
        f"{config.hp_search_name}: {config.search_strategy} search over {cells}, {counted(n_runs, 'run')}, "
        f"seed {plan.seed}, data fingerprint {plan.fingerprint}"
    ]
    merged = Counter(cell.reason for cell in plan.merged)
    lines += [
        f"  {counted(count, 'cell')} {'is a duplicate' if count == 1 else 'are duplicates'} of another one: {reason}"
        for reason, count in merged.items()
    ]
    lines += [f"  {_runs(runs)}: {reason}" for reason, runs in plan.changes.items()]
    lines += [f"  note: {note}" for note in plan.notes]
    sizes = [run.n_parameters for run in plan.runs]
    if sizes:
        size = f"{max(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        lines.append(f"  models with {size} parameters; run files in {plan.runs[0].path.parent}/")
    difference = plan.difference()
    if difference.kept or difference.gone or difference.not_sampled:
        kinds = {
            "in the ledger": difference.kept,
            "new": difference.new,
            "new with changed settings": [pair.now for pair in difference.changed],
            "not sampled this time (results are kept)": difference.not_sampled,
            "no longer part of the config (results are kept)": difference.gone,
        }
        lines += [f"  {what}: {_runs(runs)}" for what, runs in kinds.items() if runs]
    if not to_run and not plan.n_to_propose:
        done = f": {counted(n_runs, 'run')} {'is' if n_runs == 1 else 'are'} done" if n_runs else ""
        lines.append(f"  nothing is left to train{done}")
    else:
        lines.append(f"  to train: {counted(len(to_run) + plan.n_to_propose, 'run')}")
    return lines


def _runs(numbers: Sequence[int]) -> str:
    """`run 3`, or `9 runs (0, 1, 2, 3, 4, 5, 6, 7, ...)`."""
    if len(numbers) == 1:
        return f"run {numbers[0]}"
    listed = ", ".join(map(str, numbers[:8]))
    return f"{len(numbers):,} runs ({listed}{', ...' if len(numbers) > 8 else ''})"
