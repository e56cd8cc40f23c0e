"""Autoregression with a model that can be followed by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sequifier.generation.generate import Generated, Histories, generate
from sequifier.generation.samplers import GREEDY, Rules

Array = NDArray[Any]
L, K = 4, 5
MIXED = [Generated("item", "item_probabilities", Rules(temperature=1.3)), Generated("price", "price_value", None)]


def model(columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
    """Predictions that depend on every event of the window, and on none of the padding."""
    items, prices = columns["item"], columns["price"]
    is_event = np.arange(L, 0, -1) <= n_events[:, None]
    assert items.shape == prices.shape == is_event.shape
    level = (np.where(is_event, items * np.arange(1, L + 1), 0).sum(1) + np.where(is_event, prices, 0).sum(1)) % K
    logits = -np.abs(np.arange(1, K + 1) - level[:, None])
    likely = np.exp(logits)
    probabilities = np.concatenate([np.zeros((len(items), 1)), likely / likely.sum(1, keepdims=True)], axis=1)
    # Two steps are predicted; the last one is the next event.
    both = np.stack([np.full_like(probabilities, 1 / K), probabilities], axis=1).astype(np.float32)
    values = np.stack([np.zeros(len(items)), np.sin(level)], axis=1).astype(np.float32)
    found = {"item_probabilities": both, "price_value": values}
    return {name: found[name] for name in outputs}


def histories(n: int) -> Histories:
    generator = np.random.default_rng(3)
    columns: dict[str, Array] = {
        "item": generator.integers(1, K + 1, (n, L)),
        "price": generator.standard_normal((n, L)).astype(np.float32),
    }
    return Histories(columns, 1 + np.arange(n) % L, 100 + np.arange(n))


def one_by_one(start: Histories, n_steps: Array) -> dict[str, list[Any]]:
    """The most likely events, one sequence and one step at a time."""
    result: dict[str, list[Any]] = {"item": [], "price": []}
    for number, steps in enumerate(n_steps):
        n = start.n_events[number]
        items, prices = (list(start.columns[name][number, L - n :]) for name in ("item", "price"))
        for _ in range(steps):
            seen = min(len(items), L)
            window = {
                "item": np.array([[0] * (L - seen) + items[-L:]]),
                "price": np.array([[0.0] * (L - seen) + prices[-L:]], dtype=np.float32),
            }
            found = model(window, np.array([seen]), ["item_probabilities", "price_value"])
            items.append(int(found["item_probabilities"][0, -1].argmax()))
            prices.append(found["price_value"][0, -1])
            result["item"].append(items[-1])
            result["price"].append(prices[-1])
    return result


def test_the_most_likely_events_equal_those_of_a_plain_loop() -> None:
    start, n_steps = histories(9), np.array([3, 0, 7, 1, 12, 12, 0, 2, 5])
    greedy = [Generated("item", "item_probabilities", GREEDY), MIXED[1]]
    found, probabilities, _ = generate(model, greedy, start, n_steps, seed=0, batch_size=4, keep_probabilities=True)
    expected = one_by_one(start, n_steps)
    assert found["item"].tolist() == expected["item"]
    np.testing.assert_array_equal(found["price"], np.array(expected["price"], dtype=np.float32))
    assert probabilities["item"].argmax(axis=1).tolist() == expected["item"]
    assert probabilities.keys() == {"item"}


def test_draws_do_not_depend_on_the_batch_or_on_other_sequences() -> None:
    start, n_steps = histories(20), np.arange(20) % 7
    whole, _, _ = generate(model, MIXED, start, n_steps, seed=5, batch_size=64)
    for batch_size in (1, 7):
        again, _, _ = generate(model, MIXED, start, n_steps, seed=5, batch_size=batch_size)
        for name in whole:
            np.testing.assert_array_equal(again[name], whole[name])
    some = np.array([4, 11])
    few = Histories({name: v[some] for name, v in start.columns.items()}, start.n_events[some], start.numbers[some])
    alone, _, _ = generate(model, MIXED, few, n_steps[some], seed=5, batch_size=64)
    first = np.cumsum(n_steps) - n_steps
    expected = np.concatenate([whole["item"][first[s] : first[s] + n_steps[s]] for s in some])
    np.testing.assert_array_equal(alone["item"], expected)
    other, _, _ = generate(model, MIXED, start, n_steps, seed=6, batch_size=64)
    assert (other["item"] != whole["item"]).any()


def test_sequences_with_one_history_go_different_ways() -> None:
    one = histories(1)
    many = Histories(
        {name: np.repeat(values, 50, axis=0) for name, values in one.columns.items()},
        np.repeat(one.n_events, 50),
        np.arange(50),
    )
    found, _, _ = generate(model, MIXED, many, np.full(50, 4), seed=1, batch_size=50)
    assert len({tuple(row) for row in found["item"].reshape(50, 4).tolist()}) > 20


def test_nothing_to_generate_calls_no_model() -> None:
    def never(*_: object) -> Mapping[str, Array]:
        raise AssertionError

    found, probabilities, _ = generate(never, MIXED, histories(3), np.zeros(3, np.int64), seed=0, batch_size=2)
    assert [len(values) for values in found.values()] == [0, 0]
    assert probabilities == {}


def test_an_input_that_is_not_predicted_is_refused() -> None:
    with pytest.raises(ValueError, match="'price' is not predicted"):
        generate(model, MIXED[:1], histories(2), np.array([1, 1]), seed=0, batch_size=2)


def test_an_input_of_the_whole_sequence_keeps_its_value() -> None:
    start, n_steps = histories(6), np.array([3, 0, 7, 1, 12, 2])
    level = np.arange(6, dtype=np.float32)
    constant = {**start.columns, "price": np.where(np.arange(L, 0, -1) <= start.n_events[:, None], level[:, None], 9.0)}
    seen: list[Array] = []

    def watched(columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        seen.append(np.where(np.arange(L, 0, -1) <= n_events[:, None], columns["price"], np.nan))
        return model(columns, n_events, outputs)

    kept = Histories(constant, start.n_events, start.numbers, kept=["price"])
    generate(watched, MIXED[:1], kept, n_steps, seed=0, batch_size=1)
    found = [np.unique(prices[~np.isnan(prices)]).tolist() for prices in seen]
    assert found == [[float(s)] for s in (4, 2, 0, 5, 3) for _ in range(n_steps[s])]


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_a_sequence_stops_at_its_end_and_the_others_go_on_as_before(batch_size: int) -> None:
    start, n_steps = histories(20), np.arange(20) % 9
    whole, probabilities, _ = generate(model, MIXED, start, n_steps, seed=5, batch_size=64, keep_probabilities=True)
    ending = [Generated("item", "item_probabilities", Rules(temperature=1.3), end=3), MIXED[1]]
    found, kept, n_generated = generate(
        model, ending, start, n_steps, seed=5, batch_size=batch_size, keep_probabilities=True
    )
    first = np.cumsum(n_steps) - n_steps
    expected_rows, items = [], []
    for sequence, steps in enumerate(n_steps.tolist()):
        own = whole["item"][first[sequence] : first[sequence] + steps].tolist()
        left = own.index(3) + 1 if 3 in own else steps
        assert n_generated[sequence] == left
        expected_rows += range(first[sequence], first[sequence] + left)
        items += own[:left]
    assert 3 in items and len(items) < n_steps.sum()
    assert found["item"].tolist() == items
    is_end = found["item"] == 3
    np.testing.assert_array_equal(np.isnan(found["price"]), is_end)
    np.testing.assert_array_equal(found["price"][~is_end], whole["price"][expected_rows][~is_end])
    np.testing.assert_array_equal(kept["item"], probabilities["item"][expected_rows])


def test_an_end_of_one_target_is_the_end_of_all() -> None:
    def twice(columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        found = model(
            {"item": columns["item"], "price": np.zeros_like(columns["item"])}, n_events, ["item_probabilities"]
        )
        return {"item_probabilities": found["item_probabilities"], "kind": found["item_probabilities"][:, :, ::-1]}

    rules = Rules(temperature=1.3)
    item, kind = Generated("item", "item_probabilities", rules, end=5), Generated("kind", "kind", rules)
    start = Histories({"item": histories(12).columns["item"]}, histories(12).n_events, np.arange(12))
    for targets, at_end in (([item, kind], [5, -1]), ([item, replace(kind, end=4)], [5, 4])):
        found, _, n_generated = generate(twice, targets, start, np.full(12, 8), seed=0, batch_size=5)
        ends = np.cumsum(n_generated)[n_generated < 8] - 1
        assert len(ends) > 3
        assert np.unique(np.stack([found["item"], found["kind"]], axis=1)[ends], axis=0).tolist() == [at_end]
