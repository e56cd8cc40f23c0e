"""The co-occurrence baseline, against counts in dictionaries, without keys, parts or sorted arrays."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.training.baselines import co_occurrence
from sequifier.training.baselines.co_occurrence import CoOccurrence
from sequifier.training.baselines.counts import NGrams
from sequifier.training.baselines.history import Targets, training_targets
from tests.support.events import make_events

K, SEQ_LENGTH = 15, 6


def events_of(sizes: list[int], seed: int) -> Events:
    """Items of a few kinds: what follows is of the same kind, in any order."""
    draw = np.random.default_rng(seed)
    item = np.concatenate([draw.integers(0, 5, n) + 5 * draw.integers(0, 3) + 1 for n in sizes])
    item[draw.random(len(item)) < 0.1] = 0  # unknown
    return make_events(sizes, {"item": item.astype(np.int32)})


def fitted(events: Events) -> CoOccurrence:
    training = training_targets(events, SEQ_LENGTH, at_most=1 << 20)
    known = np.flatnonzero(events.columns["item"][training.rows])
    return CoOccurrence(events.columns, "item", "item", training[known], K, K + 1)


def by_hand(train: Events, valid: Events, targets: Targets, most: int) -> NDArray[np.float64]:
    """Probabilities of all classes, (M, K)."""
    item = train.columns["item"].tolist()
    pairs = []
    for begin, end in zip(train.offsets[:-1], train.offsets[1:], strict=True):
        for row in range(begin + 1, end):
            pairs += [(item[at], item[row]) for at in range(max(begin, row - SEQ_LENGTH), row) if item[row]]
    truth, before = (np.array([pair[place] for pair in pairs]) for place in (1, 0))
    counts = NGrams(truth, [before], K, K + 1)  # tested on its own
    unigram = counts.dense([np.zeros(1, dtype=np.int64)])[0]
    discount = counts.orders[1].discount
    follows: dict[int, Counter[int]] = defaultdict(Counter)
    for earlier, later in pairs:
        follows[earlier][later] += 1
    table = np.zeros((len(targets), K))
    column = valid.columns["item"].tolist()
    for place in range(len(targets)):
        row, n = int(targets.rows[place]), int(targets.n_readable[place])
        for symbol in column[row - n : row]:
            gains = np.zeros(K)
            total = sum(follows[symbol].values())
            for later, count in sorted(follows[symbol].items(), key=lambda each: (-each[1], each[0]))[:most]:
                gains[later - 1] = max(count - discount, 0) / total
            table[place] += (gains + (1 - gains.sum()) * unigram) / n
    return table


@pytest.mark.parametrize("most", [100, 3])
def test_scores_are_those_of_all_classes(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(co_occurrence, "NEIGHBOURS", most)
    monkeypatch.setattr(co_occurrence, "_ENTRIES", 70 * most)  # several parts
    train, valid = events_of([30, 25, 4, 1, 20, 40], seed=1), events_of([9, 12, 2, 30], seed=2)
    targets = training_targets(valid, SEQ_LENGTH, at_most=1 << 20)
    targets = targets[np.flatnonzero(valid.columns["item"][targets.rows])]
    truth = valid.columns["item"][targets.rows].astype(np.int64)
    expected = by_hand(train, valid, targets, most)
    np.testing.assert_allclose(expected.sum(axis=1), 1)
    weights = np.linspace(1, 2, K)
    found: dict[str, list[Any]] = defaultdict(list)
    for part, here in fitted(train).parts(valid.columns, targets):
        scores = here.compared(truth[part])
        for name in ("log_loss", "confidence", "rank", "predicted"):
            found[name].append(getattr(scores, name).numpy())
        found["sums"].append(here.log_sums(weights))
    assert len(found["rank"]) > 1
    log_loss, confidence, rank, predicted, sums = (
        np.concatenate(found[name]) for name in ("log_loss", "confidence", "rank", "predicted", "sums")
    )
    own = expected[np.arange(len(truth)), truth - 1]
    np.testing.assert_allclose(log_loss, -np.log(own))
    np.testing.assert_allclose(confidence, expected.max(axis=1))
    np.testing.assert_allclose(expected[np.arange(len(truth)), predicted], expected.max(axis=1))
    np.testing.assert_array_equal(rank, (expected >= own[:, None] * (1 - 1e-12)).sum(axis=1) - 1)
    np.testing.assert_allclose(sums, np.log(expected) @ weights)


def test_it_finds_the_kind_of_a_sequence_that_the_last_event_hides() -> None:
    """After an unknown last event, counts of the last event know nothing of the kind; the events before it show it."""
    train, valid = events_of([40] * 30, seed=3), events_of([40] * 10, seed=4)
    targets = training_targets(valid, 10, at_most=1 << 20)
    item = valid.columns["item"]
    is_hidden = (item[targets.rows] != 0) & (item[targets.rows - 1] == 0) & (targets.n_readable > 3)
    hidden = targets[np.flatnonzero(is_hidden)]
    truth = item[hidden.rows].astype(np.int64)
    (scores,) = (here.compared(truth[part]) for part, here in fitted(train).parts(valid.columns, hidden))
    assert float((scores.rank < 5).double().mean()) > 0.95, "among the five of its kind"
