"""Importance against Optuna's own functions, and against arithmetic done another way."""

import math
import random
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.errors import RunError
from sequifier.report.fanova import FANOVA_TREES, study_of
from sequifier.report.importance import importances
from sequifier.report.ped_anova import top_quantile
from sequifier.results.trials import Table, Trial


def table_of(trials: list[Trial], names: list[str], direction: Any = "minimize") -> Table:
    return Table("t", "training", "val_loss", direction, tuple(trials), tuple(names))


def planted(n: int, *, seed: int = 0, ties: bool = False) -> list[Trial]:
    """The learning rate decides, then the optimizer; `weight_decay` is AdamW's alone."""
    draw = random.Random(seed)
    trials = []
    for number in range(n):
        values: dict[str, Any] = {
            "learning_rate": 10 ** draw.uniform(-5, -1),
            "dim_model": draw.choice([8, 16, 32]),
            "layers": draw.randint(1, 30),
            "hidden": draw.randint(16, 4096),
            "dropout": draw.uniform(0, 0.5),
            "optimizer": draw.choice(["AdamW", "SGD"]),
            "heads": draw.choice([None, 2]),
        }
        if values["optimizer"] == "AdamW":
            values["optimizer.weight_decay"] = 10 ** draw.uniform(-4, -1)
        loss = (math.log10(values["learning_rate"]) + 3) ** 2 + (values["optimizer"] == "SGD") + draw.gauss(0, 0.1)
        trials.append(
            Trial("t", number, f"r{number}", "finished", settings=values, value=round(loss, 0) if ties else loss)
        )
    return trials


NAMES = ["learning_rate", "dim_model", "layers", "hidden", "dropout", "optimizer", "heads", "optimizer.weight_decay"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [12, 49, 200])
def test_ped_anova_is_optunas(n: int, ties: bool, direction: str) -> None:
    table = table_of(planted(n, ties=ties), NAMES, direction)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top_quantile(n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small studies
        expected = evaluator.evaluate(study_of(table), params=NAMES)
    found = importances(table, draws=5)
    assert {each.parameter: each.ped_anova for each in found.parameters} == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert sum(each.share for each in found.parameters) == pytest.approx(1)
    shares = [each.share for each in found.parameters]
    assert shares == sorted(shares, reverse=True)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_ped_anova_is_optunas_whatever_the_values(data: st.DataObject) -> None:
    n = data.draw(st.integers(4, 40))
    kinds = [
        st.floats(0, 10),
        st.floats(1e-6, 1e3),
        st.integers(-50, 50),
        st.integers(1, 10_000),
        st.sampled_from(["a", "b", None, True]),
    ]
    columns = {f"p{place}": data.draw(st.lists(kind, min_size=n, max_size=n)) for place, kind in enumerate(kinds)}
    losses = data.draw(st.lists(st.floats(-5, 5), min_size=n, max_size=n))
    trials = [
        Trial("t", row, "r", "finished", settings={name: column[row] for name, column in columns.items()}, value=loss)
        for row, loss in enumerate(losses)
    ]
    table = table_of(trials, list(columns))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top_quantile(n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = evaluator.evaluate(study_of(table), params=list(columns))
    found = {each.parameter: each.ped_anova for each in importances(table, draws=2).parameters}
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_what_was_planted_comes_first_and_the_interval_says_how_sure_that_is() -> None:
    few, many = (importances(table_of(planted(n), NAMES)) for n in (20, 300))
    first = many.parameters[0]
    assert first.parameter == "learning_rate"
    assert all(each.low <= each.share <= each.high for each in (*few.parameters, *many.parameters))
    widths = {each.parameter: each.high - each.low for each in few.parameters}
    assert first.high - first.low < widths["learning_rate"]
    again = importances(table_of(planted(20), NAMES))
    assert again == few, "the draws have a seed"


def test_the_deviation_of_group_means_matches_a_group_by() -> None:
    trials = planted(97)
    table = table_of(trials, ["optimizer", "dim_model", "learning_rate"])
    found = {each.parameter: each.group_deviation for each in importances(table, draws=2).parameters}
    frame = pl.DataFrame({"loss": [t.value for t in trials], **{n: [t.settings[n] for t in trials] for n in NAMES[:2]}})
    for name in ("dim_model",):
        means = frame.group_by(name).agg(pl.col("loss").mean())["loss"]
        assert found[name] == pytest.approx(means.std(ddof=0))
    quarters = frame.sort("learning_rate").with_row_index().with_columns(pl.col("index") * 4 // 97)
    edges = [97 * part // 4 for part in range(4)]
    part = [sum(row >= edge for edge in edges) for row in range(97)]
    means = quarters.with_columns(part=pl.Series(part)).group_by("part").agg(pl.col("loss").mean())["loss"]
    assert found["learning_rate"] == pytest.approx(means.std(ddof=0))
    four = zip("aabb", [1.0, 3.0, 5.0, 7.0], strict=True)
    few = [Trial("t", row, "r", "finished", settings={"x": x}, value=value) for row, (x, value) in enumerate(four)]
    assert importances(table_of(few, ["x"]), draws=2).parameters[0].group_deviation == 2.0


def test_fanova_is_optunas() -> None:
    pytest.importorskip("sklearn")
    names = ["learning_rate", "dim_model", "optimizer"]
    table = table_of(planted(40), [*names, "optimizer.weight_decay"])
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=FANOVA_TREES, seed=0)
    expected = evaluator.evaluate(study_of(replace(table, settings=tuple(names))), params=names)
    found = {each.parameter: each for each in importances(table, fanova=True, draws=2).parameters}
    assert {name: found[name].fanova for name in names} == pytest.approx(expected)
    assert found["optimizer.weight_decay"].fanova is None, "not every run has it"
    for name in names:
        each = found[name]
        assert each.fanova_low is not None and each.fanova_high is not None and each.fanova is not None
        assert each.fanova_low <= each.fanova <= each.fanova_high


def test_fanova_without_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(RunError, match="needs scikit-learn") as caught:
        importances(table_of(planted(10), NAMES), fanova=True)
    assert "sequifier-search[analysis]" in caught.value.fix


def test_too_little_is_said_to_be_too_little() -> None:
    assert importances(table_of(planted(3), NAMES)).missing == "needs 4 trials with a result, and there are 3"
    assert importances(table_of(planted(30), [])).missing == "nothing differs between the trials"
    same = [replace(trial, value=1.0) for trial in planted(30)]
    found = importances(table_of(same, NAMES), draws=3)
    assert np.isfinite([each.share for each in found.parameters]).all()
