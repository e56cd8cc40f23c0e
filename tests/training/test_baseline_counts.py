"""Back-off counts against a plain Python implementation of the formula, and their scores against whole rows."""

from collections import Counter, defaultdict
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sequifier.config.base import Named
from sequifier.training.baselines.categorical import CategoricalBaselines
from sequifier.training.baselines.counts import NGrams
from sequifier.training.baselines.history import TrainingData, training_targets
from sequifier.training.losses import TargetLoss
from sequifier.training.predictions import CategoricalScores
from tests.support.events import make_events


class PlainCounts:
    """Interpolated absolute discounting, one event after another; `discounts` by order."""

    def __init__(self, sequences: list[list[int]], n_classes: int, discounts: list[float]) -> None:
        self.n_classes, self.discounts = n_classes, discounts
        self.counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for sequence in sequences:
            for place in range(1, len(sequence)):
                for order in range(len(discounts)):
                    self.counts[history_of(sequence, place, order)][sequence[place]] += 1

    def probability(self, history: tuple[int, ...], truth: int, *, without: bool = False) -> float:
        """p(truth | history, the latest event first); `without` one event of this history and class."""
        shorter = self.probability(history[:-1], truth, without=without) if history else 1 / self.n_classes
        counts = self.counts[history].copy()
        if without:
            counts[truth] -= 1
        seen = {kind: count for kind, count in counts.items() if count > 0}
        total = sum(seen.values())
        if not total:
            return shorter
        discount = self.discounts[len(history)]
        return (max(seen.get(truth, 0) - discount, 0) + discount * len(seen) * shorter) / total


def history_of(sequence: list[int], place: int, order: int) -> tuple[int, ...]:
    """The `order` symbols before a place, the latest first; -1 stands before the sequence."""
    return tuple(sequence[place - lag] if place >= lag else -1 for lag in range(1, order + 1))


def counted(sequences: list[list[int]], n_classes: int, max_order: int = 3) -> tuple[NGrams, list[Any], NDArray[Any]]:
    """The counts, and history and class of each target."""
    places = [(sequence, place) for sequence in sequences for place in range(1, len(sequence))]
    truth = np.array([sequence[place] for sequence, place in places])
    symbols = np.array([history_of(sequence, place, max_order) for sequence, place in places])
    history = list(np.where(symbols < 0, n_classes + 1, symbols).T)
    return NGrams(truth, history, n_classes, n_classes + 2), history, truth


sequences = st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=12), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(sequences)
def test_probabilities_match_the_formula(given_sequences: list[list[int]]) -> None:
    counts, history, truth = counted(given_sequences, 5)
    plain = PlainCounts(given_sequences, 5, [order.discount for order in counts.orders])
    contexts = counts.look_up(history, np.full(len(truth), 9))
    for order, scores in enumerate(counts.scores(contexts, truth)):
        places = [(sequence, place) for sequence in given_sequences for place in range(1, len(sequence))]
        expected = [plain.probability(history_of(s, place, order), s[place]) for s, place in places]
        np.testing.assert_allclose(np.exp(-scores.log_loss.numpy()), expected, rtol=1e-10)


@settings(max_examples=20, deadline=None)
@given(sequences)
def test_the_discount_has_the_largest_leaving_one_out_likelihood(given_sequences: list[list[int]]) -> None:
    counts, _, _ = counted(given_sequences, 5)
    discounts = [order.discount for order in counts.orders]
    for order in range(4):

        def likelihood(discount: float, order: int = order) -> float:
            plain = PlainCounts(given_sequences, 5, [*discounts[:order], discount])
            return sum(
                log(plain.probability(history_of(sequence, place, order), sequence[place], without=True))
                for sequence in given_sequences
                for place in range(1, len(sequence))
            )

        found = likelihood(discounts[order])
        assert counts.orders[order].log_likelihood == pytest.approx(found)
        assert found >= max(likelihood(discount) for discount in np.linspace(0.05, 1, 12)) - 1e-3 * abs(found) - 1e-4


def random_case(seed: int) -> tuple[NGrams, list[Any], NDArray[np.int64]]:
    """Counts of few or many classes, and targets that training mostly did not have."""
    generator = np.random.default_rng(seed)
    n_classes = int(generator.integers(2, 40))
    sizes = generator.integers(2, 60, size=5)
    counts, _, _ = counted([(generator.zipf(1.5, size) % n_classes + 1).tolist() for size in sizes], n_classes)
    history = list(generator.integers(0, n_classes + 2, (3, 80)))
    return counts, counts.look_up(history, generator.integers(1, 4, 80)), generator.integers(1, n_classes + 1, 80)


