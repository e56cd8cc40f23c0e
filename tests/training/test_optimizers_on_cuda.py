"""Optimizers on a GPU that does not exist: in a step, the host should not wait for the device."""

import re
from pathlib import Path

import pytest
import torch

from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import known_names
from sequifier.training import parameter_groups
from sequifier.training.optimizers import build_optimizer
from tests.support.fake_cuda import Counts, fake_cuda
from tools.trial import REQUIRED_IN_TRIAL, TrialModel

COMMON = (
    "Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "Muon", "NAdam", "RAdam", "RMSprop", "SGD", "AdaBelief", "Adan",
    "AdEMAMix", "Lamb", "Lion", "MARS", "NorMuon", "QHAdam", "ScheduleFreeAdamW", "SOAP", "StableAdamW",
)  # fmt: skip
NOT_SEEN = {"SaRA"}
"""The sizes of its tensors depend on numbers, which fake tensors do not have."""
DOCUMENTED = Path(__file__).parents[2] / "docs" / "training.md"


def last_steps(name: str, *, n_steps: int = 12) -> Counts:
    """Count what the steps after the first two do, in which an optimizer makes its state."""
    with fake_cuda():
        model = TrialModel().to(torch.device("cuda"))
        named = Named(name=name, **REQUIRED_IN_TRIAL.get(name, {}))
        optimizer = build_optimizer(named, model, learning_rate=1e-3, decay_all=False)
        counts = Counts()
        for step in range(n_steps):
            for parameter in model.parameters():
                parameter.grad = torch.empty_like(parameter)
            with counts if step >= 2 else Counts():
                optimizer.step()
    return counts


@pytest.mark.parametrize("name", COMMON)
def test_the_host_does_not_wait_in_a_step_of_a_common_optimizer(name: str) -> None:
    assert not last_steps(name).syncs


@pytest.mark.parametrize("has_kernel", [False, True])
def test_adagrad_is_fused_where_torch_has_the_kernel(has_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter_groups, "_adagrad_has_cuda_kernel", lambda: has_kernel)
    assert ("_fused_adagrad_" in last_steps("Adagrad", n_steps=3).kernels) == has_kernel


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_a_step_is_one_kernel_for_each_group(name: str) -> None:
    assert 1 <= last_steps(name, n_steps=3).kernels[f"_fused_{name.lower()}_"] <= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")  # DASH
def test_the_documentation_names_the_optimizers_for_which_the_host_waits() -> None:
    waiting = {name for name in set(known_names("optimizers")) - NOT_SEEN if last_steps(name).syncs}
    paragraph = re.search(r"The steps of (.+?) wait for the GPU", DOCUMENTED.read_text(), re.DOTALL)
    assert paragraph is not None
    assert set(re.findall(r"\w+", paragraph[1].replace(" and ", " "))) == waiting
