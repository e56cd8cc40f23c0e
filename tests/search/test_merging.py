"""Settings that are spelled out but equal their default: one run, found in the ledger under either spelling."""

from pathlib import Path
from typing import Any

import pytest

from sequifier.search.make_plan import make_plan
from sequifier.search.proposals import Proposer
from tests.support.searches import ended, metadata, plan_of, results, search, started

PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "optimizer": (
        {"training": {"optimizer": "AdamW"}},
        {"training": {"optimizer": {"name": "AdamW", "weight_decay": 0.01, "betas": [0.9, 0.999], "fused": None}}},
    ),
    "scheduler": (
        {"training": {"scheduler": {"name": "StepLR", "step_size": 2}}},
        {"training": {"scheduler": {"name": "StepLR", "step_size": 2, "gamma": 0.1}}},
    ),
    "scheduler inside another": (
        {
            "training": {
                "scheduler": {"name": "ChainedScheduler", "schedulers": [{"name": "ExponentialLR", "gamma": 1}]}
            }
        },
        {
            "training": {
                "scheduler": {
                    "name": "ChainedScheduler",
                    "schedulers": [{"name": "ExponentialLR", "gamma": 1.0}],
                }
            }
        },
    ),
    "criterion": ({}, {"training": {"criterion": {"kind": "CrossEntropyLoss"}}}),
    "option of a criterion": (
        {"training": {"criterion": {"kind": "MultiMarginLoss"}}},
        {"training": {"criterion": {"kind": {"name": "MultiMarginLoss", "p": 1, "margin": 1.0}}}},
    ),
    "loss weights": ({}, {"training": {"loss_weights": {"kind": 1}}}),
    "class weights": ({}, {"training": {"class_weights": {"kind": [0, 1, 1, 1]}}}),
    "evaluation stride": ({}, {"training": {"evaluation_stride": 4}}),
    "evaluation stride of a split": (
        {"training": {"evaluation_context": "split"}},
        {"training": {"evaluation_context": "split", "evaluation_stride": 2}},
    ),
    "early stopping": ({"training": {"epochs": 3}}, {"training": {"epochs": 3, "early_stopping_epochs": 3}}),
    "decay of nothing": ({}, {"training": {"decay_all": True}}),
    "autocast": (
        {"training": {"layer_type_dtypes": {"linear": "float32"}}},
        {"training": {"layer_type_dtypes": {"linear": "float32"}, "layer_autocast": False}},
    ),
    "embedding widths": (
        {"model": {"dim_model": 9, "n_head": 3}},
        {"model": {"dim_model": 9, "n_head": 3, "feature_embedding_dims": {"kind": 5, "length": 4}}},
    ),
    "heads": ({}, {"model": {"n_head": 4, "n_kv_heads": 4}}),
    "input columns": ({}, {"input_columns": [["kind", "length"]]}),
    "order of input columns": ({}, {"input_columns": [["length", "kind"]]}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_spelled_out_is_the_same_run_and_is_found_in_the_ledger(name: str, tmp_path: Path) -> None:
    for first, second in (PAIRS[name], PAIRS[name][::-1]):
        before = started(search(project_root=str(tmp_path), **first), [])
        records = [ended(run) for run in before.runs]
        for old in (False, True):
            keys = [record.model_copy(update={"merge_key": "" if old else record.merge_key}) for record in records]
            after = make_plan(search(project_root=str(tmp_path), **second), metadata(), records=keys)
            assert (after.new, after.earlier) == ((), ())
            assert [run.identity for run in after.runs] == [run.identity for run in before.runs]


def test_a_search_trains_without_autocast_if_it_is_off() -> None:
    found = plan_of(search(training={"layer_autocast": False}))
    assert [run.config.training_spec.layer_autocast for run in found.runs] == [False]
    assert found.runs[0].identity == plan_of(search()).runs[0].identity


def test_other_values_are_other_runs() -> None:
    for training in (
        {"optimizer": {"name": "AdamW", "weight_decay": 0.02}},
        {"optimizer": {"name": "AdamW", "amsgrad": True}},
        {"criterion": {"kind": "MultiMarginLoss"}},
        {"evaluation_stride": 3},
        {"class_weights": {"kind": [0, 1, 1, 2]}},
        {"layer_type_dtypes": {"linear": "bfloat16"}},
    ):
        default = {"optimizer": "AdamW"} if "optimizer" in training else {}
        one, other = plan_of(search(training=default)).runs[0], plan_of(search(training=training)).runs[0]
        assert one.merge_key != other.merge_key


def test_cells_of_one_search_that_say_the_same_are_merged_with_the_reason() -> None:
    optimizers = ["AdamW", {"name": "AdamW", "weight_decay": [0.01, 0.1]}, {"name": "AdamW", "eps": 1e-8}]
    found = plan_of(search(training={"optimizer": optimizers}))
    assert len(found.runs) == 2
    assert [(merged.run, merged.reason) for merged in found.merged] == [
        (0, "optimizer AdamW: weight_decay is its default"),
        (0, "optimizer AdamW: eps is its default"),
    ]


def test_a_sample_and_a_bayesian_search_run_them_once_too(tmp_path: Path) -> None:
    training = {"optimizer": ["AdamW", {"name": "AdamW", "weight_decay": 0.01}], "dropout": [0.0, 0.1]}
    root = {"project_root": str(tmp_path), "n_samples": 9}
    assert len(plan_of(search(training=training, search_strategy="sample", **root)).runs) == 2
    config = search(training=training, search_strategy="bayesian", **root)
    proposer, records = Proposer(make_plan(config, metadata()), metadata()), []
    while (run := proposer.next(records)) is not None:
        records.append(ended(run))
    assert len(records) == 2


def test_seeds_of_a_run_in_another_spelling_are_its_seeds(tmp_path: Path) -> None:
    root = {"project_root": str(tmp_path), "repeats": 2}
    before = started(search(training={"optimizer": "AdamW"}, **root), [])
    records = [ended(run) for run in before.runs]
    spelled = search(training={"optimizer": {"name": "AdamW", "weight_decay": 0.01}}, **root)
    after = started(spelled, records)
    assert after.new == ()
    assert [row.numbers for row in results(after, records)] == [(0, 1)]