@pytest.mark.parametrize("seed", range(12))
def test_scores_without_a_row_of_classes_equal_those_of_whole_rows(seed: int) -> None:
    counts, contexts, truth = random_case(seed)
    for order, found in enumerate(counts.scores(contexts, truth)):
        rows = torch.from_numpy(counts.dense(contexts[: order + 1]))
        torch.testing.assert_close(rows.sum(1), torch.ones(80, dtype=torch.float64))
        expected = CategoricalScores.of(rows.log(), torch.from_numpy(truth))
        torch.testing.assert_close(found.log_loss, expected.log_loss)
        torch.testing.assert_close(found.confidence, expected.confidence)
        torch.testing.assert_close(rows[torch.arange(80), found.predicted], rows.max(1).values)
        true = rows[torch.arange(80), torch.from_numpy(truth) - 1]
        # Of probabilities that differ by a rounding alone, either order is right.
        assert ((rows > true[:, None] * (1 + 1e-12)).sum(1) <= found.rank).all()
        assert (found.rank <= (rows >= true[:, None] * (1 - 1e-12)).sum(1) - 1).all()


def test_classes_of_equal_probability_count_against_the_true_one() -> None:
    counts, _, _ = counted([[1, 2, 1, 2, 3, 1]], 9)
    never = np.array([7, 8])
    contexts = counts.look_up([np.array([1, 9]), np.array([2, 1]), np.array([1, 1])], np.array([3, 3]))
    for scores in counts.scores(contexts, never):
        assert scores.rank.tolist() == [8, 8], "six classes never occurred: each may be the last of nine"


@pytest.mark.parametrize(
    ("criterion", "weighted"),
    [
        (Named(name="CrossEntropyLoss"), False),
        (Named(name="CrossEntropyLoss"), True),
        (Named(name="NLLLoss"), True),
        (Named(name="CrossEntropyLoss", label_smoothing=0.2), False),
        (Named(name="CrossEntropyLoss", label_smoothing=0.2), True),
        (Named(name="MultiMarginLoss", p=1, margin=2.0), True),
    ],
)
def test_the_loss_is_the_criterion_of_the_whole_row(criterion: Named, weighted: bool) -> None:
    generator, n_classes = np.random.default_rng(3), 7
    sequences = [(generator.zipf(1.5, size) % n_classes + 1).tolist() for size in (40, 3, 25, 60)]
    events = make_events([len(one) for one in sequences], {"kind": np.concatenate(sequences).astype(np.int32)})
    targets = training_targets(events, 99, at_most=1 << 20)
    baselines = CategoricalBaselines(TrainingData(events, ["kind"], {"kind": n_classes + 1}, 99), "kind", targets)

    counts, history, truth = counted(sequences, n_classes)
    contexts = counts.look_up(history, np.full(len(truth), 99))
    weights = torch.rand(n_classes, generator=torch.Generator().manual_seed(1)) if weighted else None
    loss = TargetLoss(criterion, class_weights=weights)
    found = [scored.loss for _, scored in baselines.scored(events.columns, targets, truth, loss)]
    assert len(found) == 4
    for order, losses in enumerate(found):
        rows = torch.from_numpy(counts.dense(contexts[: order + 1])).log()
        torch.testing.assert_close(losses, loss.per_position(rows, torch.from_numpy(truth)))


def test_a_known_chain_is_predicted_almost_as_well_as_its_entropy_allows() -> None:
    """An order-2 Markov chain of 5 states: the trigram is within 2 % of the truth, the others are not."""
    generator = np.random.default_rng(0)
    table = generator.dirichlet(np.full(5, 0.3), size=(5, 5))
    steps, sequence = generator.random(30_000), [1, 1]
    for step in steps:
        row = table[sequence[-2] - 1, sequence[-1] - 1]
        sequence.append(min(int(np.searchsorted(row.cumsum(), step)), 4) + 1)
    counts, _, _ = counted([sequence[:25_000]], 5)
    held_out = np.array(sequence[25_000:])
    contexts = counts.look_up([held_out[2:-1], held_out[1:-2], held_out[:-3]], np.full(len(held_out) - 3, 9))
    losses = [float(scores.log_loss.mean()) for scores in counts.scores(contexts, held_out[3:])]
    true = -np.log(table[held_out[1:-2] - 1, held_out[2:-1] - 1, held_out[3:] - 1]).mean()
    assert losses[2] == pytest.approx(true, rel=0.02)
    assert losses[3] == pytest.approx(true, rel=0.03)
    assert losses[1] > 1.2 * true


def test_a_single_event_says_nothing_of_the_next() -> None:
    counts, _, _ = counted([[1, 2]], 4)
    contexts = counts.look_up([np.array([1]), np.array([5]), np.array([5])], np.array([3]))
    for scores in counts.scores(contexts, np.array([3])):
        assert float(scores.log_loss) == pytest.approx(log(4), rel=1e-3)
