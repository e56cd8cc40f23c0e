"""Hit rate, NDCG and MRR at k, against a computation on the logits written by hand: ties, seen items, samples."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.config.architecture import Target
from sequifier.config.ranking import Ranking
from sequifier.dataset.batches import Split
from sequifier.dataset.ranking import history, negatives
from sequifier.dataset.ranking.candidates import Candidates, build_candidates
from sequifier.dataset.ranking.history import History, missing_events
from sequifier.dataset.ranking.negatives import Negatives
from sequifier.errors import DataError
from sequifier.model.heads import Decoder
from sequifier.model.transformer import Transformer
from sequifier.preprocess.split import take_split, within_sequences
from sequifier.training.baselines import categorical
from sequifier.training.baselines.co_occurrence import CoOccurrence, Scores
from sequifier.training.baselines.history import Targets, TrainingData, evaluated_targets, training_targets
from sequifier.training.baselines.scores import baselines
from sequifier.training.evaluate import evaluate
from sequifier.training.losses import build_losses
from sequifier.training.objective import Objective
from sequifier.training.tally import Evaluation
from tests.support.events import make_events, make_split, make_windows

K = [1, 2, 5]
N_CLASSES = 12  # known ones
ALL, UNSEEN = {"k": K}, {"k": K, "exclude_seen": True}
SAMPLED = {"k": [1, 2], "candidates": {"negatives": 3}}


@dataclass
class TableModel:
    """Predicts the logits of a table by the row of the last event, which the real column `row` holds."""

    table: NDArray[np.float32]
    training: bool = False

    def eval(self) -> None: ...
    def train(self, mode: bool) -> None: ...

    def __call__(self, categories: Tensor, reals: Tensor, is_event: Tensor | None, *, n_last: int) -> Tensor:
        return reals

    def window_scales(self, reals: Tensor, is_event: Tensor | None) -> dict[str, Any]:
        return {}

    def decoders(
        self, hidden: Tensor, targets: Collection[str], scales: dict[str, Any], future: None
    ) -> dict[str, Decoder]:
        logits = torch.from_numpy(self.table)[hidden[:, 0].long() + 1]
        return {"item": Decoder(logits, torch.eye(logits.shape[1]), None)}


def events_of(sizes: Sequence[int], *, seed: int, n_classes: int = N_CLASSES, context: int = 0) -> Events:
    generator = np.random.default_rng(seed)
    item = generator.integers(1, n_classes + 1, sum(sizes))
    item[generator.random(len(item)) < 0.1] = 0  # unknown
    columns: dict[str, NDArray[Any]] = {
        "item": item.astype(np.int32),
        "row": np.arange(len(item), dtype=np.float32),
    }
    return make_events(sizes, columns, n_context=context)


def candidates_of(events: Events, asked: Mapping[str, Any], *, fingerprint: str = "f", n_classes: int = N_CLASSES,
                  train: Events | None = None) -> Candidates:  # fmt: skip
    return build_candidates(
        {"item": Ranking.model_validate(asked)},
        split=lambda target: events,
        earlier=lambda target: [],
        train=events if train is None else train,
        n_classes={"item": n_classes + 1},
        context_events=1000,
        fingerprint=fingerprint,
    )["item"]


def split_of(events: Events, *, seq_length: int = 4, picks: bool = True) -> Split:
    windows = make_windows(events, seq_length, 2, evaluation=True)
    return make_split(events, windows, seq_length, categorical=["item"], real=["row"], targets=["item"], picks=picks)


def objective_of(candidates: Candidates, ranked_by: str = "val_loss", *, n_classes: int = N_CLASSES) -> Objective:
    losses = build_losses([Target("item", "categorical", n_classes + 1)], {})
    return Objective(losses, {"item": 1.0}, {}, ranked_by, {"item": candidates})


def evaluated(
    split: Split, table: NDArray[np.float32], candidates: Candidates, *, batch_size: int = 5, by: str = "val_loss"
) -> Evaluation:
    model = cast(Transformer, TableModel(table))
    return evaluate(model, split, objective_of(candidates, by, n_classes=table.shape[1]), batch_size=batch_size)


def by_hand(
    events: Events, table: NDArray[Any], k: Sequence[int], *, seen_too: bool = True,
    sampled: Mapping[int, Sequence[int]] | None = None,
) -> dict[str, float]:  # fmt: skip
    """The definition, target by target; `sampled` has the candidates of each row."""
    places: list[float] = []
    for sequence, begin in enumerate(events.offsets[:-1]):
        for row in range(begin + max(int(events.n_context[sequence]), 1), events.offsets[sequence + 1]):
            truth = int(events.columns["item"][row])
            others = {*range(1, table.shape[1] + 1)} if sampled is None else {*sampled.get(row, ())}
            if not seen_too:
                others -= {*events.columns["item"][begin:row].tolist()}
            others -= {truth}
            ahead = sum(table[row, other - 1] >= table[row, truth - 1] for other in others)
            places.append(math.inf if truth == 0 else 1 + ahead)
    found: dict[str, float] = {"n_unknown": places.count(math.inf)}
    for cut in k:
        found[f"hit_rate_{cut}"] = sum(place <= cut for place in places) / len(places)
        found[f"ndcg_{cut}"] = sum(1 / math.log2(place + 1) for place in places if place <= cut) / len(places)
        found[f"mrr_{cut}"] = sum(1 / place for place in places if place <= cut) / len(places)
    return {f"val_item_{name}": value for name, value in found.items()}


def table_of(events: Events, n_classes: int = N_CLASSES, *, seed: int, levels: int = 4) -> NDArray[np.float32]:
    """Logits of few levels, so that many are equal."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, levels, (int(events.offsets[-1]) + 1, n_classes)).astype(np.float32)


