"""Sentences that are read in a terminal and on the page: two numbers, and what to do."""

from dataclasses import replace

from sequifier.report.analyse import analyse
from sequifier.results.trials import Table, Trial


def found(
    trials: list[Trial], baseline: float | None = None, linked: dict[str, tuple[str, ...]] | None = None
) -> list[str]:
    names = tuple(dict.fromkeys(name for trial in trials for name in trial.settings))
    table = Table("t", "training", "val_loss", "minimize", tuple(trials), names, linked=linked or {})
    if baseline is not None:
        table = replace(table, baselines={"baseline: bigram": {"val_loss": baseline}})
    return [each.text for each in analyse([table]).recommendations]


def run(number: int, value: float, curve: tuple[float, ...] = ()) -> Trial:
    settings = {"dim_model": 8 * (1 + number)}
    return Trial(
        "t",
        number,
        f"t-run-{number}",
        "finished",
        settings=settings,
        configuration=str(number),
        value=value,
        curve=curve,
    )


def test_the_best_is_compared_with_the_best_baseline() -> None:
    trials = [run(0, 2.5), run(1, 3.0)]
    assert found(trials, 3.125)[:2] == [
        "Run 0 is best: val_loss 2.5000, with dim_model 8.",
        "It beats the best baseline (bigram, 3.1250) by 20.0 %.",
    ]
    assert found(trials, 2.0)[1] == (
        "It is 25.0 % worse than the best baseline (bigram, 2): use the baseline, or search other settings."
    )


def test_one_curve_is_not_counted() -> None:
    falling, rising = (3.0, 2.0, 1.0), (3.0, 1.0, 2.0)
    advice = "Train for more epochs (search-analysis --next doubles them)."
    still = f"The best run stopped while still improving: its last epoch is its best. {advice}"
    assert still in found([run(0, 1.0, falling)])
    assert "The best run got worse after its best epoch (median: after 67 % of the epochs): use fewer epochs, " in (
        " ".join(found([run(0, 1.0, rising)]))
    )
    several = [run(number, 1.0 + number, falling) for number in range(8)]
    both = f"Both of the best 2 runs stopped while still improving: their last epoch is their best. {advice}"
    assert both in found(several)


def test_a_last_epoch_that_is_best_by_little_is_no_reason_for_more_of_them() -> None:
    """A learning rate that falls to 0 makes the last epoch the best one."""
    flat, falling = (3.0, 2.0, 1.01, 1.0, 0.9999), (3.0, 2.0, 1.5, 1.2, 1.1)
    for curve, said in ((flat, False), (falling, True), ((3.0,), True), ((3.0, 2.0), True), ((2.0, 3.0), False)):
        assert ("still improving" in " ".join(found([run(0, min(curve), curve)]))) == said, curve


def test_a_range_that_ends_where_the_best_are_is_extended() -> None:
    trials = [run(number, 1.0 + number) for number in range(12)]
    assert (
        "The best quarter has dim_model between 8 and 24, at the lower end of the searched values: search below 8 too."
        in found(trials)
    )


def test_a_range_names_the_settings_that_changed_with_it() -> None:
    """What looks like the effect of one may be that of the other."""
    trials = [run(number, 1.0 + number) for number in range(12)]
    texts = found(trials, linked={"dim_model": ("n_head",)})
    assert any("The best quarter has dim_model (with n_head) between 8 and 24" in text for text in texts)
