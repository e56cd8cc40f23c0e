"""Learning-rate schedules: exact values, against torch on its own, resume, momentum."""

import io
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import known_names
from sequifier.errors import ConfigError
from sequifier.training.schedules import Schedule, build_schedule

RATE = 0.1
EPOCHS, STEPS_PER_EPOCH = 4, 5
STEPS = EPOCHS * STEPS_PER_EPOCH
ROOT = math.sqrt(0.5)  # the cosine of a quarter of the way
METRICS = [1.0, 0.5, 0.6, 0.7]

OPTIONS: dict[str, dict[str, Any]] = {
    "ChainedScheduler": {
        "schedulers": [{"name": "LinearLR", "total_iters": 3}, {"name": "ExponentialLR", "gamma": 0.9}]
    },
    "ConstantLR": {"factor": 0.5, "total_iters": 3},
    "CosineAnnealingLR": {"T_max": "auto", "eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 3, "T_mult": 2},
    "CyclicLR": {
        "base_lr": 0.01,
        "max_lr": 0.1,
        "step_size_up": 2,
        "step_size_down": 3,
        "mode": "exp_range",
        "gamma": 0.99,
    },
    "ExponentialLR": {"gamma": 0.9},
    "LinearLR": {"total_iters": "auto"},
    "MultiStepLR": {"milestones": [2, 3], "gamma": 0.5},
    "OneCycleLR": {"max_lr": 0.2, "total_steps": "auto"},
    "PolynomialLR": {"total_iters": "auto", "power": 2},
    "ReduceLROnPlateau": {"patience": 0, "factor": 0.5},
    "SequentialLR": {
        "schedulers": [{"name": "LinearLR", "total_iters": 2}, {"name": "CosineAnnealingLR", "T_max": "auto"}],
        "milestones": [2],
    },
    "StepLR": {"step_size": 2, "gamma": 0.5},
}


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE, momentum=0.9)


def build(name: str, step_on: Any = "batch", warmup_steps: int = 0, optimizer: Any = None, **options: Any) -> Schedule:
    named = Named(name=name, **options)
    return build_schedule(
        named, optimizer or sgd(), epochs=EPOCHS, steps=STEPS, step_on=step_on, warmup_steps=warmup_steps
    )


def rates(schedule: Schedule, first: int = 0, last: int = STEPS) -> list[tuple[float, float]]:
    """Rate and momentum of each optimizer step."""
    found = []
    for step in range(first, last):
        group = schedule.optimizer.param_groups[0]
        found.append((schedule.learning_rate, group["momentum"]))
        schedule.step("batch")
        if (step + 1) % STEPS_PER_EPOCH == 0:
            schedule.step("epoch", METRICS[step // STEPS_PER_EPOCH])
    return found


def test_every_scheduler_is_tested() -> None:
    assert sorted(OPTIONS) == sorted(known_names("schedulers"))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("StepLR", {"step_size": 2, "gamma": 0.5}, {0: 0.1, 1: 0.1, 2: 0.05, 4: 0.025, 7: 0.0125}),
        ("ExponentialLR", {"gamma": 0.9}, {0: 0.1, 1: 0.09, 10: 0.1 * 0.9**10}),
        ("CosineAnnealingLR", {"T_max": 20}, {5: 0.05 * (1 + ROOT), 10: 0.05, 15: 0.05 * (1 - ROOT)}),
        ("OneCycleLR", {"max_lr": 0.2, "total_steps": 20}, {0: 0.008, 5: 0.2, 19: 0.008 / 1e4}),
        ("LinearLR", {"start_factor": 0.5, "total_iters": 10}, {0: 0.05, 5: 0.075, 10: 0.1, 19: 0.1}),
    ],
)  # fmt: skip
def test_rates_at_named_steps_are_those_computed_by_hand(
    name: str, options: dict[str, Any], expected: dict[int, float]
) -> None:
    found = rates(build(name, **options))
    assert {step: found[step][0] for step in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - {"ChainedScheduler", "ReduceLROnPlateau"}))
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # of the reference: it has no optimizer steps
def test_rates_and_momenta_equal_those_of_plain_torch(name: str) -> None:
    optimizer = sgd()
    options = {key: STEPS if value == "auto" else value for key, value in OPTIONS[name].items()}
    if name == "SequentialLR":
        parts = [
            lr_scheduler.LinearLR(optimizer, total_iters=2),
            lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - 2),
        ]
        reference: Any = lr_scheduler.SequentialLR(optimizer, parts, milestones=[2])
    else:
        reference = getattr(lr_scheduler, name)(optimizer, **options)
    expected = []
    for _ in range(STEPS):
        expected.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        reference.step()
    assert rates(build(name, **OPTIONS[name])) == expected


def test_a_scheduler_that_steps_on_epochs_holds_its_rate_within_one() -> None:
    found = [rate for rate, _ in rates(build("StepLR", "epoch", step_size=1, gamma=0.5))]
    assert found == [RATE] * 5 + [RATE / 2] * 5 + [RATE / 4] * 5 + [RATE / 8] * 5


