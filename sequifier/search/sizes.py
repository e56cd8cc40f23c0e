"""What a search remembers about memory: from which batch size a run starts, given what became of others.

The ledger tells which batch sizes did not fit: those that were halved. A run that needs at least as much memory per
window cannot be expected to fit where another did not, so it starts at the size that the other came down to. Whether
it needs as much is judged by three numbers that memory grows with; all must be at least as large. Nothing is concluded
for runs that cannot be compared, and what did fit for a larger run overrules: its neighbour was unlucky.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from sequifier.artifacts.ledger import DONE, Record
from sequifier.search.plan import PlannedRun
from sequifier.search.retry import Batch, cut


def first_batch(
    run: PlannedRun, records: Sequence[Record], runs: Mapping[int, PlannedRun], *, keep_effective: bool
) -> Batch | None:
    """How the first attempt of a run should cut its batch.

    Args:
        run: about to be attempted for the first time.
        records: of the search so far, oldest first.
        runs: the runs that the records belong to, by number; others are passed over.
        keep_effective: the optimizer still sees the planned batch in each step, see `retry.halved`.

    Returns:
        The batch to start with, smaller than planned; None when nothing is known against the planned one.
    """
    planned = run.config.training_spec
    failed: list[tuple[int, int]] = []  # a batch size that did not fit, and the one that was tried last
    fitted = 0  # the largest batch size with which a run that needs as much as this one had a result
    for number, attempts in _by_run(records).items():
        other = runs.get(number)
        if other is None or number == run.number:
            continue
        sizes = [record.batch_size for record in attempts]
        if _needs_as_much(run, other):
            halved = [size for size, after in pairwise(sizes) if after < size]
            failed += [(size, sizes[-1]) for size in halved]
        if _needs_as_much(other, run):
            fitted = max([fitted, *(record.batch_size for record in attempts if record.state in DONE)])
    reached = [last for size, last in failed if size <= planned.batch_size]
    start = max(min(reached, default=planned.batch_size), min(fitted, planned.batch_size))
    if start >= planned.batch_size:
        return None
    batch = Batch(planned.batch_size, planned.accumulation_steps, planned.effective_batch_size)
    return cut(batch, start, keep_effective=keep_effective)


def _needs_as_much(run: PlannedRun, other: PlannedRun) -> bool:
    """Whether a window needs at least as much memory in `run` as in `other`, as far as three numbers tell."""
    return all(mine >= theirs for mine, theirs in zip(_needs(run), _needs(other), strict=True))


def _needs(run: PlannedRun) -> tuple[int, int, int]:
    model, seq_length = run.config.model_spec, run.config.seq_length
    assert seq_length is not None, "planned configs are resolved"
    return run.parameters, seq_length, model.dim_model * model.num_layers


def _by_run(records: Iterable[Record]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.run, []).append(record)
    return found
