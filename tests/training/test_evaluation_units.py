"""The sums by sampling unit that an evaluation keeps, against direct computation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sequifier.artifacts.sequence_losses import Units
from sequifier.training.baselines.history import TrainingData
from sequifier.training.baselines.scores import baselines
from sequifier.training.evaluate import evaluate
from sequifier.training.tally import Evaluation
from tests.support.rounding import rounding
from tests.support.tiny_training import config_of, events_of, model_of, objective_of, split_of, state_of

SIZES = [9, 30, 2, 17, 40, 12]


def evaluated(metric: str, sizes: list[int] = SIZES, *, picks: bool = True) -> Evaluation:
    split = split_of(events_of(sizes), seq_length=8, evaluation=True, picks=picks)
    return evaluate(model_of(8), split, replace(objective_of(), ranked_by=metric), batch_size=4)


@pytest.mark.parametrize(
    "metric", ["val_loss", *(f"val_kind_{name}" for name in ("loss", "log_loss", "accuracy", "mrr"))]
)
@pytest.mark.parametrize("sizes", [SIZES, [260], [150, 90]])
def test_the_sums_of_the_units_add_up_to_the_metric(metric: str, sizes: list[int]) -> None:
    found = evaluated(metric, sizes)
    assert set(found.units) == {"val_loss", metric}
    units = found.units[metric]
    assert units.value == pytest.approx(found.metrics[metric], rel=1e-9)
    assert units.by == ("sequences" if len(sizes) > 4 else "blocks")
    assert (units.n, units.degrees == 19) == ((6, False) if len(sizes) > 4 else (20, True))
    all_count = metric in ("val_loss", "val_kind_accuracy", "val_kind_mrr")  # also targets of an unknown class
    expected = sum(size - 1 for size in sizes) if all_count else found.n_targets["kind"]
    assert units.count.sum() == expected


@pytest.mark.parametrize("metric", ["val_kind_accuracy", "val_kind_macro_f1", "val_size_mae", "val_size_rmse"])
@pytest.mark.parametrize("sizes", [SIZES, [260], [150, 90]])
def test_masked_positions_give_the_same_evaluation_as_those_picked_out(metric: str, sizes: list[int]) -> None:
    picked, masked = (evaluated(metric, sizes, picks=picks) for picks in (True, False))
    assert masked.n_targets == picked.n_targets
    assert masked.metrics == pytest.approx(picked.metrics, rel=rounding(64))
    for name, units in picked.units.items():
        assert masked.units[name].by == units.by
        np.testing.assert_array_equal(masked.units[name].count, units.count)
        np.testing.assert_allclose(masked.units[name].total, units.total, rtol=1e-4, atol=1e-5)
    for target, counts in picked.predicted_classes.items():
        torch.testing.assert_close(masked.predicted_classes[target], counts)


def test_errors_of_a_real_target_are_in_its_own_units() -> None:
    found = evaluated("val_size_mae")
    assert found.units["val_size_mae"].value == pytest.approx(found.metrics["val_size_mae"], rel=1e-9)


@pytest.mark.parametrize("metric", ["val_size_rmse", "val_kind_macro_f1", "val_kind_calibration_error"])
def test_what_is_no_mean_has_the_error_of_the_jackknife(metric: str) -> None:
    found = evaluated(metric)
    units = found.units[metric]
    assert (units.by, units.n, units.degrees) == ("groups", 6, 5)
    assert units.value == pytest.approx(found.metrics[metric], rel=1e-9)
    without = []
    for left_out in range(len(SIZES)):
        events = events_of(SIZES)
        ends = events.offsets
        keep = np.r_[0 : ends[left_out], ends[left_out + 1] : ends[-1]]
        lengths = [size for place, size in enumerate(SIZES) if place != left_out]
        rest = replace(
            events_of(lengths),
            columns={name: column[keep] for name, column in events.columns.items()},
        )
        split = split_of(rest, seq_length=8, evaluation=True)
        without.append(evaluate(model_of(8), split, objective_of(), batch_size=4).metrics[metric])
    n = len(SIZES)
    expected = ((n - 1) / n * sum((value - np.mean(without)) ** 2 for value in without)) ** 0.5
    assert units.standard_error == pytest.approx(expected, rel=1e-6)


def test_many_sequences_are_put_into_twenty_groups() -> None:
    found = evaluated("val_size_rmse", [6] * 45).units["val_size_rmse"]
    assert (found.by, found.n, found.degrees) == ("groups", 20, 19)


def test_too_few_targets_have_no_error() -> None:
    found = evaluated("val_loss", [30])
    assert np.isnan(found.standard_error) and found.units["val_loss"].standard_error is None


def test_baselines_are_on_the_units_of_the_model() -> None:
    train, split = events_of([40, 30], seed=3), split_of(events_of(SIZES), seq_length=8, evaluation=True)
    objective = replace(objective_of(), ranked_by="val_kind_accuracy")
    own = evaluate(model_of(8), split, objective, batch_size=4)
    n_classes = {"kind": int(max(split.events.columns["kind"])) + 1}
    data = TrainingData(train, ["kind", "size"], n_classes, 8)
    for found in baselines(data, split, objective).values():
        assert set(found.units) == set(own.units)
        for metric, units in found.units.items():
            assert units.pairs_with(own.units[metric])
            assert units.value == pytest.approx(found.metrics[metric], rel=1e-9)


def test_the_error_matches_the_ratio_estimator() -> None:
    count = np.array([3.0, 10.0, 1.0, 7.0, 5.0])
    total = np.array([3.3, 9.0, 1.7, 8.0, 4.0])
    units = Units(total, count, "sequences")
    residual = total - total.sum() / count.sum() * count
    assert units.standard_error == pytest.approx((5 / 4 * (residual**2).sum()) ** 0.5 / count.sum())
    assert units.degrees == pytest.approx(count.sum() ** 2 / (count**2).sum() - 1)
    assert Units(2.0 * count, count, "sequences").standard_error is None, "units that do not differ say nothing"
    assert Units(total[:4], count[:4], "sequences").standard_error is None
    assert Units(np.where(total > 8, np.inf, total), count, "sequences").standard_error is None
    assert not units.pairs_with(Units(total, count, "blocks"))


def test_an_interrupted_run_restores_its_units() -> None:
    first, second = (state_of(model_of(8), config_of()) for _ in range(2))
    first.best_units = evaluated("val_kind_accuracy").units
    content = first.checkpoint()
    second.restore(content)
    assert second.best_units is not None and set(second.best_units) == set(first.best_units)
    for metric, units in first.best_units.items():
        assert second.best_units[metric].by == units.by
        np.testing.assert_array_equal(second.best_units[metric].total, units.total)
        np.testing.assert_array_equal(second.best_units[metric].count, units.count)
    # A checkpoint of version 1.0 has the losses and the targets of sequences.
    second.restore(content | {"best_sequences": (torch.tensor([1.5, 2.0]), torch.tensor([3, 4]))})
    old = second.best_units["val_loss"]
    assert (old.total.tolist(), old.count.tolist(), old.by) == ([1.5, 2.0], [3, 4], "sequences")
