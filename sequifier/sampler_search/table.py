"""The ranked table of a sampler search, in the rows that training searches have (search/results.py)."""

from collections.abc import Sequence

import numpy as np

from sequifier.artifacts.ledger import latest_by_run
from sequifier.artifacts.sampler_results import SamplerRecord
from sequifier.search.comparison import SequenceLosses, compare
from sequifier.search.results import COMPARED, Row
from sequifier.search.space import shown


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
    told = compare([_losses(record) for record in scored[:COMPARED]]) if scored else []
    rows = []
    for rank, record in enumerate(scored, start=1):
        comparison = told[rank - 1] if rank <= len(told) else None
        rows.append(_row(record, rank, None if comparison is None else comparison.is_indistinguishable))
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
        seconds=record.seconds.get("total"),
        error=record.error or "",
        runs=(record.run,),
        n_seeds=int(rank is not None),
        n_failed=int(record.state == "failed"),
        indistinguishable=indistinguishable,
    )


def _losses(record: SamplerRecord) -> dict[int, SequenceLosses]:
    """The scores of the prompts as losses of sequences, which is what is resampled; none where one is missing."""
    scores = [score for score in record.by_prompt if score is not None]
    if len(scores) < max(len(record.by_prompt), 2):
        return {}
    return {record.seed: (-np.array(scores), np.ones(len(scores), np.int64))}
