"""Losses against hand-computed values and torch's own modules."""

import math
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from sequifier.config.base import Named
from sequifier.errors import ConfigError, RunError
from sequifier.training.losses import LOSSES, TargetLoss, build_losses


@dataclass(frozen=True)
class Target:
    name: str
    kind: Literal["categorical", "real"]
    n_classes: int = 0


def loss(
    kind: Literal["categorical", "real"], name: str, weights: list[float] | None = None, **options: object
) -> TargetLoss:
    target = Target("kind", kind, n_classes=5 if kind == "categorical" else 0)
    class_weights = None if weights is None else {"kind": weights}
    return build_losses([target], {"kind": Named(name=name, **options)}, class_weights)["kind"]


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.fixture
def ids() -> Tensor:
    return torch.tensor([1, 4, 2, 2, 3, 1])  # classes 1..4: 0 never is a target


def test_cross_entropy_of_a_hand_computed_position() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])  # classes 1 and 2 have probabilities 1/4 and 3/4
    criterion = loss("categorical", "CrossEntropyLoss")
    assert criterion.per_position(logits, torch.tensor([1])).item() == pytest.approx(math.log(4))
    assert criterion.per_position(logits, torch.tensor([2])).item() == pytest.approx(math.log(4 / 3))


def test_class_0_has_no_logit_so_id_1_is_the_first_column() -> None:
    logits = torch.tensor([[50.0, 0.0, 0.0]])
    assert loss("categorical", "CrossEntropyLoss").sum(logits, torch.tensor([1])).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("CrossEntropyLoss", {}, nn.CrossEntropyLoss(reduction="none")),
        ("CrossEntropyLoss", {"label_smoothing": 0.1}, nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)),
        ("MultiMarginLoss", {"p": 2, "margin": 0.5}, nn.MultiMarginLoss(p=2, margin=0.5, reduction="none")),
    ],
)
def test_categorical_losses_and_gradients_match_torch(
    name: str, options: dict[str, object], reference: nn.Module, logits: Tensor, ids: Tensor
) -> None:
    criterion = loss("categorical", name, **options)
    expected = reference(logits, ids - 1)
    torch.testing.assert_close(criterion.per_position(logits, ids), expected)
    (gradient,) = torch.autograd.grad(criterion.sum(logits, ids), logits)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(gradient, expected_gradient)


def test_nll_loss_takes_logits_and_equals_cross_entropy(logits: Tensor, ids: Tensor) -> None:
    torch.testing.assert_close(
        loss("categorical", "NLLLoss").per_position(logits, ids),
        loss("categorical", "CrossEntropyLoss").per_position(logits, ids),
    )


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("MSELoss", {}, nn.MSELoss(reduction="none")),
        ("L1Loss", {}, nn.L1Loss(reduction="none")),
        ("SmoothL1Loss", {"beta": 0.3}, nn.SmoothL1Loss(beta=0.3, reduction="none")),
        ("HuberLoss", {"delta": 0.3}, nn.HuberLoss(delta=0.3, reduction="none")),
        ("PoissonNLLLoss", {"full": True}, nn.PoissonNLLLoss(full=True, reduction="none")),
    ],
)
def test_real_losses_and_gradients_match_torch(name: str, options: dict[str, object], reference: nn.Module) -> None:
    prediction = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
    target = torch.tensor([0.4, 1.0, 3.0])
    criterion = loss("real", name, **options)
    expected = reference(prediction, target)
    torch.testing.assert_close(criterion(prediction, target), expected)
    (gradient,) = torch.autograd.grad(criterion.sum(prediction, target), prediction)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), prediction)
    torch.testing.assert_close(gradient, expected_gradient)


def test_huber_loss_of_hand_computed_positions() -> None:
    criterion = loss("real", "HuberLoss", delta=2)
    losses = criterion.per_position(torch.tensor([1.0, 5.0]), torch.zeros(2))
    torch.testing.assert_close(losses, torch.tensor([0.5 * 1.0**2, 2 * (5 - 0.5 * 2)]))


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"])
def test_a_class_weight_multiplies_the_loss_of_positions_of_that_class(name: str, logits: Tensor, ids: Tensor) -> None:
    weights = [9.0, 1.0, 0.5, 2.0, 0.0]  # id 0 first; its entry has no effect
    plain = loss("categorical", name).per_position(logits, ids)
    weighted = loss("categorical", name, weights)
    torch.testing.assert_close(weighted.per_position(logits, ids), plain * torch.tensor(weights)[ids])
    torch.testing.assert_close(weighted.sum(logits, ids), (plain * torch.tensor(weights)[ids]).sum())


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"])
def test_low_precision_logits_give_a_float32_loss(name: str, logits: Tensor, ids: Tensor) -> None:
    low = logits.detach().bfloat16()
    criterion = loss("categorical", name, [1.0] * 5)
    losses = criterion.per_position(low, ids)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, criterion.per_position(low.float(), ids), rtol=0, atol=0)


