"""`auto` and lengths of schedules, without torch."""

from typing import Any

import pytest

from sequifier.config.base import Named
from sequifier.config.catalogue.schedules import length_error, length_warning, momentum_error, resolve_auto
from sequifier.config.catalogue.torch_names import check_optimizer, check_scheduler
from sequifier.config.resolve import check_schedule
from sequifier.config.training import TrainingSpec

EPOCHS, STEPS = 10, 205  # 20.5 steps an epoch: max_steps may end a run anywhere


def scheduler(name: str, **options: Any) -> Named:
    return check_scheduler(Named(name=name, **options))


@pytest.mark.parametrize(
    ("name", "options", "on_epoch", "on_batch"),
    [
        ("CosineAnnealingLR", {"T_max": "auto"}, {"T_max": 10}, {"T_max": 205}),
        ("CosineAnnealingWarmRestarts", {"T_0": "auto"}, {"T_0": 10}, {"T_0": 205}),
        ("PolynomialLR", {"total_iters": "auto"}, {"total_iters": 10}, {"total_iters": 205}),
        ("OneCycleLR", {"total_steps": "auto"}, {"total_steps": 10}, {"total_steps": 205}),
        (
            "OneCycleLR",
            {"epochs": "auto", "steps_per_epoch": "auto"},
            {"epochs": 10, "steps_per_epoch": 1},
            {"epochs": 10, "steps_per_epoch": 21},
        ),
        ("OneCycleLR", {"epochs": 10, "steps_per_epoch": "auto"}, {"steps_per_epoch": 1}, {"steps_per_epoch": 21}),
        ("CosineAnnealingLR", {"T_max": 7}, {"T_max": 7}, {"T_max": 7}),
    ],
)
def test_auto_becomes_the_length_of_the_run(
    name: str, options: dict[str, Any], on_epoch: dict[str, int], on_batch: dict[str, int]
) -> None:
    if name == "OneCycleLR":
        options = options | {"max_lr": 0.1}
    named = scheduler(name, **options)
    assert on_epoch.items() <= resolve_auto(named, EPOCHS, STEPS, "epoch").options.items()
    assert on_batch.items() <= resolve_auto(named, EPOCHS, STEPS, "batch").options.items()


def test_auto_inside_a_sequence_is_the_length_of_its_part() -> None:
    parts = [{"name": "LinearLR", "total_iters": "auto"}, {"name": "CosineAnnealingLR", "T_max": "auto"}]
    named = scheduler("SequentialLR", schedulers=parts, milestones=[5])
    first, second = resolve_auto(named, EPOCHS, STEPS, "batch").options["schedulers"]
    assert (first["total_iters"], second["T_max"]) == (5, 200)


def test_no_length_left_for_auto_is_an_error() -> None:
    parts = [{"name": "LinearLR"}, {"name": "CosineAnnealingLR", "T_max": "auto"}]
    named = scheduler("SequentialLR", schedulers=parts, milestones=[10])
    with pytest.raises(ValueError, match="CosineAnnealingLR: no length is left for `T_max: auto`"):
        resolve_auto(named, EPOCHS, STEPS, "epoch")


@pytest.mark.parametrize(
    ("named", "step_on", "warning"),
    [
        (scheduler("CosineAnnealingLR", T_max=10), "epoch", None),
        (scheduler("CosineAnnealingLR", T_max=10), "batch", "T_max is 10, the run has 205 optimizer steps:"),
        (scheduler("CosineAnnealingLR", T_max=20), "epoch", "T_max is 20, the run has 10 epochs: the learning rate"),
        (scheduler("PolynomialLR"), "epoch", "total_iters is 5, the run has 10 epochs: the learning rate is 0 after"),
        (scheduler("OneCycleLR", max_lr=1, total_steps=300), "batch", "OneCycleLR has 300 steps, the run 205"),
        (scheduler("MultiStepLR", milestones=[5, 30]), "epoch", "milestone 30 is never reached: the run has 10 epochs"),
        (scheduler("StepLR", step_size=30), "epoch", "step_size is 30, the run has 10 epochs: the learning rate never"),
        (scheduler("StepLR", step_size=1), "epoch", None),
        (scheduler("LinearLR", total_iters=3), "epoch", None),
        (scheduler("ReduceLROnPlateau"), "epoch", None),
    ],
)  # fmt: skip
def test_a_length_that_does_not_match_the_run_warns(named: Named, step_on: Any, warning: str | None) -> None:
    found = length_warning(named, EPOCHS, STEPS, step_on)
    assert found is None if warning is None else found is not None and found.startswith(warning)


def test_one_cycle_with_too_few_steps_is_an_error() -> None:
    short = scheduler("OneCycleLR", max_lr=1, epochs=10, steps_per_epoch=20)
    assert length_error(short, EPOCHS, STEPS, "batch") == (
        "OneCycleLR has 200 steps, the run has 205 optimizer steps; write `total_steps: auto`"
    )
    assert length_error(scheduler("OneCycleLR", max_lr=1, total_steps=205), EPOCHS, STEPS, "batch") is None
    assert "needs `total_steps`" in (length_error(scheduler("OneCycleLR", max_lr=1), EPOCHS, STEPS, "batch") or "")
    assert length_error(scheduler("StepLR", step_size=1), EPOCHS, STEPS, "batch") is None


@pytest.mark.parametrize(
    ("optimizer", "options", "fits"),
    [
        ("SGD", {}, True),
        ("AdamW", {}, True),
        ("Adagrad", {}, False),
        ("Muon", {}, False),
        ("Adagrad", {"cycle_momentum": False}, True),
    ],
)
def test_a_momentum_that_cannot_be_cycled_is_an_error(optimizer: str, options: dict[str, Any], fits: bool) -> None:
    found = momentum_error(
        check_optimizer(Named(name=optimizer)), scheduler("OneCycleLR", max_lr=1, total_steps="auto", **options)
    )
    assert (found is None) == fits
    assert fits or (found is not None and "OneCycleLR `cycle_momentum: false`" in found)


def test_a_plateau_of_a_rising_loss_is_a_warning() -> None:
    """Not an error: searches of an earlier release that have it are continued, scored and exported."""

    def checked(mode: str) -> str | None:
        spec = TrainingSpec.model_validate({"scheduler": {"name": "ReduceLROnPlateau", "mode": mode}})
        same, warning = check_schedule(spec, steps=None)
        assert same == spec
        return warning

    assert checked("min") is None
    assert "it watches that loss, whatever the metric is: write mode: min" in (checked("max") or "")
