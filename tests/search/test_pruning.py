"""What goes on and what is cut: asha and median as rules over curves, replayed on real ones."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pytest

from sequifier.search.asha import Asha, Promotion, rungs
from sequifier.search.pruning import MedianRule, Progress, best_so_far, saved_epochs

CURVES = Path(__file__).parent / "data" / "curves.json"


def asha_next(
    runs: Sequence[Progress],
    *,
    reduction: int,
    min_epochs: int,
    maximize: bool,
    start_first: bool = False,
    more_to_come: bool = False,
) -> Promotion | None:
    """One decision from nothing but the progress of all runs."""
    asha = Asha(reduction=reduction, min_epochs=min_epochs, maximize=maximize, start_first=start_first)
    for run in runs:
        asha.put(run)
    return asha.next(more_to_come=more_to_come)


def expected_epochs(runs: Sequence[Progress], *, reduction: int, min_epochs: int) -> float:
    """An estimate from nothing but the progress of all runs."""
    asha = Asha(reduction=reduction, min_epochs=min_epochs, maximize=False)
    for run in runs:
        asha.put(run)
    return asha.expected_epochs()


def median_thresholds(curves: Sequence[Sequence[float | None]], *, min_epochs: int, maximize: bool) -> dict[int, float]:
    rule = MedianRule(min_epochs=min_epochs, maximize=maximize)
    for number, curve in enumerate(curves):
        rule.add(number, curve)
    return rule.thresholds()


def replay(
    curves: Sequence[Sequence[float | None]],
    *,
    reduction: int = 3,
    min_epochs: int = 1,
    maximize: bool = False,
    start_first: bool = False,
    lost: Sequence[int] = (),
) -> tuple[list[Promotion], list[int]]:
    """The tasks in the order asha gives them, and how far each run came. Runs in `lost` fail in their second task."""
    done = [0] * len(curves)
    failed: set[int] = set()
    tasks: list[Promotion] = []
    while True:
        runs = [
            Progress(
                number,
                len(curve),
                curve[: done[number]],
                is_settled=done[number] == len(curve) or number in failed,
                is_lost=number in failed,
            )
            for number, curve in enumerate(curves)
        ]
        task = asha_next(runs, reduction=reduction, min_epochs=min_epochs, maximize=maximize, start_first=start_first)
        if task is None:
            return tasks, done
        tasks.append(task)
        assert done[task.number] < task.until_epoch <= len(curves[task.number])
        if task.number in lost and done[task.number]:
            failed.add(task.number)
        else:
            done[task.number] = task.until_epoch


def flat(value: float, epochs: int = 9) -> list[float]:
    return [value] * epochs


def test_rungs_are_below_the_end_of_a_run() -> None:
    assert rungs(27, reduction=3, min_epochs=1) == (1, 3, 9)
    assert rungs(28, reduction=3, min_epochs=1) == (1, 3, 9, 27)
    assert rungs(10, reduction=2, min_epochs=3) == (3, 6)
    assert rungs(3, reduction=3, min_epochs=3) == ()


def test_one_in_three_is_promoted_and_the_highest_rung_comes_first() -> None:
    losses = [5.0, 4.0, 6.0, 3.0, 8.0, 7.0, 2.0, 9.0, 1.0]
    tasks, done = replay([flat(loss) for loss in losses])
    assert [(task.number, task.until_epoch) for task in tasks] == [
        *((0, 1), (1, 1), (2, 1), (1, 3)),  # the best of three goes on at once
        *((3, 1), (3, 3), (4, 1), (5, 1)),  # 3 is the best of four, and takes the only place; then of six there are two
        *((6, 1), (6, 3), (6, 9), (7, 1), (8, 1), (8, 3), (8, 9)),
    ]
    assert done == [1, 3, 1, 3, 1, 1, 9, 1, 9]


def test_a_metric_to_maximise_promotes_the_largest() -> None:
    values = [0.1, 0.9, 0.5]
    assert replay([flat(value) for value in values], maximize=True)[1] == [1, 9, 1]
    assert replay([flat(value) for value in values])[1] == [9, 1, 1]


@pytest.mark.parametrize("n_runs", [1, 2, 3, 4, 5])
def test_the_best_of_few_runs_is_trained_to_its_end(n_runs: int) -> None:
    losses = [2.0, 1.0, 3.0, 4.0, 5.0][:n_runs]
    _, done = replay([flat(loss, 20) for loss in losses], reduction=4)
    assert done[losses.index(min(losses))] == 20
    assert sum(epochs == 20 for epochs in done) == 1


def test_runs_with_fewer_epochs_end_earlier_and_are_not_on_higher_rungs() -> None:
    tasks, done = replay([flat(2.0, 1), flat(1.0, 4), flat(1.5, 20), flat(3.0, 20)])
    assert [task.until_epoch for task in tasks if task.number == 0] == [1], "its end: there is no rung to wait at"
    assert [task.until_epoch for task in tasks if task.number == 1] == [1, 3, 4]
    assert done == [1, 4, 1, 1], "the best of those on the first rung took its only place"
    assert replay([flat(2.0, 1), flat(1.5, 4), flat(1.0, 20), flat(3.0, 20)])[1] == [1, 1, 20, 1]


def test_equal_runs_go_on_in_order_of_number() -> None:
    _, done = replay([flat(1.0) for _ in range(9)])
    assert [number for number, epochs in enumerate(done) if epochs > 1] == [0, 1, 2]


def test_a_run_is_judged_by_its_best_epoch() -> None:
    curves = [[5.0, 1.0, 4.0, *flat(4.0, 6)], flat(2.0), flat(3.0)]
    runs = [Progress(number, 9, curve[:3]) for number, curve in enumerate(curves)]
    assert asha_next(runs, reduction=3, min_epochs=3, maximize=False) == Promotion(0, 9)


def test_a_run_without_a_value_is_not_promoted() -> None:
    curves: list[list[float | None]] = [[None] * 9, [math.nan] * 9, [*flat(1.0)], [*flat(2.0)]]
    assert replay(curves)[1] == [1, 1, 9, 1]
    assert replay(curves[:2])[1] == [1, 1]


def test_the_place_of_a_lost_run_goes_to_another() -> None:
    losses = [1.0, 2.0, 3.0]
    assert replay([flat(loss) for loss in losses], lost=[0])[1] == [1, 9, 1]
    assert replay([flat(loss) for loss in losses], lost=[0, 1])[1] == [1, 1, 9]


def test_a_run_that_ended_by_itself_keeps_its_place() -> None:
    stopped_early = Progress(0, 9, (1.0, 1.1), is_settled=True)
    others = [Progress(number, 9, (float(number + 1),)) for number in (1, 2)]
    assert asha_next([stopped_early, *others], reduction=3, min_epochs=1, maximize=False) is None


def test_a_run_that_trains_is_neither_started_nor_promoted_again_but_keeps_its_place() -> None:
    runs = [
        Progress(0, 9, (1.0,), is_training=True),
        *(Progress(number, 9, (number + 1.0,)) for number in (1, 2, 3, 4)),
    ]
    assert asha_next(runs, reduction=3, min_epochs=1, maximize=False) is None, "0 has the only place of five"
    more = [*runs, Progress(5, 9, (7.0,)), Progress(6, 9, (), is_training=True)]
    assert asha_next(more, reduction=3, min_epochs=1, maximize=False) == Promotion(1, 3)
    assert asha_next([Progress(0, 9, (), is_training=True)], reduction=3, min_epochs=1, maximize=False) is None


def test_nothing_is_promoted_for_want_of_others_while_a_run_trains() -> None:
    runs = [Progress(0, 9, (2.0,)), Progress(1, 9, (), is_training=True)]
    assert asha_next(runs, reduction=3, min_epochs=1, maximize=False) is None
    ended = [runs[0], Progress(1, 9, (1.0,))]
    assert asha_next(ended, reduction=3, min_epochs=1, maximize=False) == Promotion(1, 3)


def test_nothing_is_promoted_for_want_of_others_while_more_are_to_come() -> None:
    runs = [Progress(0, 9, (2.0,)), Progress(1, 9, (1.0,))]
    assert asha_next(runs, reduction=3, min_epochs=1, maximize=False, more_to_come=True) is None
    assert asha_next(runs, reduction=3, min_epochs=1, maximize=False) == Promotion(1, 3)


def test_all_runs_can_be_started_before_the_first_is_promoted() -> None:
    losses = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    tasks, done = replay([flat(loss) for loss in losses], start_first=True)
    assert [task.until_epoch for task in tasks[:9]] == [1] * 9
    assert done == [1, 1, 1, 1, 1, 1, 3, 3, 9]
    assert sum(replay([flat(loss) for loss in losses])[1]) > sum(done), "ever better runs are each promoted at once"


@pytest.mark.parametrize("start_first", [False, True])
def test_asha_finds_a_result_within_one_percent_of_the_grid_for_a_third_of_its_epochs(start_first: bool) -> None:
    curves = [run["curve"] for run in json.loads(CURVES.read_text(encoding="utf-8"))["runs"]]
    assert len(curves) == 81
    grid_epochs = sum(map(len, curves))
    grid_best = min(map(min, curves))
    orders = [curves, *(random.Random(seed).sample(curves, len(curves)) for seed in range(30))]
    shares = []
    for order in orders:
        _, done = replay(order, start_first=start_first)
        best = min(min(curve[:epochs]) for curve, epochs in zip(order, done, strict=True))
        assert best <= 1.01 * grid_best
        shares.append(sum(done) / grid_epochs)
    if start_first:
        assert max(shares) == min(shares) == pytest.approx((81 + 2 * 27 + 6 * 9) / (9 * 81))
    else:
        # Promoting at once costs more where later runs happen to be better, most of all in the order of the grid.
        assert median(shares) <= 1 / 3
        assert shares[0] == max(shares) <= 0.42


@pytest.mark.parametrize("n_runs", [1, 2, 9, 27, 40])
@pytest.mark.parametrize("epochs", [1, 4, 9])
def test_the_epochs_that_asha_will_need_are_known_beforehand(n_runs: int, epochs: int) -> None:
    curves = [flat(1 + number, epochs) for number in range(n_runs)]
    _, done = replay(curves, start_first=True)
    runs = [Progress(number, epochs, ()) for number in range(n_runs)]
    expected = expected_epochs(runs, reduction=3, min_epochs=1)
    assert expected == pytest.approx(sum(done), rel=0.1), "rounding at a rung can move a few epochs"


def test_what_is_expected_goes_from_the_first_guess_to_what_was_trained() -> None:
    draw = random.Random(3)
    curves = [flat(draw.random()) for _ in range(27)]
    _, done = replay(curves, start_first=True)
    ended = [Progress(number, 9, curve[: done[number]], is_settled=True) for number, curve in enumerate(curves)]
    assert expected_epochs(ended, reduction=3, min_epochs=1) == sum(done)
    at_first_rung = [Progress(number, 9, curve[:1]) for number, curve in enumerate(curves)]
    assert expected_epochs(at_first_rung, reduction=3, min_epochs=1) == pytest.approx(27 + 9 * 2 + 3 * 6)
    promoted = [Progress(run.number, 9, curves[run.number][:9], is_settled=True) if run.number < 9 else run
                for run in at_first_rung]  # fmt: skip
    assert expected_epochs(promoted, reduction=3, min_epochs=1) == 27 + 9 * 8, "all places are taken"


def one_by_one(runs: Sequence[Progress], *, reduction: int, min_epochs: int) -> float:
    """The same estimate with a chance of its own for each run, instead of one for all runs at a stage."""
    levels = {run.number: rungs(run.max_epochs, reduction=reduction, min_epochs=min_epochs) for run in runs}
    chance = {run.number: 1.0 for run in runs if not run.is_settled}
    total = float(sum(len(run.curve) for run in runs))

    def to_next(run: Progress, epoch: int) -> int:
        return min([rung for rung in levels[run.number] if rung > epoch] + [run.max_epochs]) - epoch

    total += sum(to_next(run, len(run.curve)) for run in runs if run.number in chance and len(run.curve) not in
                 levels[run.number])  # fmt: skip
    for epoch in sorted({epoch for epochs in levels.values() for epoch in epochs}):
        here = [run for run in runs if epoch in levels[run.number] and not run.is_lost]
        coming = [run for run in here if not run.is_settled and len(run.curve) <= epoch]
        promoted = sum(len(run.curve) > epoch for run in here)
        ended = sum(run.is_settled and len(run.curve) == epoch for run in here)
        several = sum(chance[run.number] for run in coming)
        places = max(math.floor((promoted + ended + several) / reduction + 1e-6), 1) - promoted
        for run in coming:
            chance[run.number] *= min(max(places / several, 0.0), 1.0) if several else 0.0
            total += chance[run.number] * to_next(run, epoch)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_the_estimate_is_kept_up_to_date_run_by_run(seed: int) -> None:
    draw = random.Random(seed)
    asha = Asha(reduction=3, min_epochs=1, maximize=False)
    runs: dict[int, Progress] = {}
    for _ in range(60):
        number = draw.randrange(15)
        longest = runs[number].max_epochs if number in runs else draw.choice([4, 9, 30])
        curve, is_settled = flat(1.0, draw.randint(0, longest)), draw.random() < 0.3
        runs[number] = Progress(number, longest, curve, is_settled, is_lost=is_settled and draw.random() < 0.3)
        asha.put(runs[number])
        expected = one_by_one([*runs.values()], reduction=3, min_epochs=1)
        assert asha.expected_epochs() == pytest.approx(expected)
        assert asha.n_trained == sum(len(run.curve) for run in runs.values())
    longest = max(run.max_epochs for run in runs.values())
    more = [Progress(100 + number, longest, ()) for number in range(7)]
    expected = one_by_one([*runs.values(), *more], reduction=3, min_epochs=1)
    assert asha.expected_epochs(n_more=7) == pytest.approx(expected)


def test_a_median_is_of_the_best_values_that_others_had_by_then() -> None:
    curves = [[4.0, 3.0, 5.0], [6.0, 2.0, 1.0], [5.0, 5.0, 4.0]]
    assert median_thresholds(curves, min_epochs=1, maximize=False) == {1: 5.0, 2: 3.0, 3: 3.0}
    assert median_thresholds(curves, min_epochs=1, maximize=True) == {1: 5.0, 2: 5.0, 3: 5.0}
    assert median_thresholds(curves, min_epochs=3, maximize=False) == {3: 3.0}


def test_there_is_no_median_of_fewer_than_three_others() -> None:
    curves: list[list[float | None]] = [[1.0, 1.0], [2.0, 2.0], [3.0]]
    assert median_thresholds(curves, min_epochs=1, maximize=False) == {1: 2.0}
    assert median_thresholds([[None, 1.0], [math.nan, 2.0], [3.0, 3.0]], min_epochs=1, maximize=False) == {2: 2.0}
    assert median_thresholds([], min_epochs=1, maximize=False) == {}


def test_best_values_pass_over_missing_ones() -> None:
    assert best_so_far([None, 2.0, math.nan, 3.0, 1.0], maximize=False) == [None, 2.0, 2.0, 2.0, 1.0]


def test_only_pruned_runs_save_epochs() -> None:
    runs = [Progress(0, 9, flat(1.0)), Progress(1, 9, (2.0,)), Progress(2, 9, (1.0, 1.0, 1.0, 1.0), is_settled=True)]
    savings = saved_epochs(runs, pruned={1})
    assert (savings.planned, savings.trained, savings.saved, savings.cut) == (27, 14, 8, {1: 1})
