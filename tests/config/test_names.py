"""Names and options of optimizers, schedulers and criteria, without torch."""

import subprocess
import sys

import pytest

from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import (
    check_criterion,
    check_optimizer,
    check_scheduler,
    ignored_fields,
    known_names,
    optimizer_entry,
    options_of,
)


def optimizer(name: str, **options: object) -> Named:
    return check_optimizer(Named(name=name, **options))


def scheduler(name: str, **options: object) -> Named:
    return check_scheduler(Named(name=name, **options))


def test_checking_names_imports_no_torch() -> None:
    code = (
        "import sys; from sequifier.config.base import Named; "
        "from sequifier.config.catalogue.torch_names import check_optimizer; "
        "check_optimizer(Named(name='AdamW')); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "pytorch_optimizer"} & set(loaded)


@pytest.mark.parametrize("name", ["AdamW", "adamw", "ADAMW"])
def test_names_match_without_regard_to_case(name: str) -> None:
    assert optimizer(name, weight_decay=0.1) == Named(name="AdamW", weight_decay=0.1)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("Adafactor", "Adafactor"),  # torch
        ("AdaFactor", "AdaFactor"),  # pytorch_optimizer
        ("adafactor", "Adafactor"),
        ("Apollo", "ApolloDQN"),  # what v1's library called Apollo; APOLLO is a later, different optimizer
        ("APOLLO", "APOLLO"),
        ("ademamix", "AdEMAMix"),
        ("Qhadam", "QHAdam"),
    ],
)
def test_torch_comes_first_and_an_exact_spelling_wins(given: str, meant: str) -> None:
    assert optimizer(given).name == meant


def test_a_name_that_could_be_two_is_an_error() -> None:
    with pytest.raises(ValueError, match="`apollo` could be `APOLLO` or `Apollo`"):
        optimizer("apollo")


def test_v1_names_and_options_become_todays() -> None:
    assert optimizer("A2GradExp", rho=0.4) == Named(name="A2Grad", variant="exp", rho=0.4)
    assert optimizer("AdEMAMix", T_alpha_beta3=100) == Named(name="AdEMAMix", t_alpha_beta3=100.0)
    assert optimizer("SWATS", amsgrad=True) == Named(name="SWATS", ams_bound=True)


def test_ademamix_has_decoupled_decay_by_default() -> None:
    assert optimizer_entry("AdEMAMix").our_defaults == {"weight_decouple": True}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("LBFGS", "closure"),
        ("sam", "wraps another optimizer"),
        ("Adahessian", "second derivatives"),  # v1's spelling
        ("RangerQH", "no library has it any more; use Ranger or QHAdam"),
        ("SCION", "weights_only"),
        ("DistributedMuon", "several processes"),
    ],
)
def test_an_optimizer_that_cannot_be_used_says_why(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"is not available: .*{why}"):
        optimizer(name)


def test_an_unknown_name_offers_near_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown optimizer `AdanW`; did you mean .*`AdamW`"):
        optimizer("AdanW")
    with pytest.raises(ValueError, match="unknown scheduler `CosineLR`"):
        scheduler("CosineLR")


def test_all_option_problems_are_reported_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        optimizer("AdamW", wieght_decay=0.1, betas=[0.9], amsgrad=1, lr=1e-3)
    message = str(caught.value)
    assert "unknown option `wieght_decay`; did you mean `weight_decay`" in message
    assert "`betas`: [0.9] has 1 entries, 2 are needed" in message
    assert "`amsgrad`: 1 is not true or false" in message
    assert "`lr` is `training_spec.learning_rate`; set it there" in message


