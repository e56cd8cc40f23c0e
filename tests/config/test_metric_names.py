"""What `metric` may say: metrics that runs log, and in a search those of the user's own script."""

import pytest

from sequifier.config.catalogue.metric_names import metric_problems, script_problems, training_metric

KINDS = {"kind": "categorical", "length": "real"}


@pytest.mark.parametrize(
    ("metric", "direction", "problem"),
    [
        ("val_loss", "minimize", ""),
        ("val_kind_accuracy", "maximize", ""),
        ("val_length_rmse", "minimize", ""),
        ("val_loss", "maximize", "val_loss is better when it is lower"),
        ("val_kind_top5", "minimize", "val_kind_top5 is better when it is higher"),
        ("val_kind_acuracy", "maximize", "there is no metric `val_kind_acuracy`"),
        ("val_kind_rmse", "minimize", "there is no metric `val_kind_rmse`"),
    ],
)
def test_a_metric_of_runs_has_its_name_and_its_direction(metric: str, direction: str, problem: str) -> None:
    assert [found.message for found in metric_problems(metric, direction, KINDS)] == ([problem] if problem else [])


def test_runs_that_a_script_ranks_go_by_their_validation_loss() -> None:
    scripted = {"f1": "maximize"}
    assert training_metric("f1", "maximize", scripted) == ("val_loss", "minimize")
    assert training_metric("val_kind_accuracy", "maximize", scripted) == ("val_kind_accuracy", "maximize")


@pytest.mark.parametrize(
    ("metric", "direction", "scripted", "problems"),
    [
        ("f1", "maximize", {"f1": "maximize"}, []),
        ("val_loss", "minimize", {"f1": "maximize"}, []),
        ("f1", "minimize", {"f1": "maximize"}, ["in evaluation_script f1 is to maximize"]),
        ("f2", "maximize", {"f1": "maximize"}, ["there is no metric `f2`"]),
        ("val_loss", "minimize", {"val_loss": "minimize"}, ["each run logs a metric of this name; choose another"]),
    ],
)
def test_a_script_has_metrics_of_its_own(
    metric: str, direction: str, scripted: dict[str, str], problems: list[str]
) -> None:
    found = [*script_problems(metric, direction, scripted, KINDS)]
    # A name that is both logged and scripted is one problem; its direction is right.
    assert [problem.message for problem in found] == problems
