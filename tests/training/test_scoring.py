"""Which targets count: accuracy, ranks and errors against their definitions, target by target, with unknown and END."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Target
from sequifier.config.ranking import Ranking
from sequifier.config.scoring import Scoring
from sequifier.dataset.batches import Split
from sequifier.dataset.ranking.candidates import build_candidates
from sequifier.errors import ConfigError, DataError
from sequifier.metrics.scoring import Scored, scored_targets
from sequifier.model.heads import Decoder
from sequifier.model.transformer import Transformer
from sequifier.preprocess.end_event import with_ends
from sequifier.training.baselines.history import TrainingData
from sequifier.training.baselines.scores import baselines
from sequifier.training.evaluate import evaluate
from sequifier.training.losses import build_losses
from sequifier.training.objective import Objective
from sequifier.training.splits import check_scored
from sequifier.training.tally import Evaluation
from tests.support.events import make_events, make_split, make_windows
from tests.support.reference_metrics import macro_f1

END = 9  # the last of the classes 1 to 9
K = [1, 3]
TARGETS = (Target("item", "categorical", END + 1), Target("price", "real", 0))
SIZES = st.lists(st.integers(1, 8), min_size=1, max_size=6)
RULES = st.builds(
    lambda min_events, labels: Scoring.model_validate(
        {"min_events": min_events, "except": {"item": labels} if labels else {}}
    ),
    st.integers(1, 4),
    st.sampled_from([[], ["END"], ["3"], ["END", "1", "2"]]),
)
IDS = {"item": {**{str(id): id for id in range(1, END)}, "END": END}}


class TableModel:
    """Predicts the logits and the value of a table by the row of the last event, which the real column `row` holds."""

    training = False

    def __init__(self, logits: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        self._logits, self._values = torch.from_numpy(logits), torch.from_numpy(values)

    def eval(self) -> None: ...
    def train(self, mode: bool) -> None: ...

    def __call__(self, categories: Tensor, reals: Tensor, is_event: Tensor | None, *, n_last: int) -> Tensor:
        return reals

    def window_scales(self, reals: Tensor, is_event: Tensor | None) -> dict[str, Any]:
        return {}

    def decoders(
        self, hidden: Tensor, targets: Sequence[str], scales: dict[str, Any], future: None
    ) -> dict[str, Decoder]:
        next_row = hidden[:, 0].long() + 1
        logits, values = self._logits[next_row], self._values[next_row, None]
        return {
            "item": Decoder(logits, torch.eye(logits.shape[1]), None),
            "price": Decoder(values, torch.ones(1, 1), None, is_value=True),
        }


def events_of(sizes: Sequence[int], seed: int, *, context: int = 0) -> Events:
    """Return events of 8 classes, a tenth of them unknown; most sequences end."""
    draw = np.random.default_rng(seed)
    item = draw.integers(1, END, sum(sizes)).astype(np.int32)
    item[draw.random(len(item)) < 0.1] = 0
    columns: dict[str, NDArray[Any]] = {"item": item, "price": draw.normal(size=len(item)).astype(np.float32)}
    events = make_events(sizes, columns, n_context=context)
    events = with_ends(events, draw.random(len(sizes)) < 0.8, {"item": END})
    rows = np.arange(events.offsets[-1], dtype=np.float32)
    return replace(events, columns={**events.columns, "row": rows})


def split_of(events: Events, *, picks: bool) -> Split:
    windows = make_windows(events, 4, 2, evaluation=True)
    return make_split(events, windows, 4, categorical=["item"], real=["row"], targets=["item", "price"], picks=picks)


def objective_of(events: Events, scoring: Scoring | None, ranking: Mapping[str, Any] | None = None) -> Objective:
    asked = {} if ranking is None else {"item": Ranking.model_validate(ranking)}
    candidates = build_candidates(
        asked,
        split=lambda target: events,
        earlier=lambda target: [],
        train=events,
        n_classes={"item": END + 1},
        context_events=1000,
        fingerprint="f",
        end_ids={"item": END},
    )
    scored = scored_targets(scoring, ["item", "price"], {"item": END}, IDS)
    weights = {"item": 1.0, "price": 1.0}
    return Objective(
        build_losses(TARGETS, {}), weights, {"price": Scale(0.0, 2.0)}, candidates=candidates, scored=scored
    )


def by_hand(
    events: Events, logits: NDArray[Any], values: NDArray[Any], scoring: Scoring, ranking: Mapping[str, Any]
) -> dict[str, float]:
    """Every metric from its definition."""
    left_out = [IDS["item"][str(label)] for label in scoring.left_out.get("item", ())]
    truths, guesses, ranks, places, log_losses, errors, squares = [], [], [], [], [], [], []
    for sequence, begin in enumerate(events.offsets[:-1].tolist()):
        first_own = begin + max(int(events.n_context[sequence]), 1)
        for row in range(first_own, int(events.offsets[sequence + 1])):
            if row - begin < scoring.min_events:
                continue
            if not np.isnan(price := float(events.columns["price"][row])):
                errors.append(abs(float(values[row]) - price))
                squares.append((float(values[row]) - price) ** 2)
            truth = int(events.columns["item"][row])
            if truth == 0:
                ranks.append(math.inf)
                places.append(math.inf)
            if truth == 0 or truth in left_out:
                continue
            own = logits[row].astype(np.float64)
            ahead = [other for other in range(1, END + 1) if other != truth and own[other - 1] >= own[truth - 1]]
            ranks.append(1 + len(ahead))
            truths.append(truth)
            guesses.append(int(own.argmax()) + 1)
            log_losses.append(float(np.log(np.exp(own - own.max()).sum()) + own.max() - own[truth - 1]))
            if truth != END:
                seen = {*events.columns["item"][begin:row].tolist()} if ranking.get("exclude_seen") else set()
                places.append(1 + len({*ahead} - seen - {END}))
    # Of equal logits the first class is predicted, but a hit has a rank of 1.
    found = {"mae": 2 * float(np.mean(errors)), "rmse": 2 * float(np.mean(squares)) ** 0.5}
    result = {f"val_price_{name}": value for name, value in found.items()}
    count = {
        "accuracy": sum(rank == 1 for rank in ranks),
        "top5": sum(rank <= 5 for rank in ranks),
        "mrr": sum(1 / rank for rank in ranks),
    }
    result |= {f"val_item_{name}": total / len(ranks) for name, total in count.items()}
    result["val_item_log_loss"] = float(np.mean(log_losses))
    result["val_item_n_unknown"] = float(ranks.count(math.inf))
    for k in K:
        result[f"val_item_hit_rate_{k}"] = sum(place <= k for place in places) / len(places)
        result[f"val_item_ndcg_{k}"] = sum(1 / math.log2(p + 1) for p in places if p <= k) / len(places)
        result[f"val_item_mrr_{k}"] = sum(1 / p for p in places if p <= k) / len(places)
    if len({*logits.ravel().tolist()}) == logits.size:  # without ties a hit is a class that was predicted
        result["val_item_macro_f1"] = macro_f1(truths, guesses)
    return result


def somebody_has_seen_all(events: Events) -> bool:
    """Whether no other class is left to rank beside a true one."""
    for sequence, begin in enumerate(events.offsets[:-1].tolist()):
        first_own = begin + max(int(events.n_context[sequence]), 1)
        for row in range(first_own, int(events.offsets[sequence + 1])):
            truth = int(events.columns["item"][row])
            unseen = set(range(1, END)) - {truth, *events.columns["item"][begin:row].tolist()}
            if truth not in (0, END) and not unseen:
                return True
    return False


def evaluated(split: Split, objective: Objective, table: tuple[Any, Any], *, batch_size: int = 5) -> Evaluation:
    model = cast(Transformer, TableModel(*table))
    return evaluate(model, split, objective, batch_size=batch_size)


def table_of(events: Events, seed: int, levels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and values; logits of few levels are often equal."""
    draw, size = np.random.default_rng(seed), (int(events.offsets[-1]) + 1, END)
    logits = draw.integers(0, levels, size) if levels else draw.normal(size=size)
    return logits.astype(np.float32), draw.normal(size=size[0]).astype(np.float32)


