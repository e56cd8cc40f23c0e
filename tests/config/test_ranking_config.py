"""`ranking` in a config: what it may say, which metrics it adds, and each mistake before anything trains."""

from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.config.catalogue.metric_names import higher_is_better, metric_names
from sequifier.config.identity import identity
from sequifier.config.ranking import Ranking
from sequifier.config.resolve import resolve
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from tests.support.searches import metadata, plan_of, record_of, search, started

RUN = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": ["kind", "length"]}
NDCG = {"metric": "val_kind_ndcg_2", "direction": "maximize"}


def run(**values: Any) -> TrainConfig:
    return resolve(TrainConfig.model_validate(RUN | values), metadata())


def test_ranking_adds_metrics_that_are_better_when_they_are_higher() -> None:
    run(ranking={"kind": {"k": [1, 2]}}, **NDCG)
    run(ranking={"kind": {"k": [2], "candidates": {"negatives": 2}}}, metric_is_sampled=True, **NDCG)
    ranking = {"kind": Ranking.model_validate({"k": [1, 10]})}
    kinds = {"kind": "categorical", "length": "real"}
    added = [name for name in metric_names(kinds, ranking) if name not in metric_names(kinds)]
    names = ("hit_rate_1", "hit_rate_10", "ndcg_1", "ndcg_10", "mrr_1", "mrr_10")
    assert added == [f"val_kind_{name}" for name in names]
    assert all(map(higher_is_better, added))
    assert not higher_is_better("val_ndcg_10_loss")


@pytest.mark.parametrize(
    ("values", "key", "what", "fix"),
    [
        ({"ranking": {"length": {}}}, "ranking.length", "`length` is real: it has no classes to rank", "leave it out"),
        (
            {"ranking": {"kind": {"k": [2, 4]}}},
            "ranking.kind.k",
            "4 exceeds the number of candidates: 3",
            "a smaller k",
        ),
        (
            {"ranking": {"kind": {"k": [1, 3], "candidates": {"negatives": 1}}}},
            "ranking.kind.k",
            "3 exceeds the number of candidates: 2",
            "a smaller k",
        ),
        (
            {"ranking": {"kind": {"k": [1], "candidates": {"negatives": 3}}}},
            "ranking.kind.candidates.negatives",
            "3 candidates besides the true class, but `kind` has 3 classes",
            "at most 2, or candidates: all",
        ),
        (
            {"ranking": {"kind": {"k": [2], "candidates": {"negatives": 2}}}, **NDCG},
            "metric",
            "val_kind_ndcg_2 is measured among sampled candidates, which may order models differently than all of them "
            "(Krichene and Rendle 2020)",
            "write ranking.kind.candidates: all, or metric_is_sampled: true",
        ),
        (NDCG, "metric", "there is no metric `val_kind_ndcg_2`", "write ranking: {kind: {k: [2]}}"),
        (
            {"ranking": {"kind": {"k": [1]}}, **NDCG},
            "metric",
            "there is no metric `val_kind_ndcg_2`",
            "write ranking: {kind: {k: [1, 2]}}",
        ),
        (
            {"ranking": {"kind": {"k": [2]}}, "metric": "val_kind_ndcg_2"},
            "direction",
            "val_kind_ndcg_2 is better when it is higher",
            "write direction: maximize",
        ),
    ],
)
def test_each_mistake_is_one_error(values: dict[str, Any], key: str, what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as raised:
        run(**values)
    assert [(found.key, found.message, found.fix) for found in raised.value.problems] == [(key, what, fix)]


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        ({"kinds": {}}, "names `kinds`, which is not a target; target_columns: kind, length"),
        ({"kind": {"k": [5, 5]}}, r"\[5, 5\] is not in ascending order, each once; write \[5\]"),
        ({"kind": {"k": [0]}}, "greater than 0"),
        ({"kind": {"k": []}}, "at least 1 item"),
        ({"kind": {"candidates": "some"}}, "all"),
        ({"kind": {"candidates": {"by": "age"}}}, "'uniform' or 'popularity'"),
    ],
)
def test_what_is_no_ranking_is_refused(ranking: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        run(ranking=ranking)


def test_ranking_changes_no_identity() -> None:
    found = {
        identity(run(ranking=ranking), "data")
        for ranking in ({}, {"kind": {"k": [1]}}, {"kind": {"k": [1], "candidates": {"negatives": 1}}})
    }
    assert len(found) == 1


def test_a_search_gives_its_ranking_to_each_run() -> None:
    plan = plan_of(search(ranking={"kind": {"k": [2]}}, seq_length=[4, 8], **NDCG))
    assert [each.config.ranking["kind"].k for each in plan.runs] == [[2], [2]]
    with pytest.raises(ConfigError, match="val_kind_ndcg_2"):
        plan_of(search(**NDCG))


def test_runs_that_were_ranked_in_another_way_are_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = search(ranking={"kind": {"k": [2]}})
    (planned,) = started(config).runs
    record = record_of(planned, loss=1.0, inputs={"ranking.kind": "among all classes"}, n_targets={"kind": 5})
    plan_of(search(ranking={"kind": {"k": [1, 2]}}), [record])
    plan_of(search(), [record])
    with pytest.raises(ConfigError) as raised:
        plan_of(search(ranking={"kind": {"k": [2], "exclude_seen": True}}), [record])
    (found,) = raised.value.problems
    assert found.key == "ranking.kind"
    assert found.message == (
        "demo-run-0 was ranked among all classes, these runs would be ranked among all classes but those seen: "
        "their metrics cannot be compared"
    )