SIZES = st.lists(st.integers(1, 8), min_size=1, max_size=6).filter(lambda sizes: max(sizes) > 2)


@given(sizes=SIZES, seed=st.integers(0, 10**6), context=st.integers(0, 3), batch_size=st.integers(1, 9),
       picks=st.booleans(), levels=st.integers(1, 20), pairs=st.sampled_from([1, 7, 1 << 20]))  # fmt: skip
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("asked", [ALL, UNSEEN, SAMPLED], ids=["all", "unseen", "sampled"])
def test_the_metrics_are_what_their_definition_gives(
    asked: dict[str, Any], sizes: list[int], seed: int, context: int, batch_size: int, picks: bool, levels: int,
    pairs: int,
) -> None:  # fmt: skip
    events = events_of(sizes, seed=seed, context=context)
    split = split_of(events, picks=picks)
    if int(split.n_known_targets("item").sum()) == 0:
        return
    table = table_of(events, seed=seed, levels=levels)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(history, "PAIRS", pairs)
        patched.setattr(negatives, "PAIRS", pairs)
        candidates = candidates_of(events, asked)
        found = evaluated(split, table, candidates, batch_size=batch_size).metrics
    sampled = None
    if candidates.sampled is not None:
        rows = candidates.sampled._history.targets()
        sampled = {row: drawn.tolist() for row, drawn in zip(rows.tolist(), candidates.sampled.of(rows), strict=True)}
    expected = by_hand(events, table, asked["k"], seen_too="exclude_seen" not in asked, sampled=sampled)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert {name for name in found if name.rpartition("_")[2].isdecimal()} == {*expected} - {"val_item_n_unknown"}


def test_an_end_has_no_sampled_candidates() -> None:
    events = events_of([5, 4, 6], seed=1, n_classes=N_CLASSES - 1)
    item, ends = events.columns["item"], events.offsets[1:] - 1
    item[ends] = N_CLASSES  # the id of END, which the last row has too
    sampled = build_candidates(
        {"item": Ranking.model_validate(SAMPLED)},
        split=lambda target: events,
        earlier=lambda target: [],
        train=events,
        n_classes={"item": N_CLASSES + 1},
        context_events=1000,
        fingerprint="f",
        end_ids={"item": N_CLASSES},
    )["item"]
    rows = np.flatnonzero(item)
    (counts,) = sampled.ahead(rows, lambda owner, classes: [classes > 0])
    assert counts.tolist() == [0 if row in ends else 3 for row in rows]
    without = np.setdiff1d(rows, ends)
    largest = [sampled.ahead(each, lambda owner, classes: [classes > 6])[0] for each in (rows, without)]
    assert largest[0][~np.isin(rows, ends)].tolist() == largest[1].tolist()


@pytest.mark.parametrize("asked", [UNSEEN, SAMPLED], ids=["unseen", "sampled"])
def test_a_ranking_metric_has_units_for_its_error(asked: dict[str, Any]) -> None:
    events = events_of([7, 3, 5, 2, 6, 6], seed=3)
    split = split_of(events)
    found = evaluated(split, table_of(events, seed=0), candidates_of(events, asked), by="val_item_ndcg_2")
    units = found.units["val_item_ndcg_2"]
    assert units.value == pytest.approx(found.metrics["val_item_ndcg_2"], rel=1e-12)
    assert units.by == "sequences"
    assert units.count.tolist() == [6, 2, 4, 1, 5, 5], "unknown targets are misses"