@given(
    sizes=SIZES,
    seed=st.integers(0, 10**6),
    context=st.integers(0, 3),
    scoring=RULES,
    ranking=st.sampled_from([{"k": K}, {"k": K, "exclude_seen": True}]),
    picks=st.booleans(),
    levels=st.sampled_from([0, 3]),
    batch_size=st.integers(1, 9),
)
@settings(max_examples=150, deadline=None)
def test_metrics_are_those_of_the_targets_that_count(
    sizes: list[int],
    seed: int,
    context: int,
    scoring: Scoring,
    ranking: dict[str, Any],
    picks: bool,
    levels: int,
    batch_size: int,
) -> None:
    events = events_of(sizes, seed, context=context)
    split, table = split_of(events, picks=picks), table_of(events, seed, levels)
    assume(all(split.n_known_targets(name).sum() for name in ("item", "price")))
    if ranking.get("exclude_seen") and somebody_has_seen_all(events):
        with pytest.raises(DataError, match="are unseen before an event"):
            objective_of(events, scoring, ranking)
        return
    objective = objective_of(events, scoring, ranking)
    try:
        check_scored(split, objective.scored)
    except ConfigError:
        return
    found = evaluated(split, objective, table, batch_size=batch_size).metrics
    try:
        expected = by_hand(events, *table, scoring, ranking)
    except ZeroDivisionError:  # nothing is ranked but ENDs
        assert "val_item_hit_rate_1" not in found
        return
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)
    plain = evaluated(split, objective_of(events, None), table).metrics
    for name in ("val_loss", "val_item_loss", "val_price_loss"):
        assert found[name] == pytest.approx(plain[name], rel=1e-12), "the loss is of all targets"


