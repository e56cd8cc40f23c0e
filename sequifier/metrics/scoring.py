"""`scoring`: which targets count in metrics, for training, baselines and inference alike.

Shapes: M target positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sequifier.config.base import Category, category_text
from sequifier.config.scoring import Scoring
from sequifier.metrics.predictions import Array, ClassPredictions, Predictions


@dataclass(frozen=True)
class Scored:
    """The targets of one column that count.

    Attributes:
        min_events: number of earlier events that they have at least.
        left_out: classes (ids from 1) that they do not have.
        end: id of END, which is never ranked; None: there is no such class.
    """

    min_events: int = 1
    left_out: tuple[int, ...] = ()
    end: int | None = None

    def marked(self, found: Predictions, n_before: Array) -> Predictions:
        """Return predictions with the positions that count.

        Args:
            found: predictions whose true class is known.
            n_before: number of events before each position, (M,), in the same library.
        """
        scored = n_before >= self.min_events if self.min_events > 1 else None
        if not isinstance(found, ClassPredictions):
            if scored is None or found.scored is None:
                return replace(found, scored=found.scored if scored is None else scored)
            return replace(found, scored=scored & found.scored)
        for id in self.left_out:
            scored = _both(scored, found.truth != id - 1)
        ranked = None
        if found.place is not None and self.end is not None:
            ranked = _both(scored, found.truth != self.end - 1)
        return replace(found, scored=scored, ranked=ranked)


def _both(one: Array | None, other: Array) -> Array:
    return other if one is None else one & other


def scored_targets(
    scoring: Scoring | None, targets: Sequence[str], end_ids: Mapping[str, int], ids: Mapping[str, Mapping[str, int]]
) -> dict[str, Scored]:
    """Return the rules of each target that has some.

    Args:
        scoring: of the config.
        targets: the target columns.
        end_ids: the id of END in each column that has it.
        ids: class as text -> id, of the targets that `scoring` names.
    """
    found = {}
    for target in targets:
        labels: Sequence[Category] = scoring.left_out.get(target, ()) if scoring else ()
        left_out = tuple(ids[target][category_text(label)] for label in labels)
        rules = Scored(scoring.min_events if scoring else 1, left_out, end_ids.get(target))
        if rules != Scored():
            found[target] = rules
    return found
