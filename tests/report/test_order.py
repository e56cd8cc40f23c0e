"""What order is worth, from the sums of two runs, against its definition."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sequifier.artifacts.sequence_losses import OF_TEST, ONE_MODEL, Units, write_unit_sums
from sequifier.report.analyse import analyse
from sequifier.report.merge import merged
from sequifier.results.order import WorthOfOrder, sentence, worth_of_order
from sequifier.results.ranking import ranked
from sequifier.results.search_folder import order_sums
from sequifier.results.trials import Table, Trial

COUNT = np.array([3.0, 5.0, 2.0, 4.0, 6.0, 3.0, 5.0, 4.0])


def units(seed: int, mean: float) -> Units:
    draw = np.random.default_rng(seed)
    return Units(COUNT * (mean + 0.1 * draw.standard_normal(len(COUNT))), COUNT, "sequences")


def run(
    folder: Path, number: int, mean: float, *, of: int | None = None, shuffle: str = "none", **fields: Any
) -> Trial:
    sums = folder / f"{number}.npz"
    write_unit_sums(sums, {ONE_MODEL: {"val_loss": units(number, mean)}})
    value = units(number, mean).value
    return Trial(
        "t",
        number,
        f"t-run-{number}",
        "finished",
        values={"training_spec.shuffle_history": shuffle},
        value=value,
        best_val_loss=value,
        metrics={"val_loss": value},
        sequence_losses=sums,
        order_of=of,
        **({"configuration": str(number)} | fields),
    )


def table(folder: Path, trials: list[Trial], checks: list[Trial], **fields: Any) -> Table:
    values = {"folder": folder, "order_checks": tuple(checks)} | fields
    return Table("t", "training", "val_loss", "minimize", tuple(trials), **values)


def worth(found: Table) -> tuple[WorthOfOrder, ...]:
    return worth_of_order(found, ranked(found))


def paired(one: Units, other: Units) -> tuple[float, float]:
    mean = (other.total - one.total).sum() / COUNT.sum()
    residual = other.total - one.total - mean * COUNT
    return float(mean), float((8 / 7 * (residual**2).sum()) ** 0.5 / COUNT.sum())


def test_differences_are_paired_by_sequence(tmp_path: Path) -> None:
    checks = [run(tmp_path, 3, 2.0, of=0, shuffle="before_last"), run(tmp_path, 2, 2.5, of=0, shuffle="all")]
    whole, before = worth(table(tmp_path, [run(tmp_path, 0, 2.0), run(tmp_path, 1, 3.0)], checks))
    assert (whole.shuffled, whole.run, whole.of, whole.split) == ("all", 2, 0, "validation")
    assert (before.shuffled, before.run, before.of) == ("before_last", 3, 0)
    degrees = COUNT.sum() ** 2 / (COUNT**2).sum() - 1
    for each, mean in ((whole, 2.5), (before, 2.0)):
        value, error = paired(units(0, 2.0), units(each.run, mean))
        assert (each.worth, each.error) == (pytest.approx(value), pytest.approx(error))
        assert each.degrees == pytest.approx(degrees)
        assert each.is_significant == (abs(value) > 2.42 * error), "t(6.31, .975) is 2.42"
    assert (whole.is_significant, before.is_significant) == (True, False)


def test_the_test_split_counts_where_both_runs_were_scored_on_it(tmp_path: Path) -> None:
    trials, checks = [run(tmp_path, 0, 2.0)], [run(tmp_path, 1, 2.5, of=0, shuffle="all")]
    write_unit_sums(tmp_path / OF_TEST, {ONE_MODEL: {"val_loss": units(10, 2.2)}})
    scored = table(tmp_path, trials, checks, test={"run": 0, "metrics": {"val_loss": units(10, 2.2).value}})
    assert [each.split for each in worth(scored)] == ["validation"], "the check is not scored yet"
    write_unit_sums(order_sums(tmp_path, 1), {ONE_MODEL: {"val_loss": units(11, 2.6)}})
    (found,) = worth(scored)
    assert found.split == "test"
    assert (found.worth, found.error) == tuple(map(pytest.approx, paired(units(10, 2.2), units(11, 2.6))))
    assert (found.in_order, found.in_random_order) == (units(10, 2.2).value, units(11, 2.6).value)


def test_known_effects_of_the_seed_are_in_the_error(tmp_path: Path) -> None:
    trials = [run(tmp_path, number, 2.0, configuration="0", seed=number) for number in range(3)]
    checks = [run(tmp_path, 3, 2.5, of=0, shuffle="all")]
    (found,) = worth(table(tmp_path, trials, checks))
    values = [trial.value for trial in trials if trial.value is not None]
    error, deviation = paired(units(0, 2.0), units(3, 2.5))[1], float(np.std(values, ddof=1))
    assert found.error == pytest.approx((error**2 + 2 * deviation**2) ** 0.5)
    free = COUNT.sum() ** 2 / (COUNT**2).sum() - 1
    expected = (error**2 + 2 * deviation**2) ** 2 / (error**4 / free + (2 * deviation**2) ** 2 / 2)
    assert found.degrees == pytest.approx(expected)
    assert "without the effect of the training seed" not in sentence(found)


def test_a_metric_that_is_better_when_it_is_higher(tmp_path: Path) -> None:
    trials, checks = [run(tmp_path, 0, 2.5)], [run(tmp_path, 1, 2.0, of=0, shuffle="all")]
    (found,) = worth(table(tmp_path, trials, checks))
    assert found.worth < 0, "shuffled is better"
    (found,) = worth(replace(table(tmp_path, trials, checks), direction="maximize"))
    assert found.worth > 0 and found.worth == pytest.approx(-paired(units(0, 2.5), units(1, 2.0))[0])


def test_a_metric_of_a_script_is_not_measured_on_shuffled_histories(tmp_path: Path) -> None:
    own = run(tmp_path, 0, 2.0)
    trials, checks = (
        [replace(own, metrics={**own.metrics, "profit": 9.0})],
        [run(tmp_path, 1, 2.5, of=0, shuffle="all")],
    )
    found = replace(table(tmp_path, trials, checks), metric="profit", direction="maximize")
    (each,) = worth(found)
    assert (each.metric, each.worth) == ("val_loss", pytest.approx(paired(units(0, 2.0), units(1, 2.5))[0]))


def test_the_checks_of_the_best_run_count_and_else_the_last_ones(tmp_path: Path) -> None:
    checks = [run(tmp_path, number, 3.0, of=of, shuffle="all") for number, of in ((2, 0), (3, 1))]
    better = [run(tmp_path, 0, 2.5), run(tmp_path, 1, 2.0)]
    assert [each.run for each in worth(table(tmp_path, better, checks))] == [3]
    assert [each.run for each in worth(table(tmp_path, [better[1], run(tmp_path, 0, 1.5)], checks))] == [2]
    assert [each.run for each in worth(table(tmp_path, [*better, run(tmp_path, 4, 1.0)], checks))] == [3]
    assert worth(table(tmp_path, better, [])) == ()
    assert worth(table(tmp_path, better, [replace(check, value=None) for check in checks])) == (), "without a result"


def test_findings_compare_two_numbers_and_say_what_to_do(tmp_path: Path) -> None:
    checks = [run(tmp_path, 2, 2.5, of=0, shuffle="all"), run(tmp_path, 3, 2.0, of=0, shuffle="before_last")]
    one = table(tmp_path, [run(tmp_path, 0, 2.0), run(tmp_path, 1, 3.0)], checks)
    first, second = (each.text for each in analyse([one]).recommendations if each.kind == "order")
    whole, before = worth(one)
    assert first == (
        f"The order of events is worth {whole.worth:.3g} ± {whole.error:.2g}: val_loss {whole.in_order:.4g} in order, "
        f"{whole.in_random_order:.4g} with all of a history shuffled (validation split; ± without the effect of the "
        "training seed)."
    )
    assert second == (
        f"The order of the events before the last one is worth {before.worth:.3g} ± {before.error:.2g}, which is not "
        f"significant: val_loss {before.in_order:.4g} in order, {before.in_random_order:.4g} with all but the last of "
        "a history shuffled (validation split; ± without the effect of the training seed). The last event, and which "
        "events were before it, are enough."
    )
    both = merged([one, replace(one, name="u", order_checks=())])
    assert worth(both) == (), "a table of several searches numbers its runs anew"
