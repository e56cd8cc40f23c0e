"""Groups, ranges and pairs, computed a second time with polars from the ledger itself."""

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sequifier.report.groups import best_ranges, group_performance, levels_of, top_count, value_performance
from sequifier.results.ranking import ranked
from sequifier.results.trials import Table, Trial, run_label


def frame_of(project: Path, name: str = "wide") -> pl.DataFrame:
    """The last line of each run beside what its run file says."""
    lines = [json.loads(line) for line in (project / "logs" / name / "ledger.jsonl").read_text().splitlines()]
    rows = []
    for line in {line["run"]: line for line in lines}.values():
        document = yaml.safe_load((project / "configs" / "hp_search" / f"{line['name']}.yaml").read_text())
        spec = document["training_spec"]
        rows.append(
            {
                "run": line["run"],
                "state": line["state"],
                "loss": line["best_val_loss"],
                "columns": "[" + ", ".join(document["input_columns"]) + "]",
                "learning_rate": float(spec["learning_rate"]),
                "dim_model": document["model_spec"]["dim_model"],
                "optimizer": spec["optimizer"]["name"],
                "weight_decay": spec["optimizer"].get("weight_decay"),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def test_performance_of_feature_sets_matches_a_group_by(wide: Table, wide_project: Path) -> None:
    found = group_performance(wide)
    frame = frame_of(wide_project)
    expected = {
        row["columns"]: row
        for row in frame.filter(pl.col("state").is_in(["finished", "diverged"]))
        .group_by("columns")
        .agg(
            mean=pl.col("loss").mean(),
            deviation=pl.col("loss").std(),
            minimum=pl.col("loss").min(),
            maximum=pl.col("loss").max(),
            median=pl.col("loss").median(),
            count=pl.len(),
            best_run=pl.col("run").sort_by("loss").first(),
        )
        .to_dicts()
    }
    every = dict(frame.group_by("columns").len().iter_rows())
    assert found.name == "feature set" and found.reference == "[kind]", "the smallest one"
    assert {group.name for group in found.groups} == set(expected)
    for group in found.groups:
        row = expected[group.name]
        for key in ("mean", "deviation", "minimum", "maximum", "median"):
            assert getattr(group, key) == pytest.approx(row[key], rel=1e-12), key
        assert (group.count, group.best_run, group.n_all) == (row["count"], row["best_run"], every[group.name])
        assert group.best == group.minimum
    assert [group.best for group in found.groups] == sorted(group.best or 0 for group in found.groups)


def test_best_ranges_come_from_the_best_quarter(wide: Table, wide_project: Path) -> None:
    frame = frame_of(wide_project).filter(pl.col("state").is_in(["finished", "diverged", "pruned"])).sort("loss")
    top = frame.head(math.ceil(len(frame) / 4))
    found = {each.parameter: each for each in best_ranges(wide, ranked(wide))}
    rate = found["learning_rate"]
    assert (rate.low, rate.high) == (top["learning_rate"].min(), top["learning_rate"].max())
    assert (rate.tried_low, rate.tried_high) == (frame["learning_rate"].min(), frame["learning_rate"].max())
    assert rate.best == frame["learning_rate"][0] and rate.shares == {}
    decay = found["optimizer.weight_decay"]
    assert (decay.low, decay.high) == (top["weight_decay"].min(), top["weight_decay"].max())
    assert decay.n_top == top["weight_decay"].count()
    for name, column in (("optimizer", "optimizer"), ("dim_model", "dim_model"), ("input_columns", "columns")):
        for value, shares in found[name].shares.items():
            same = pl.col(column).cast(pl.String) == value
            assert shares == pytest.approx((len(top.filter(same)) / len(top), len(frame.filter(same)) / len(frame)))
    assert found["dim_model"].linked == ("dim_feedforward", "initial_embedding_dim")


def grid(draw: Any = lambda *key: 0.0) -> Table:
    """Every combination of two feature sets, three rates and two seeds; [a, b] is better by 0.5 + rate."""
    trials = []
    for number, (columns, rate, seed) in enumerate(product(["[a]", "[a, b]"], [1.0, 2.0, 3.0], [0, 1])):
        value = 5.0 + seed / 10 + rate - (0.5 + rate / 10 if columns == "[a, b]" else 0.0)
        trials.append(
            Trial(
                "t",
                number,
                f"r{number}",
                "finished",
                settings={"input_columns": columns, "rate": rate},
                configuration=f"{columns}{rate}",
                value=value,
                group=columns,
                group_size=columns.count(",") + 1,
                seed=seed,
            )
        )
    return Table("t", "training", "val_loss", "minimize", tuple(trials), ("input_columns", "rate"))


def test_the_paired_difference_is_over_runs_that_differ_in_the_feature_set_alone() -> None:
    larger, smallest = group_performance(grid()).groups
    assert (smallest.name, smallest.paired_difference, smallest.n_pairs) == ("[a]", None, 0)
    differences = pl.Series([-0.6, -0.6, -0.7, -0.7, -0.8, -0.8])
    assert larger.paired_difference == pytest.approx(differences.mean())
    assert larger.paired_error == pytest.approx(differences.std() / 6**0.5)  # type: ignore[operator]
    assert larger.n_pairs == 6


def test_a_single_group_is_left_out_and_values_of_a_setting_are_groups() -> None:
    table = grid()
    alone = [trial for trial in table.trials if trial.group == "[a]"]
    assert group_performance(Table("t", "training", "val_loss", "minimize", tuple(alone), ("rate",))).groups == ()
    values = {group.name: group for group in value_performance(table, "rate")}
    assert {name: group.count for name, group in values.items()} == {"1": 4, "2": 4, "3": 4}
    assert values["1"].mean == pytest.approx(5 + 0.05 + 1 - 0.3)


def test_an_end_that_the_best_reach_is_said_but_not_both() -> None:
    def one(values: list[float], losses: list[float]) -> Any:
        trials = [
            Trial("t", row, "r", "finished", settings={"x": value}, configuration=str(row), value=loss)
            for row, (value, loss) in enumerate(zip(values, losses, strict=True))
        ]
        table = Table("t", "training", "val_loss", "minimize", tuple(trials), ("x",))
        return best_ranges(table, ranked(table))[0]

    rising = one([1, 2, 3, 4] * 2, [4, 3, 2, 1] * 2)
    assert (rising.low, rising.high, rising.at_low, rising.at_high) == (4, 4, False, True)
    assert one([1, 2, 3, 4] * 2, [1, 2, 3, 4] * 2).at_low
    assert not one([0, 2, 3, 4] * 2, [1, 2, 3, 4] * 2).at_low, "0 is off"
    for lowest in (0, 1):
        both = one([lowest, 2, 3, 4] * 2, [1, 3, 3, 1] * 2)
        assert not both.at_low and not both.at_high


def test_values_that_are_written_alike_are_one() -> None:
    """A search repeats the values of another one to three digits."""
    values = [1.07119, 1.07, 2.0, 3.0]
    trials = [
        Trial("t", row, "r", "finished", settings={"x": value}, configuration=str(row), value=float(row))
        for row, value in enumerate(values)
    ]
    found = best_ranges(table := Table("t", "training", "val_loss", "minimize", tuple(trials), ("x",)), ranked(table))
    assert found[0].shares == {"1.07": (1.0, 0.5), "2": (0.0, 0.25), "3": (0.0, 0.25)}


def test_levels_are_values_or_quarters() -> None:
    assert levels_of(["a", None, 2, "a"]) == ["a", "null", "2", "a"]
    quarters = levels_of([float(value) for value in range(40)])
    assert [quarters.count(name) for name in dict.fromkeys(quarters)] == [10, 10, 10, 10]
    assert quarters[0] == "0 to 9"
    assert [top_count(n) for n in (1, 4, 5, 8, 198)] == [1, 1, 2, 2, 50]


def test_naming_the_runs_looks_at_each_of_them_once() -> None:
    class Counted(tuple[Trial, ...]):
        walks = 0

        def __iter__(self) -> Any:
            Counted.walks += 1
            return super().__iter__()

    trials = Counted(
        Trial("t", row, f"t-run-{row}", "finished", settings={}, configuration=str(row), value=1.0) for row in range(30)
    )
    table = Table("t", "training", "val_loss", "minimize", trials, ())
    assert [run_label(table, table.trials[row]) for row in range(30)] == [f"run {row}" for row in range(30)]
    assert Counted.walks == 1
