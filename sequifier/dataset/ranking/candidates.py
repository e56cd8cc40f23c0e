"""The candidates among which the true class of a target is ranked, and its rank there.

Shapes: M targets, K known classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedEvents
from sequifier.config.ranking import Ranking, SampledCandidates
from sequifier.dataset.ranking.history import History, Rows, missing_events
from sequifier.dataset.ranking.negatives import Negatives
from sequifier.errors import DataError


@dataclass(frozen=True)
class Candidates:
    """The candidates of one target.

    Attributes:
        cutoffs: ranks up to which the true class counts.
        seen: classes that are no candidates; None: all are, or `sampled`.
        sampled: the only candidates besides the true class; None: all are, but those seen.
        end: id of END, which is no candidate; None: there is no such class.
    """

    cutoffs: tuple[int, ...]
    seen: History | None = None
    sampled: Negatives | None = None
    end: int | None = None

    @property
    def depends_on_history(self) -> bool:
        """Whether targets have different candidates."""
        return self.seen is not None or self.sampled is not None

    @property
    def are_all_classes(self) -> bool:
        """Whether all classes are candidates of each target, so that a rank among all classes is the rank."""
        return not self.depends_on_history and self.end is None

    @property
    def ranks_end(self) -> bool:
        """Whether END is among the classes that a rank counts, from which it is to be taken."""
        return self.end is not None and self.sampled is None

    def ahead(
        self, rows: Rows, is_ahead: Callable[[Rows, Rows], Sequence[NDArray[np.bool_]]], n_models: int = 1
    ) -> Rows:
        """Count the sampled classes, or those that are no candidates, with a score at least as large as the true one's.

        Args:
            rows: of the targets in the split.
            is_ahead: whether this holds by each model, for places in `rows` and classes.
            n_models: number of models.

        Returns:
            (n_models, M).
        """
        found = np.zeros((n_models, len(rows)), dtype=np.int64)
        of_end = [(np.arange(len(rows)), np.full(len(rows), self.end))] if self.ranks_end else []
        for owner, classes in chain(self.pairs(rows), of_end):
            for counts, by_model in zip(found, is_ahead(owner, classes), strict=True):
                counts += np.bincount(owner[by_model], minlength=len(rows))
        return found

    def place(self, rank: Any, ahead: Any = None) -> Any:
        """Return the number of other candidates with a score at least as large as the true class's, (M,).

        Args:
            rank: the number of all other classes with such a score, (M,).
            ahead: as `ahead` returns it; None where it counts nothing.
        """
        if ahead is None:
            return rank
        return ahead if self.sampled is not None else rank - ahead

    def pairs(self, rows: Rows | None) -> Iterator[tuple[Rows, NDArray[Any]]]:
        """Yield places in `rows` and classes: those that are sampled, or seen and no candidates."""
        listed = self.sampled if self.sampled is not None else self.seen
        if listed is not None:
            assert rows is not None
            yield from listed.pairs(rows)


def build_candidates(
    ranking: Mapping[str, Ranking],
    *,
    split: Callable[[str], Events],
    earlier: Callable[[str], Sequence[Events]],
    train: Events | MappedEvents,
    n_classes: Mapping[str, int],
    context_events: int,
    fingerprint: str,
    end_ids: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Candidates]:
    """Return the candidates of each ranked target of an evaluation split.

    Args:
        ranking: as a config has it, checked.
        split: reads a column of the split.
        earlier: reads a column of the splits before it.
        train: the training events, whose classes are counted.
        n_classes: of categorical columns, including the unknown class.
        context_events: largest number of context events of a sequence.
        fingerprint: of the data.
        end_ids: the id of END in each column that has it.

    Raises:
        DataError: a target has no other candidate, or fewer than are to be sampled.
    """
    found = {}
    for target, asked in ranking.items():
        cutoffs, wanted, end = tuple(asked.k), asked.candidates, end_ids.get(target)
        if not isinstance(wanted, SampledCandidates) and not asked.exclude_seen:
            found[target] = Candidates(cutoffs, end=end)
            continue
        n_ranked = n_classes[target] - 1 - (end is not None)
        events = split(target)
        missing = missing_events(events, target, context_events, partial(earlier, target))
        history = History(events, target, n_ranked, missing)
        if isinstance(wanted, SampledCandidates):
            _check_enough(history, target, wanted.negatives)
            weights = _popularity(train, target, n_ranked) if wanted.by == "popularity" else None
            negatives = Negatives(history, wanted.negatives, weights, fingerprint)
            found[target] = Candidates(cutoffs, sampled=negatives, end=end)
        else:
            _check_enough(history, target, 1)
            found[target] = Candidates(cutoffs, seen=history, end=end)
    return found


def _popularity(train: Events | MappedEvents, target: str, n_classes: int) -> NDArray[np.float64]:
    """Return the number of training events of each class, (n_classes,); at least 1, so that each can be sampled."""
    column = train.columns[target]
    counts = np.zeros(n_classes + 2, dtype=np.int64)  # id 0 and END are no candidates
    for start in range(0, len(column), 1 << 20):
        counts += np.bincount(np.maximum(column[start : start + (1 << 20)], 0), minlength=len(counts))
    return np.maximum(counts[1 : n_classes + 1], 1).astype(np.float64)


def _check_enough(history: History, target: str, needed: int) -> None:
    rows = history.targets()
    if not len(rows):
        return
    n_left = history.n_other_unseen(rows)
    least = int(n_left.argmin())
    if n_left[least] >= needed:
        return
    events, row = history.events, rows[least]
    sequence = events.sequence_ids[history.sequence_of(rows[least : least + 1])[0]]
    unseen = f"{n_left[least]:,} of {history.n_classes:,} classes besides the true one are unseen"
    raise DataError(
        f"`{target}` cannot be ranked: {unseen} before an event"
        + (f", and {needed:,} are to be sampled" if needed > 1 else ""),
        where=f"sequenceId={sequence} itemPosition={events.positions[row]}",
        fix=f"ranking.{target}: "
        + (f"negatives: {n_left[least]}, or " if needed > 1 and n_left[least] else "")
        + "candidates: all and exclude_seen: false, where items are repeated",
    )