def test_numbers_take_the_type_of_their_option() -> None:
    checked = scheduler("StepLR", step_size=2.0, gamma=1)
    assert checked == Named(name="StepLR", step_size=2, gamma=1.0)
    assert (type(checked.options["step_size"]), type(checked.options["gamma"])) == (int, float)
    assert scheduler("MultiStepLR", milestones=[2.0, 5]).options["milestones"] == [2, 5]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"step_size": 2.5}, "`step_size`: 2.5 is not an integer"),
        ({"step_size": True}, "`step_size`: True is not an integer"),
        ({"step_size": "2"}, "`step_size`: '2' is not an integer"),
        ({"step_size": 0}, "`step_size`: 0 is less than 1"),
        ({"step_size": 1, "gamma": None}, "`gamma`: None is not a number"),
        ({"step_size": 1, "gamma": float("inf")}, "`gamma`: inf is not a finite number"),
        ({}, "`step_size` is required"),
        ({"step_size": 1, "last_epoch": 3}, "`last_epoch` is restored from the checkpoint"),
        ({"step_size": "auto"}, "`step_size`: 'auto' is not an integer"),
    ],
)
def test_a_wrong_option_of_a_scheduler_is_named(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        scheduler("StepLR", **options)
    assert problem in str(caught.value)


def test_auto_is_allowed_where_a_length_is_needed() -> None:
    assert scheduler("CosineAnnealingLR", T_max="auto").options == {"T_max": "auto"}


def test_choices_are_listed() -> None:
    with pytest.raises(ValueError, match="'exponential' is not one of cos, linear"):
        scheduler("OneCycleLR", max_lr=0.1, anneal_strategy="exponential")


def test_two_implementations_of_one_optimizer_exclude_each_other() -> None:
    assert optimizer("Adam", foreach=False, fused=True).options == {"foreach": False, "fused": True}
    with pytest.raises(ValueError, match="Adam: `fused` and `foreach` exclude each other"):
        optimizer("Adam", foreach=True, fused=True)


def test_null_is_taken_where_the_library_takes_none() -> None:
    assert optimizer("Adam", foreach=None).options == {"foreach": None}
    assert optimizer("Adafactor", eps=[None, 1]).options == {"eps": [None, 1.0]}


def test_a_scheduler_that_needs_a_function_says_so() -> None:
    with pytest.raises(ValueError, match="LambdaLR` is not available: it needs a Python function"):
        scheduler("LambdaLR")


def test_the_parts_of_a_sequence_are_checked_too() -> None:
    parts = [{"name": "linearlr", "total_iters": 2.0}, "ExponentialLR"]
    with pytest.raises(ValueError, match="ExponentialLR: `gamma` is required"):
        scheduler("SequentialLR", schedulers=parts, milestones=[2])
    parts[1] = {"name": "ExponentialLR", "gamma": 0.9}
    assert scheduler("SequentialLR", schedulers=parts, milestones=[2]).options == {
        "schedulers": [{"name": "LinearLR", "total_iters": 2}, {"name": "ExponentialLR", "gamma": 0.9}],
        "milestones": [2],
    }


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"milestones": [2]}, "must be a list like"),
        ({"milestones": [2], "schedulers": [{"gamma": 0.9}]}, "is neither a name nor a map with one"),
        ({"milestones": [2, 3], "schedulers": [{"name": "ExponentialLR", "gamma": 0.9}] * 2}, "need 1 milestones"),
        ({"milestones": [3, 2], "schedulers": [{"name": "ExponentialLR", "gamma": 0.9}] * 3}, "are not increasing"),
        ({"milestones": [], "schedulers": ["ReduceLROnPlateau"]}, "does not count steps"),
    ],
)
def test_a_sequence_that_does_not_fit_together_says_how(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        scheduler("SequentialLR", **options)


def test_a_criterion_must_fit_the_kind_of_target() -> None:
    assert check_criterion(Named(name="crossentropyloss", label_smoothing=0), "categorical").options == {
        "label_smoothing": 0.0
    }
    with pytest.raises(ValueError, match="MSELoss is for real targets; a categorical one takes CrossEntropyLoss"):
        check_criterion(Named(name="MSELoss"), "categorical")


def test_another_loss_of_torch_lists_those_available() -> None:
    with pytest.raises(
        ValueError, match=r"`KLDivLoss` is not available: .*available: CrossEntropyLoss.*PoissonNLLLoss"
    ):
        check_criterion(Named(name="KLDivLoss"), "categorical")


@pytest.mark.parametrize("option", ["reduction", "weight", "ignore_index"])
def test_options_of_a_criterion_that_are_settled_say_so(option: str) -> None:
    with pytest.raises(ValueError, match=f"`{option}` is"):
        check_criterion(Named(name="CrossEntropyLoss", **{option: 1}), "categorical")


def test_optimizers_that_ignore_a_field_have_a_note() -> None:
    assert ignored_fields(optimizer("AdamW")) is None
    assert ignored_fields(optimizer("A2Grad")) == "A2Grad ignores learning_rate, scheduler and warmup_steps"
    assert ignored_fields(optimizer("Rprop")) == "Rprop ignores scheduler and warmup_steps"


def test_every_known_name_has_options_with_a_type() -> None:
    for family in ("optimizers", "schedulers", "criteria"):
        for name in known_names(family):
            for option in options_of(family, name).values():
                assert option.type in ("bool", "int", "float", "str", "list")
                assert (option.items is None) == (option.type != "list")