def test_without_ranking_nothing_is_added() -> None:
    events = events_of([7, 3, 5], seed=3)
    objective = replace(objective_of(Candidates((1,))), candidates={})
    model = cast(Transformer, TableModel(table_of(events, seed=0)))
    plain = evaluate(model, split_of(events), objective, batch_size=4).metrics
    ranked = evaluated(split_of(events), table_of(events, seed=0), Candidates((1,))).metrics
    more = {"val_item_hit_rate_1", "val_item_ndcg_1", "val_item_mrr_1"}
    assert {name: value for name, value in ranked.items() if name not in more} == plain
    assert {*ranked} - {*plain} == more


@given(sizes=SIZES, seed=st.integers(0, 10**6), number=st.integers(1, 2), context=st.sampled_from([0, 1, 2, 50]))
@settings(max_examples=60, deadline=None)
def test_the_history_goes_back_to_the_first_event_of_the_sequence(
    sizes: list[int], seed: int, number: int, context: int
) -> None:
    whole = events_of(sizes, seed=seed)
    bounds = within_sequences(np.diff(whole.offsets), [0.4, 0.3, 0.3])
    splits = [take_split(whole, bounds, each, context) for each in range(3)]
    here = splits[number]
    found = History(here, "item", N_CLASSES, missing_events(here, "item", context, lambda: splits[:number]))
    rows = found.targets()
    # `row` still has the number of the row in the whole data.
    known: dict[int, set[int]] = {int(here.columns["row"][row]): set() for row in rows}
    for owner, classes in found.pairs(rows):
        for place, class_id in zip(owner.tolist(), classes.tolist(), strict=True):
            seen = known[int(here.columns["row"][rows[place]])]
            assert class_id not in seen, "each class once"
            seen.add(class_id)
    n_left = dict(zip(known, found.n_other_unseen(rows).tolist(), strict=True))
    for row, seen in known.items():
        begin = whole.offsets[np.searchsorted(whole.offsets, row, side="right") - 1]
        before = {*whole.columns["item"][begin:row].tolist()} - {0}
        assert seen == before - {int(whole.columns["item"][row])}
        assert n_left[row] == N_CLASSES - len(before | {int(whole.columns["item"][row])})


def sampled_of(events: Events, asked: Mapping[str, Any], **options: Any) -> Negatives:
    found = candidates_of(events, asked, **options).sampled
    assert found is not None
    return found