def test_plateau_reads_the_metric_of_each_epoch_whatever_the_scheduler_steps_on() -> None:
    # 1.0 and 0.5 are improvements; 0.6 is not, so the last epoch has half the rate.
    expected = [RATE] * 15 + [RATE / 2] * 5
    for step_on in ("epoch", "batch"):
        assert [rate for rate, _ in rates(build("ReduceLROnPlateau", step_on, patience=0, factor=0.5))] == expected


def test_plateau_without_a_metric_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="metric"):
        build("ReduceLROnPlateau").step("epoch")


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize("step_on", ["epoch", "batch"])
def test_warm_up_is_a_linear_factor_in_optimizer_steps_on_any_scheduler(name: str, step_on: str) -> None:
    plain = rates(build(name, step_on, **OPTIONS[name]))
    warm = rates(build(name, step_on, warmup_steps=8, **OPTIONS[name]))
    for step, ((rate, momentum), (warm_rate, warm_momentum)) in enumerate(zip(plain, warm, strict=True)):
        assert warm_rate == pytest.approx(rate * min(1, (step + 1) / 8), rel=1e-12)
        assert warm_momentum == momentum


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(OPTIONS)),
    step_on=st.sampled_from(["epoch", "batch"]),
    warmup_steps=st.sampled_from([0, 1, 7]),
    stop=st.integers(0, STEPS),
)
def test_a_resumed_schedule_gives_the_same_rates(name: str, step_on: str, warmup_steps: int, stop: int) -> None:
    whole = rates(build(name, step_on, warmup_steps, **OPTIONS[name]))
    interrupted = build(name, step_on, warmup_steps, **OPTIONS[name])
    before = rates(interrupted, 0, stop)
    buffer = io.BytesIO()
    torch.save({"schedule": interrupted.state_dict(), "optimizer": interrupted.optimizer.state_dict()}, buffer)
    rates(interrupted, stop, STEPS)  # a state that is shared with the live schedule would change now
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    resumed = build(name, step_on, warmup_steps, **OPTIONS[name])
    resumed.optimizer.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["schedule"])
    assert before + rates(resumed, stop, STEPS) == whole


def test_a_state_does_not_change_with_the_schedule() -> None:
    schedule = build("MultiStepLR", milestones=[2, 3])
    state = schedule.state_dict()
    rates(schedule)
    assert state["optimizer_steps"] == 0 and state["scheduler"]["last_epoch"] == 0


def test_each_group_keeps_its_share_of_the_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.02)]
    for name in ("StepLR", "OneCycleLR", "CyclicLR"):
        schedule = build(
            name, optimizer=torch.optim.SGD([dict(group) for group in groups], momentum=0.9), **OPTIONS[name]
        )
        for _ in range(STEPS):
            first, second = (group["lr"] for group in schedule.optimizer.param_groups)
            assert second == pytest.approx(first / 5)
            schedule.step("batch")


def test_one_cycle_moves_the_first_beta_of_adam() -> None:
    adam = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = build("OneCycleLR", optimizer=adam, max_lr=0.2, total_steps=STEPS, base_momentum=0.8, max_momentum=0.9)
    assert adam.param_groups[0]["betas"] == (0.9, 0.999)
    for _ in range(5):
        schedule.step("batch")
    assert adam.param_groups[0]["betas"] == (pytest.approx(0.8), 0.999)


def test_momentum_stays_where_the_scheduler_does_not_cycle_it() -> None:
    found = rates(build("OneCycleLR", max_lr=0.2, total_steps=STEPS, cycle_momentum=False))
    assert {momentum for _, momentum in found} == {0.9}


def test_an_optimizer_without_momentum_cannot_cycle_it() -> None:
    adagrad = torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=RATE)
    with pytest.raises(ConfigError, match="momentum"):
        build("OneCycleLR", optimizer=adagrad, max_lr=0.2, total_steps=STEPS)


def test_one_cycle_keeps_its_last_rate_after_its_last_step() -> None:
    schedule = build("OneCycleLR", max_lr=0.2, total_steps=STEPS)
    last = rates(schedule)[-1][0]
    for _ in range(3):
        schedule.step("batch")
        assert schedule.learning_rate == last


def test_options_that_torch_refuses_are_a_users_error() -> None:
    with pytest.raises(ConfigError, match="OneCycleLR refuses its options") as caught:
        build("OneCycleLR", max_lr=0.2, total_steps=STEPS, pct_start=1.5)
    assert caught.value.problems[0].key == "training_spec.scheduler"


def test_a_schedule_moves_the_real_optimizer_through_training() -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    schedule = build("ExponentialLR", optimizer=optimizer, gamma=0.5)
    for _ in range(3):  # warnings are errors here: torch's check of the order of calls is content
        optimizer.zero_grad()
        model(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        schedule.step("batch")
    assert optimizer.param_groups[0]["lr"] == pytest.approx(RATE / 8)
