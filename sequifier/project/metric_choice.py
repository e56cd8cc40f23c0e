"""The metric by which the first models of a user's table are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sequifier.config.catalogue.metric_names import MOST_ORDERED
from sequifier.project.column_choice import Choice, percent
from sequifier.project.event_times import GAP, EventTimes
from sequifier.project.keys import Keys
from sequifier.project.split_choice import SplitChoice
from sequifier.project.whole_sequences import WholeSequences

if TYPE_CHECKING:
    import polars as pl

RARELY = 0.01
"""Fraction of events with an item that their sequence has had already, below which seen items are no candidates."""

FEWEST_OTHERS = 10
"""Number of validation sequences without the most frequent class from which an area under the curve is meaningful."""


@dataclass(frozen=True)
class MetricChoice:
    """The metric.

    Attributes:
        metric: its name; empty: the validation loss, which is the default.
        why: the reason, for the config and the user.
        excludes_seen: for items, whether those of earlier events are no candidates; None where nothing is ranked.
        why_seen: the reason for it.
        is_larger_better: whether the largest value is best.
    """

    metric: str = ""
    why: str = ""
    excludes_seen: bool | None = None
    why_seen: str = ""
    is_larger_better: bool = True

    @property
    def ranks(self) -> bool:
        """Whether the target is an item, which is ranked among the others."""
        return self.excludes_seen is not None


def choose_metric(
    targets: Sequence[Choice], whole: WholeSequences, split: SplitChoice, rows: "pl.LazyFrame", keys: Keys
) -> MetricChoice:
    """Choose the metric of a single categorical target: a rank for items, the area under the curve for labels.

    Args:
        targets: the use of each target.
        whole: the columns with one value for each sequence.
        split: the split; last_events means items.
        rows: the rows with the types of their values.
        keys: the sequence and the order column.
    """
    if len(targets) != 1 or targets[0].use != "categorical":
        return MetricChoice()
    (target,) = targets
    if target.column in whole.columns:
        n_others = int(whole.columns[target.column] * split.ratios[1])
        if n_others < FEWEST_OTHERS or target.n_categories > MOST_ORDERED:
            return MetricChoice()
        why = "models are compared by how well they separate the classes (area under the ROC curve)"
        return MetricChoice(f"val_{target.column}_auc", why)
    if split.method != "last_events":
        return MetricChoice()
    assert keys.sequence is not None
    pairs = rows.select(keys.sequence, target.column)
    fraction = 1 - _length(pairs.unique()) / _length(pairs)
    excludes = fraction < RARELY
    are = "are no candidates" if excludes else "stay candidates"
    return MetricChoice(
        f"val_{target.column}_ndcg_10",
        "models are compared by how high they rank the true item (NDCG at 10)",
        excludes,
        f"{percent(fraction)} of the events repeat an item of their sequence, so items that it has had {are}",
    )


def of_times(times: EventTimes) -> MetricChoice:
    """Choose the metric of the time to the next event; the loss is the likelihood of the gaps without the ends."""
    if times.end is None:
        return MetricChoice()
    why = "models are compared by the likelihood of whole sequences, the time after their last event included"
    return MetricChoice(f"val_{GAP}_nll_per_event", why, is_larger_better=False)


def _length(rows: "pl.LazyFrame") -> int:
    import polars as pl

    return int(rows.select(pl.len()).collect(engine="streaming").item())
