"""The verdict on a ranked table in sentences, printed below it: the same in every table, page and report."""

from collections.abc import Sequence
from typing import NamedTuple

SAME = "statistically indistinguishable from the best"


class Ranked(NamedTuple):
    """What the verdict needs to know of a configuration with a result."""

    standard_error_by: str
    n_seeds: int
    is_indistinguishable: bool | None


def verdict_lines(rows: Sequence[Ranked]) -> list[str]:
    """The verdict on a table.

    Args:
        rows: the configurations with a result, best first.
    """
    if not rows:
        return []
    by = rows[0].standard_error_by
    if by in _WITHOUT:
        return [_WITHOUT[by]]
    lines = [_BLOCKS] if by == "blocks" else []
    compared = [row for row in rows[1:] if row.is_indistinguishable is not None]
    same = [row for row in compared if row.is_indistinguishable]
    if compared:
        others = "other configurations are" if len(compared) > 1 else "other configuration is"
        lines.append(f"{len(same)} of {len(compared)} {others} {SAME} (paired t tests, 95 % for all together).")
    if compared and by != "prompts" and any(row.n_seeds == 1 for row in (rows[0], *compared)):
        lines.append(_ONE_SEED)
    return lines


_WITHOUT = {
    "": "± se is -: the metric has no standard error, or the validation split is too small for one (5 sequences, or 20 "
    "blocks of 10 targets). No run is called worse than the best.",
    "seeds": "± se is over training seeds alone. No run is called worse than the best.",
}
_BLOCKS = (
    "se by blocks: the validation split has fewer than 5 sequences, so standard errors are over 20 contiguous blocks "
    "of its targets."
)
_ONE_SEED = (
    "One training seed: the verdict is about the trained models; repeats or confirm_top show what a seed changes."
)
