"""The ranked table of a sampler search, in the rows that training searches have (search/results.py)."""

from collections.abc import Sequence

import numpy as np

from sequifier.artifacts.ledger import latest_by_run
from sequifier.artifacts.sampler_results import SamplerRecord
from sequifier.artifacts.sequence_losses import Units
from sequifier.results.comparison import compare
from sequifier.results.settings import shown
from sequifier.search.results import Row


def rows_of(records: Sequence[SamplerRecord]) -> list[Row]:
    """One row for each configuration: those with a score from best to worst, then the others.

    Args:
        records: of one search, oldest first.
    """
    latest = list(latest_by_run(records).values())
    scored = sorted(
        (record for record in latest if record.state == "finished" and record.mean_score is not None),
        key=lambda record: (-(record.mean_score or 0.0), record.run),
    )
    compared = compare([prompt_units(record.seed, record.by_prompt) for record in scored], maximize=True)
    rows = [
        _row(record, rank, comparison.is_indistinguishable)
        for rank, (record, comparison) in enumerate(zip(scored, compared, strict=True), start=1)
    ]
    return [*rows, *(_row(record, None, None) for record in latest if record not in scored)]


def _row(record: SamplerRecord, rank: int | None, indistinguishable: bool | None) -> Row:
    return Row(
        rank=rank,
        run=record.run,
        name=record.name,
        state=record.state,
        changed={"sampler": record.sampler_type} | {key: shown(value) for key, value in record.parameters.items()},
        metric=record.mean_score,
        standard_error=record.standard_error,
        standard_error_by="" if record.standard_error is None else "prompts",
        seconds=record.seconds.get("total"),
        error=record.error or "",
        runs=(record.run,),
        n_seeds=int(rank is not None),
        n_failed=int(record.state == "failed"),
        indistinguishable=indistinguishable,
    )


def prompt_units(seed: int, scores: Sequence[float | None]) -> dict[int, Units]:
    """The scores of the prompts, which are the sampling units; none where one is missing."""
    known = [score for score in scores if score is not None]
    if len(known) < max(len(scores), 2):
        return {}
    return {seed: Units(np.array(known, np.float64), np.ones(len(known)), "sequences")}
