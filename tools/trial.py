"""A trial of an optimizer: can Sequifier use it?

It is built, stepped, saved, loaded with weights_only and stepped again; the weights must then equal those of a run that
was not interrupted.
"""

import io
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from sequifier.config.catalogue.torch_names import OptimizerEntry
from sequifier.training.optimizers import construct

REQUIRED_IN_TRIAL: dict[str, dict[str, Any]] = {"Ranger21": {"num_iterations": 50}}
"""Values for required options when an optimizer is tried."""

TRIAL_STEPS = 13  # past the preconditioners' usual interval of 10


class TrialModel(nn.Module):
    """The smallest model with every kind of parameter: embedding with padding, blocks, norm, bias, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8, padding_idx=0)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(2)
        )
        self.head = nn.Linear(8, 6)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, 6) of ids (B,)."""
        hidden = self.embedding(ids)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.head(hidden)  # type: ignore[no-any-return]


def trial_steps(model: TrialModel, optimizer: Optimizer, first: int, last: int) -> None:
    """Take steps `first` to `last` (exclusive) on batches that depend on the number of the step alone."""
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        ids, target = torch.randint(0, 7, (20,), generator=generator), torch.randint(0, 6, (20,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(ids), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def reloaded(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state after torch.save and torch.load with weights_only."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)  # type: ignore[no-any-return]


def resumed_differs(build: Callable[[nn.Module], Optimizer], steps: int = TRIAL_STEPS) -> bool:
    """Whether `steps`, a save, a load into a new optimizer and `steps` again differ from twice `steps` in any bit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TrialModel()
        optimizer = build(model)
        trial_steps(model, optimizer, 0, steps)
        saved = reloaded(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
        )
        trial_steps(model, optimizer, steps, 2 * steps)

        torch.manual_seed(1)
        resumed_model = TrialModel()
        resumed = build(resumed_model)
        resumed_model.load_state_dict(saved["model"])
        resumed.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        trial_steps(resumed_model, resumed, steps, 2 * steps)
    pairs = zip(model.parameters(), resumed_model.parameters(), strict=True)
    return not all(torch.equal(straight, again) for straight, again in pairs)


def try_optimizer(name: str, entry: OptimizerEntry) -> dict[str, Any]:
    """Return the fields of an optimizer's entry that its signature does not show. Raises any error of the trial."""

    def build(model: nn.Module, learning_rate: float = 1e-3) -> Optimizer:
        options = REQUIRED_IN_TRIAL.get(name, {})
        return construct(name, entry, options, model, learning_rate=learning_rate, decay_all=False)

    def trained(*learning_rates: float) -> TrialModel:
        torch.manual_seed(0)
        model = TrialModel()
        optimizer = build(model, learning_rates[0])
        for part, learning_rate in enumerate(learning_rates):
            if part:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate
            trial_steps(model, optimizer, part * TRIAL_STEPS, (part + 1) * TRIAL_STEPS)
        return model

    def same(one: nn.Module, other: nn.Module) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    before = (random.getstate(), str(np.random.get_state()))
    if resumed_differs(build):
        raise ValueError("a resumed run differs from an uninterrupted one")
    if before != (random.getstate(), str(np.random.get_state())):
        raise ValueError("it uses a random generator that a checkpoint does not store")
    straight = trained(1e-3, 1e-3)
    assert all(bool(parameter.isfinite().all()) for parameter in straight.parameters()), name
    found: dict[str, Any] = {}
    if bool(straight.embedding.weight[0].any()):
        found["moves_padding"] = True
    ignores = ["learning_rate"] * same(straight, trained(1e-2, 1e-3)) + ["scheduler"] * same(
        straight, trained(1e-3, 1e-4)
    )
    if ignores:
        found["ignores"] = ignores
    return found