@pytest.mark.parametrize("ranked_by", ["val_item_accuracy", "val_item_ndcg_3", "val_price_mae", "val_price_rmse"])
def test_the_metric_that_ranks_has_the_units_of_the_targets_that_count(ranked_by: str) -> None:
    events = events_of([7, 3, 5, 2, 6, 8, 8], 3)
    scoring = Scoring.model_validate({"min_events": 2, "except": {"item": "END"}})
    objective = replace(objective_of(events, scoring, {"k": K}), ranked_by=ranked_by)
    for picks in (True, False):
        found = evaluated(split_of(events, picks=picks), objective, table_of(events, 1, 0))
        units = found.units[ranked_by]
        if not ranked_by.endswith("rmse"):  # whose values are those of a jackknife
            assert units.value == pytest.approx(found.metrics[ranked_by], rel=1e-12)
        assert units.standard_error is not None and np.isfinite(units.standard_error)


def test_baselines_are_scored_on_the_same_targets() -> None:
    events = events_of([8] * 40, 5)
    split = split_of(events, picks=True)
    scoring = Scoring.model_validate({"min_events": 3, "except": {"item": ["END"]}})
    train = TrainingData(events, ["item"], {"item": END + 1}, split.seq_length)
    found = baselines(train, split, objective_of(events, scoring, {"k": K}))
    plain = baselines(train, split, objective_of(events, None, {"k": K}))
    unigram, before = (each["baseline: unigram, mean"] for each in (found, plain))
    own = [
        (int(events.columns["item"][row]), float(events.columns["price"][row]))
        for begin, end in zip(events.offsets[:-1].tolist(), events.offsets[1:].tolist(), strict=True)
        for row in range(begin + 3, end)
        if events.columns["item"][row] != END
    ]
    every = [int(events.columns["item"][row]) for begin in events.offsets[:-1] for row in range(begin + 1, begin + 8)]
    ends = int((events.columns["item"] == END).sum())
    popular = max(range(1, END), key=every.count) if ends < max(map(every.count, range(1, END))) else END
    expected = 0.0 if popular == END else sum(item == popular for item, _ in own) / len(own)
    assert unigram.metrics["val_item_accuracy"] == pytest.approx(expected)
    known = [item for item, _ in own if item]
    best = max(range(1, END), key=lambda item: (every.count(item), -item))
    assert unigram.metrics["val_item_hit_rate_1"] <= sum(item == best for item in known) / len(own) + 1e-12
    assert unigram.metrics["val_item_n_unknown"] == len(own) - len(known)
    assert unigram.metrics["val_loss"] == before.metrics["val_loss"]
    mean = np.mean([p for begin in events.offsets[:-1] for p in events.columns["price"][begin + 1 : begin + 8]])
    prices = [price for _, price in own]
    assert unigram.metrics["val_price_mae"] == pytest.approx(2 * np.mean(np.abs(prices - mean)), rel=1e-5)


def test_scoring_that_leaves_out_everything_is_an_error() -> None:
    events = events_of([3, 4], 0)
    split = split_of(events, picks=True)
    check_scored(split, {"item": Scored(min_events=3)})
    with pytest.raises(ConfigError, match="no event of `item` in the validation split counts in metrics"):
        check_scored(split, {"item": Scored(min_events=5)})
    with pytest.raises(ConfigError, match="fewer classes in except"):
        check_scored(split, {"item": Scored(left_out=tuple(range(1, END + 1)))})
