"""Optimizers by name: groups, resume, padding, evaluation weights."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import known_names
from sequifier.errors import ConfigError
from sequifier.model.transformer import Transformer
from sequifier.training.muon import MuonWithAdamW
from sequifier.training.optimizers import build_optimizer, evaluation_mode
from tools.trial import REQUIRED_IN_TRIAL, TrialModel, reloaded, resumed_differs, trial_steps

REPRESENTATIVE = (
    "Adam", "AdamW", "SGD", "RAdam", "Muon", "Adafactor", "AdEMAMix", "QHAdam", "Lion", "ScheduleFreeAdamW",
    "Prodigy", "SOAP", "AdaMuon",
)  # fmt: skip


def named(name: str, **options: object) -> Named:
    return Named(name=name, **{**REQUIRED_IN_TRIAL.get(name, {}), **options})


def build(
    model: nn.Module, name: str = "AdamW", learning_rate: float = 1e-2, decay_all: bool = False, **options: object
):
    return build_optimizer(named(name, **options), model, learning_rate=learning_rate, decay_all=decay_all)


@pytest.fixture
def model() -> TrialModel:
    torch.manual_seed(0)
    return TrialModel()


def names_of(model: nn.Module, parameters: list[Tensor]) -> set[str]:
    """A part of a stored matrix begins where it does, or within it."""
    places = {
        parameter.data_ptr() + 4 * offset: name
        for name, parameter in model.named_parameters()
        for offset in ([0] if parameter.ndim < 2 else range(0, parameter.numel(), parameter.shape[1]))
    }
    return {places[parameter.data_ptr()] for parameter in parameters}


MATRICES = {f"blocks.{block}.{layer}.weight" for block in (0, 1) for layer in (1, 3)}


def check_resume_and_padding(name: str) -> None:
    assert not resumed_differs(partial(build, name=name))
    torch.manual_seed(0)
    model = TrialModel()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = build(model, name)
    trial_steps(model, optimizer, 0, 13)
    assert any(not torch.equal(before, after) for before, after in zip(start, model.parameters(), strict=True))
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    assert not model.embedding.weight[0].any(), "the padding row has moved"


@pytest.mark.parametrize("name", REPRESENTATIVE)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning")  # torch's Adafactor
def test_resumes_to_the_bit_and_leaves_padding_at_zero(name: str) -> None:
    check_resume_and_padding(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in known_names("optimizers") if name not in REPRESENTATIVE])
def test_every_other_optimizer_resumes_to_the_bit_and_leaves_padding_at_zero(name: str) -> None:
    check_resume_and_padding(name)


@pytest.mark.parametrize("name", ["Adam", "SGD", "RAdam", "Adagrad", "NAdam"])
def test_a_torch_optimizer_steps_as_torch_alone_does(name: str, model: TrialModel) -> None:
    torch.manual_seed(0)
    reference = TrialModel()
    trial_steps(model, build(model, name), 0, 5)
    trial_steps(reference, getattr(torch.optim, name)(reference.parameters(), lr=1e-2), 0, 5)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)  # fused kernels round differently


def test_weight_decay_is_for_the_matrices_of_linear_layers(model: TrialModel) -> None:
    decayed, rest = build(model, weight_decay=0.1).param_groups
    assert names_of(model, decayed["params"]) == MATRICES | {"head.weight"}
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)


def test_the_default_weight_decay_of_a_library_skips_norms_biases_and_embeddings_too(model: TrialModel) -> None:
    assert [group["weight_decay"] for group in build(model).param_groups] == [0.01, 0.0]


def test_decay_all_is_one_group_of_everything(model: TrialModel) -> None:
    (group,) = build(model, weight_decay=0.1, decay_all=True).param_groups
    assert len(group["params"]) == len(list(model.parameters()))


def test_nothing_to_decay_is_one_group(model: TrialModel) -> None:
    assert len(build(model, "Adam").param_groups) == 1


def test_a_shared_embedding_does_not_decay(model: TrialModel) -> None:
    model.head = nn.Linear(8, 7, bias=False)
    model.head.weight = model.embedding.weight
    decayed, _ = build(model, weight_decay=0.1).param_groups
    assert names_of(model, decayed["params"]) == MATRICES


def test_frozen_parameters_are_left_out(model: TrialModel) -> None:
    model.head.requires_grad_(False)
    (group,) = build(model, "Adam").param_groups
    assert not {"head.weight", "head.bias"} & names_of(model, group["params"])


def test_muon_takes_the_matrices_of_blocks_and_adamw_the_rest(model: TrialModel) -> None:
    torch.manual_seed(0)
    reference = TrialModel()
    optimizer = build(model, "Muon", weight_decay=0.05)
    assert isinstance(optimizer, MuonWithAdamW)
    muon, head, _ = optimizer.param_groups
    assert names_of(model, muon["params"]) == MATRICES
    assert names_of(model, head["params"]) == {"head.weight"}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.05, 0.0]

    trial_steps(model, optimizer, 0, 4)
    matrices = [parameter for name, parameter in reference.named_parameters() if name in MATRICES]
    others = [parameter for name, parameter in reference.named_parameters() if name not in MATRICES | {"head.weight"}]
    parts = [
        torch.optim.Muon(matrices, lr=1e-2, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": [reference.head.weight], "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
            lr=1e-2,
        ),
    ]

    class Both:
        def zero_grad(self) -> None:
            reference.zero_grad()

        def step(self) -> None:
            for part in parts:
                part.step()

    trial_steps(reference, Both(), 0, 4)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_muon_finds_the_matrices_of_our_transformer() -> None:
    transformer = Transformer(
        n_classes=[5],
        n_real=1,
        embedding_widths=[4, 4],
        target_classes={"shop": 5},
        seq_length=4,
        dim_model=8,
        n_head=2,
        n_kv_heads=2,
        num_layers=1,
        dim_feedforward=16,
        joint_embedding=True,
        activation_fn="swiglu",
        normalization="rmsnorm",
        norm_first=True,
        positional_encoding="learned",
        rope_theta=1e4,
        dropout=0.0,
    )
    muon, decayed, _ = build(transformer, "Muon").param_groups
    matrices = names_of(transformer, muon["params"])
    assert matrices == {
        name for name, p in transformer.named_parameters() if name.startswith("blocks.") and p.ndim == 2
    }
    assert any("qkv" in name for name in matrices)
    assert all(name.startswith(("heads.", "embedding.")) for name in names_of(transformer, decayed["params"]))


def test_a_learning_rate_of_zero_stops_both_parts_of_muon(model: TrialModel) -> None:
    optimizer = build(model, "Muon")
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    start = [parameter.detach().clone() for parameter in model.parameters()]
    trial_steps(model, optimizer, 0, 2)
    assert all(torch.equal(before, after) for before, after in zip(start, model.parameters(), strict=True))


def test_muon_without_blocks_says_so() -> None:
    with pytest.raises(ConfigError, match=r"no linear layer below `blocks\.` in Linear"):
        build(nn.Linear(2, 2), "Muon")


def test_ademamix_decays_the_weights_and_not_the_gradient(model: TrialModel) -> None:
    assert all(group["weight_decouple"] for group in build(model, "AdEMAMix", weight_decay=0.1).param_groups)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad"])
def test_fused_kernels_are_used_where_torch_has_them(name: str, model: TrialModel) -> None:
    assert all(group["fused"] for group in build(model, name).param_groups)


def test_fused_kernels_are_not_used_for_double_or_against_the_users_choice(model: TrialModel) -> None:
    assert not build(model, "Adam", foreach=True).param_groups[0]["fused"]
    assert not build(model, "Adam", fused=False).param_groups[0]["fused"]
    assert not build(model.double(), "Adam").param_groups[0]["fused"]


@pytest.mark.parametrize("name", ["ScheduleFreeAdamW", "ScheduleFreeRAdam", "ScheduleFreeSGD", "SPlus"])
def test_evaluation_shows_averaged_weights_and_leaves_no_trace(name: str, model: TrialModel) -> None:
    optimizer = build(model, name)
    trial_steps(model, optimizer, 0, 8)  # RAdam is silent in its first five
    training = [parameter.detach().clone() for parameter in model.parameters()]
    with evaluation_mode(optimizer):
        assert any(not torch.equal(before, now) for before, now in zip(training, model.parameters(), strict=True))
        assert not model.embedding.weight[0].any()
    assert all(torch.equal(before, after) for before, after in zip(training, model.parameters(), strict=True))
    trial_steps(model, optimizer, 8, 10)  # it trains on: the optimizer is back in training mode


def test_evaluation_mode_does_nothing_with_other_optimizers(model: TrialModel) -> None:
    optimizer = build(model, "Adam")
    trial_steps(model, optimizer, 0, 2)
    before = [parameter.data_ptr() for parameter in model.parameters()], model.head.weight.detach().clone()
    with evaluation_mode(optimizer):
        assert torch.equal(model.head.weight, before[1])
    assert [parameter.data_ptr() for parameter in model.parameters()] == before[0]


def test_a_schedule_free_run_resumes_to_the_bit_with_evaluations_in_between(model: TrialModel) -> None:
    optimizer = build(model, "ScheduleFreeAdamW")
    trial_steps(model, optimizer, 0, 4)
    with evaluation_mode(optimizer):
        pass
    state = reloaded({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    trial_steps(model, optimizer, 4, 8)
    resumed_model = TrialModel()
    resumed = build(resumed_model, "ScheduleFreeAdamW")
    resumed_model.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    trial_steps(resumed_model, resumed, 4, 8)
    for straight, again in zip(model.parameters(), resumed_model.parameters(), strict=True):
        assert torch.equal(straight, again)


def test_a_value_that_the_library_refuses_is_a_users_error(model: TrialModel) -> None:
    with pytest.raises(ConfigError, match="AdamW refuses its options: Invalid beta parameter") as caught:
        build(model, "AdamW", betas=[1.5, 0.9])
    assert caught.value.problems[0].key == "training_spec.optimizer"
