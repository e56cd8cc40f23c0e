"""The verdict on a ranked table in sentences, printed below it: the same in every table, page and report."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sequifier.config.scoring import unknown_text

SAME = "statistically indistinguishable from the best"


class Ranked(NamedTuple):
    """What the verdict needs to know of a configuration with a result."""

    standard_error_by: str
    n_seeds: int
    is_indistinguishable: bool | None


def verdict_lines(rows: Sequence[Ranked], why_no_error: str) -> list[str]:
    """The verdict on a table.

    Args:
        rows: the configurations with a result, best first.
        why_no_error: why the first has no standard error, if it has none.
    """
    if not rows:
        return []
    by = rows[0].standard_error_by
    if by == "":
        return [f"± se is -: {why_no_error}.", _UNDECIDED]
    if by == "seeds":
        return ["± se is over training seeds alone. No run is called worse than the best."]
    lines = [_BLOCKS] if by == "blocks" else []
    compared = [row for row in rows[1:] if row.is_indistinguishable is not None]
    same = [row for row in compared if row.is_indistinguishable]
    if compared:
        n, is_one = len(compared), len(compared) == 1
        if not same:
            who = "The other configuration is" if is_one else f"All {n} other configurations are"
            what = "significantly worse"
        else:
            who = "The other configuration is" if is_one else f"{len(same)} of {n} other configurations are"
            what = SAME
        lines.append(f"{who} {what} (paired t tests, 95 % for all together).")
    if compared and by != "prompts" and any(row.n_seeds == 1 for row in (rows[0], *compared)):
        lines.append(_ONE_SEED)
    return lines


def unknown_lines(metrics: Mapping[str, float]) -> list[str]:
    """How many targets have an unknown class, for each target that has some.

    Args:
        metrics: of any run of the search: all are evaluated on the same targets.
    """
    return [
        f"{unknown_text(name.removeprefix('val_').removesuffix(_N_UNKNOWN), n)}."
        for name, n in metrics.items()
        if name.endswith(_N_UNKNOWN) and n
    ]


_N_UNKNOWN = "_n_unknown"
_UNDECIDED = "This search cannot tell which differences between runs are real: no run is called worse than the best."
_BLOCKS = (
    "se by blocks: the validation split has fewer than 5 sequences, so standard errors are over 20 contiguous blocks "
    "of its targets."
)
_ONE_SEED = (
    "One training seed: the verdict is about the trained models; repeats or confirm_top show what a seed changes."
)
