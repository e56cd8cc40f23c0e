"""Searches over `prediction_horizon`: one step ranks, and all runs have the same origins."""

from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.artifacts.ledger import Record
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError
from tests.support.searches import FINGERPRINT, plan_of, search

STEP = "val_length_mae_step_1"


def horizons(*values: int, metric: str = STEP, **fields: Any) -> SearchConfig:
    return search(target_columns=["length"], prediction_horizon=[*values], metric=metric, **fields)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("val_loss", "val_loss is a mean over the steps of prediction_horizon, which is 2 to 8 here"),
        ("val_length_mae", "val_length_mae is a mean over the steps of prediction_horizon, which is 2 to 8 here"),
        ("val_length_mae_step_3", "prediction_horizon: 2 has no step 3"),
    ],
)
def test_a_metric_that_horizons_do_not_share_is_refused_with_one_that_they_do(metric: str, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        horizons(2, 8, metric=metric)
    assert message in str(error.value)
    better = "val_length_log_loss_step_1, val_length_mae_step_1 (log_loss for a categorical target, mae for a real one)"
    assert f"use a metric of a step that all runs have: {better}" in str(error.value)


def test_one_horizon_may_rank_by_its_loss() -> None:
    (run,) = plan_of(horizons(4, metric="val_loss")).runs
    assert run.config.training_spec.evaluation_horizon is None


def test_metrics_of_a_script_may_rank_any_horizons() -> None:
    script = {"command": "python score.py", "metrics": {"cost": "minimize"}}
    horizons(1, 8, metric="cost", evaluation_script=script)


def test_all_runs_are_evaluated_on_the_origins_of_the_longest_horizon() -> None:
    runs = plan_of(horizons(1, 3, 8)).runs
    assert [run.config.prediction_horizon for run in runs] == [1, 3, 8]
    assert {run.config.training_spec.evaluation_horizon for run in runs} == {8}
    assert [run.config.horizon_metrics for run in runs] == [1, 3, 8]


def test_a_range_of_horizons_has_the_origins_of_its_upper_end() -> None:
    config = search(target_columns=["length"], prediction_horizon={"low": 1, "high": 7, "step": 3}, metric=STEP)
    runs = plan_of(config).runs
    assert [(run.config.prediction_horizon, run.config.training_spec.evaluation_horizon) for run in runs] == [
        (1, 7),
        (4, 7),
        (7, 7),
    ]


def test_a_step_ahead_is_another_run_with_the_origins_of_a_horizon() -> None:
    (alone,), (beside, _) = plan_of(horizons(1, metric="val_loss")).runs, plan_of(horizons(1, 8)).runs
    assert alone.identity != beside.identity


def test_the_origins_of_a_run_may_be_written() -> None:
    given = horizons(2, 4, training={"evaluation_horizon": 6})
    assert {run.config.training_spec.evaluation_horizon for run in plan_of(given).runs} == {6}
    with pytest.raises(ConfigError, match="evaluation_horizon`: 3 is less than prediction_horizon: 4"):
        plan_of(horizons(2, 4, training={"evaluation_horizon": 3}))


@pytest.mark.parametrize(("before", "refused"), [("8 later events", False), ("4 later events", True), (None, True)])
def test_a_ledger_with_other_origins_is_not_continued(before: str | None, refused: bool) -> None:
    inputs = {"subsequence_start_mode": "distribute"} | ({"origins": before} if before else {})
    record = Record(
        run=1, name="demo-run-1", identity="1", data=FINGERPRINT, state="finished", batch_size=1, seed=1010,
        inputs=inputs, n_targets={"length": 20},
    )  # fmt: skip
    if not refused:
        plan_of(horizons(1, 8), [record])
        return
    with pytest.raises(
        ConfigError, match=f"was evaluated on events with {before or '1 later event'}, these runs would"
    ):
        plan_of(horizons(1, 8), [record])