def test_float64_stays_float64(logits: Tensor, ids: Tensor) -> None:
    assert loss("categorical", "CrossEntropyLoss", [1.0] * 5).sum(logits.double(), ids).dtype == torch.float64
    assert loss("real", "MSELoss").sum(torch.zeros(2, dtype=torch.float64), torch.ones(2)).dtype == torch.float64


def test_target_ids_may_be_int32(logits: Tensor, ids: Tensor) -> None:
    criterion = loss("categorical", "CrossEntropyLoss")
    torch.testing.assert_close(criterion.sum(logits, ids.int()), criterion.sum(logits, ids), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"])
def test_no_positions_give_a_sum_of_0(name: str) -> None:
    nothing = loss("categorical", name).sum(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert nothing.item() == 0


CRITERIA: list[tuple[Literal["categorical", "real"], str, dict[str, object]]] = [
    ("categorical", "CrossEntropyLoss", {}),
    ("categorical", "CrossEntropyLoss", {"label_smoothing": 0.1}),
    ("categorical", "NLLLoss", {}),
    ("categorical", "MultiMarginLoss", {}),
    ("categorical", "MultiMarginLoss", {"p": 2, "margin": 0.5}),
    ("real", "MSELoss", {}),
    ("real", "L1Loss", {}),
    ("real", "SmoothL1Loss", {"beta": 0.3}),
    ("real", "HuberLoss", {"delta": 0.3}),
    ("real", "PoissonNLLLoss", {}),
    ("real", "PoissonNLLLoss", {"log_input": False, "full": True}),
]


def test_every_loss_is_tested_with_ignored_positions() -> None:
    assert {name for _, name, _ in CRITERIA} == set(LOSSES)


@pytest.mark.parametrize(("kind", "name", "options"), CRITERIA)
@pytest.mark.parametrize("weights", [None, [9.0, 1.0, 0.5, 2.0, 0.0]])
def test_ignored_positions_have_a_loss_and_a_gradient_of_0(
    kind: Literal["categorical", "real"], name: str, options: dict[str, object], weights: list[float] | None
) -> None:
    if kind == "real" and weights is not None:
        return
    generator = torch.Generator().manual_seed(0)
    shape = (6, 4) if kind == "categorical" else (6,)
    prediction = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    target = torch.tensor([1, 4, 0, 2, 3, 1]) if kind == "categorical" else torch.tensor([0.4, 1.0, 50.0, -3, 0.2, 2.0])
    known = torch.tensor([True, True, False, False, True, True])
    if kind == "real":
        prediction[2] = 1e4  # whose loss overflows as a Poisson rate
    criterion = loss(kind, name, weights, **options)

    def summed(here: Tensor, mask: Tensor | None, truth: Tensor) -> tuple[Tensor, Tensor]:
        here = here.clone().requires_grad_()
        total = criterion.sum(here, truth, mask)
        return total.detach(), torch.autograd.grad(total, here)[0]

    total, gradient = summed(prediction, known, target)
    expected_total, expected_gradient = summed(prediction[known], None, target[known])
    torch.testing.assert_close(total, expected_total)
    torch.testing.assert_close(gradient[known], expected_gradient)
    assert not gradient[~known].any()
    losses = criterion.per_position(prediction, target, known)
    torch.testing.assert_close(losses[known], criterion.per_position(prediction[known], target[known]))
    assert not losses[~known].any()


def test_criteria_default_to_the_kind_of_target() -> None:
    losses = build_losses([Target("price", "real"), Target("shop", "categorical", 3)], {})
    assert {name: found.criterion.name for name, found in losses.items()} == {
        "price": "MSELoss",
        "shop": "CrossEntropyLoss",
    }
    assert list(losses) == ["price", "shop"]


def test_options_that_torch_refuses_are_problems_of_the_config() -> None:
    criterion = {"price": Named(name="HuberLoss", delta=-1), "shop": Named(name="CrossEntropyLoss", label_smoothing=2)}
    with pytest.raises(ConfigError) as caught:
        build_losses([Target("price", "real"), Target("shop", "categorical", 3)], criterion)
    problems = {problem.key: problem.message for problem in caught.value.problems}
    assert list(problems) == ["training_spec.criterion.price", "training_spec.criterion.shop"]
    assert "non-positive values for delta" in problems["training_spec.criterion.price"]
    assert "label_smoothing must be between 0.0 and 1.0" in problems["training_spec.criterion.shop"]


def test_a_criterion_for_the_other_kind_is_a_problem_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"`training_spec\.criterion\.kind`: MSELoss is for real targets"):
        loss("categorical", "MSELoss")


def test_a_wrong_number_of_class_weights_says_both_numbers() -> None:
    with pytest.raises(RunError, match=r"3 class weights for `kind`, which has 5 classes"):
        loss("categorical", "CrossEntropyLoss", [1.0, 1.0, 1.0])


def test_class_weights_of_a_real_target_are_refused() -> None:
    with pytest.raises(RunError, match="real target"):
        loss("real", "MSELoss", [1.0])