@given(sizes=SIZES, seed=st.integers(0, 10**6), by=st.sampled_from(["uniform", "popularity"]))
@settings(max_examples=60, deadline=None)
def test_sampled_candidates_are_distinct_unseen_and_the_same_however_they_are_asked_for(
    sizes: list[int], seed: int, by: str
) -> None:
    events = events_of(sizes, seed=seed, n_classes=14)
    asked = {"k": [1], "candidates": {"negatives": 6, "by": by}}
    drawn = sampled_of(events, asked, n_classes=14)
    rows = drawn._history.targets()
    whole = drawn.of(rows)
    for row, classes in zip(rows.tolist(), whole.tolist(), strict=True):
        begin = events.offsets[np.searchsorted(events.offsets, row, side="right") - 1]
        assert len({*classes}) == 6
        assert not {*classes} & {0, *events.columns["item"][begin : row + 1].tolist()}
    some = np.random.default_rng(seed).permutation(rows)[: len(rows) // 2 + 1]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(negatives, "_KEPT", 0)
        again = sampled_of(events, asked, n_classes=14)
        np.testing.assert_array_equal(again.of(some), whole[np.searchsorted(rows, some)])
    if len(rows) > 3:
        other = sampled_of(events, asked, n_classes=14, fingerprint="g")
        assert (other.of(rows) != whole).any()


@pytest.mark.parametrize("sequence_ids", [None, "text"])
@pytest.mark.parametrize("unit", ["D", "us", None])
def test_sampled_candidates_depend_on_sequence_and_position_alone(sequence_ids: str | None, unit: str | None) -> None:
    events = events_of([6, 6], seed=2, n_classes=14)
    if sequence_ids is not None:
        events = replace(events, sequence_ids=np.array(["one", "two"], dtype=object))
    if unit is not None:
        events = replace(events, positions=events.positions.astype(f"datetime64[{unit}]"))
    second = make_events(
        [6],
        {name: values[6:] for name, values in events.columns.items()},
        sequence_ids=events.sequence_ids[1:],
        positions=events.positions[6:],
    )
    both, alone = (sampled_of(each, SAMPLED, n_classes=14) for each in (events, second))
    rows = alone._history.targets()
    np.testing.assert_array_equal(alone.of(rows), both.of(rows + 6))


@pytest.mark.parametrize("most_draws", [64, 0], ids=["drawn", "by keys"])
def test_popular_classes_are_sampled_as_often_as_they_occur(monkeypatch: pytest.MonkeyPatch, most_draws: int) -> None:
    monkeypatch.setattr(negatives, "_MOST_DRAWS", most_draws)
    n, counts = 4000, np.array([0, 1, 1, 2, 4, 8])
    train = make_events([16], {"item": np.repeat(np.arange(6), counts).astype(np.int32)})
    events = make_events([2] * n, {"item": np.tile([1, 2], n).astype(np.int32)})
    asked = {"k": [1], "candidates": {"negatives": 2, "by": "popularity"}}
    drawn = sampled_of(events, asked, n_classes=5, train=train).of(np.arange(1, 2 * n, 2))
    # 3, 4 and 5 are left, with 2, 4 and 8 of 14; the second is drawn from the two others.
    weights = {3: 2 / 14, 4: 4 / 14, 5: 8 / 14}
    for one in weights:
        for two in weights.keys() - {one}:
            expected = weights[one] * weights[two] / (1 - weights[one])
            share = ((drawn[:, 0] == one) & (drawn[:, 1] == two)).mean()
            assert share == pytest.approx(expected, abs=5 * (expected * (1 - expected) / n) ** 0.5)


def test_a_target_without_another_candidate_is_one_error() -> None:
    events = make_events([4], {"item": np.array([1, 2, 3, 1], np.int32)}, sequence_ids=np.array(["x"], dtype=object))
    with pytest.raises(DataError) as raised:
        candidates_of(events, UNSEEN, n_classes=3)
    assert raised.value.what == (
        "`item` cannot be ranked: 0 of 3 classes besides the true one are unseen before an event"
    )
    assert raised.value.where == "sequenceId=x itemPosition=2"
    with pytest.raises(DataError, match=r"2 of 5 classes .*, and 3 are to be sampled"):
        candidates_of(events, SAMPLED, n_classes=5)
    candidates_of(events, UNSEEN, n_classes=4)


def each_of(together: CoOccurrence, events: Events, targets: Targets) -> Iterator[tuple[Scores, int]]:
    for part, here in together.parts(events.columns, targets):
        yield from ((here, place) for place in range(len(targets[part])))


def of_all(scores: Scores, place: int) -> NDArray[np.float64]:
    """The probabilities of all classes at one target."""
    return scores.of(np.full(60, place), np.arange(1, 61))


@pytest.mark.parametrize("asked", [ALL, UNSEEN, SAMPLED], ids=["all", "unseen", "sampled"])
def test_the_baselines_are_ranked_among_the_same_candidates(asked: dict[str, Any]) -> None:
    train, valid = (events_of([40, 30, 20, 9], seed=seed, n_classes=60) for seed in (0, 1))
    candidates = candidates_of(valid, asked, n_classes=60, train=train)
    split = split_of(valid)
    objective = objective_of(candidates, n_classes=60)
    data = TrainingData(train, ["item"], {"item": 61}, 4)
    found = baselines(data, split, objective)
    targets = next(evaluated_targets(split, 1 << 20))
    fitted = categorical.CategoricalBaselines(data, "item", training_targets(train, 4, at_most=1 << 20), candidates)
    dense = [*fitted.dense(valid.columns, targets)]
    assert fitted._together is not None
    dense.append(np.stack([of_all(here, place) for here, place in each_of(fitted._together, valid, targets)]))
    sampled = None
    if candidates.sampled is not None:
        rows = candidates.sampled._history.targets()
        sampled = {row: drawn.tolist() for row, drawn in zip(rows.tolist(), candidates.sampled.of(rows), strict=True)}
    for name, probabilities in zip((*categorical.BY_ORDER, categorical.TOGETHER), dense, strict=True):
        table = np.zeros((int(valid.offsets[-1]) + 1, 60))
        table[targets.rows] = probabilities.round(14)
        expected = by_hand(valid, table, asked["k"], seen_too="exclude_seen" not in asked, sampled=sampled)
        metrics = found[f"baseline: {name}"].metrics
        assert {key: metrics[key] for key in expected} == pytest.approx(expected, abs=1e-9), name
