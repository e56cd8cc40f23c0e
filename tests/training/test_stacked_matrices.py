"""Muon and its relatives on query, key and value, stored as one matrix; and which parameters decay."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import known_names, optimizer_entry
from sequifier.model.attention import StackedLinear
from sequifier.model.build import build_model
from sequifier.model.embedding import RealEmbedding
from sequifier.model.transformer import Transformer
from sequifier.training.optimizers import build_optimizer
from sequifier.training.precision import build_precision
from sequifier.training.step import train_step
from tests.support import tiny_training
from tests.support.rounding import assert_rounded
from tests.support.shapes import pairwise, small
from tests.support.tiny_training import config_of, events_of, objective_of, split_of, state_of
from tools.trial import reloaded

KV_HEADS = [4, 2, 1]  # mha, gqa, mqa
ROWS = {4: (16, 16, 16), 2: (16, 8, 8), 1: (16, 4, 4)}
RELATIVES = [name for name in known_names("optimizers") if optimizer_entry(name).matrices_only and name != "Muon"]


class Apart(nn.Module):
    """A linear layer for each of query, key and value: the same function as `StackedLinear`."""

    def __init__(self, stacked: StackedLinear) -> None:
        super().__init__()
        self.weights = nn.ParameterList(part.clone() for part in stacked.weight.detach().split(list(stacked.rows)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x @ weight.T for weight in self.weights], dim=-1)


def model_of(n_kv_heads: int) -> Transformer:
    shape = small(
        n_kv_heads=n_kv_heads,
        normalization="layer_norm",  # its block calls `qkv`, and so can the reference
        categorical=(("kind", 7),),
        real=("size",),
        embedding_widths=(10, 6),
        targets=small().targets[:1],
    )
    return build_model(shape, torch.Generator().manual_seed(0))


def apart(model: Transformer) -> Transformer:
    other = copy.deepcopy(model)
    for block in other.blocks:
        block.attention.qkv = Apart(block.attention.qkv)
    return other


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, n: int, parts: int = 1, first: int = 0) -> None:
    """Clipped steps on batches of 6 windows in so many parts, the batches given by the step's number alone."""
    for step in range(first, first + n):
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(1, 7, (6, 8, 1), generator=generator)
        reals = torch.randn(6, 8, 1, generator=generator)
        optimizer.zero_grad()
        for chosen in torch.arange(6).chunk(parts):
            logits = model.predict(model(ids[chosen], reals[chosen]))["kind"]
            (logits.logsumexp(-1).sum() - logits[..., 0].sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()


def assert_moved_alike(model: Transformer, other: Transformer, start: Transformer) -> None:
    for ours, theirs, before in zip(model.blocks, other.blocks, start.blocks, strict=True):
        joined = torch.cat(list(theirs.attention.qkv.weights))
        for one, two, first in (
            (ours.attention.qkv.weight, joined, before.attention.qkv.weight),
            (ours.attention.out.weight, theirs.attention.out.weight, before.attention.out.weight),
        ):
            # Three steps of five rounds of three products, in bfloat16. A stack taken as one matrix is off by 0.7.
            assert_rounded(one - first, (two - first).double(), 3 * 5 * 3, torch.bfloat16)


@pytest.mark.parametrize("n_kv_heads", KV_HEADS)
@pytest.mark.parametrize("parts", [1, 2])
def test_muon_on_the_stored_matrix_is_torchs_muon_on_three(n_kv_heads: int, parts: int) -> None:
    model = model_of(n_kv_heads)
    assert model.blocks[0].attention.qkv.rows == ROWS[n_kv_heads]
    start, reference = copy.deepcopy(model), apart(model)
    steps(model, build_optimizer(Named(name="Muon"), model, learning_rate=1e-2, decay_all=False), 3, parts)
    in_blocks = [p for name, p in reference.named_parameters() if name.startswith("blocks.") and p.ndim == 2]
    rest = [p for p in reference.parameters() if all(p is not matrix for matrix in in_blocks)]
    muon = torch.optim.Muon(in_blocks, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    heads = {id(parameter) for parameter in reference.heads.parameters() if parameter.ndim == 2}
    adamw = torch.optim.AdamW(
        [
            {"params": [p for p in rest if id(p) in heads], "weight_decay": 0.1},
            {"params": [p for p in rest if id(p) not in heads], "weight_decay": 0.0},
        ],
        lr=1e-2,
    )

    class Both:
        def zero_grad(self) -> None:
            reference.zero_grad()

        def step(self) -> None:
            muon.step()
            adamw.step()

    steps(reference, Both(), 3)  # type: ignore[arg-type]
    assert_moved_alike(model, reference, start)


@pytest.mark.parametrize("name", RELATIVES)
def test_the_relatives_of_muon_see_three_matrices_too(name: str) -> None:
    import pytorch_optimizer

    model = model_of(2)
    start, reference = copy.deepcopy(model), apart(model)
    optimizer = build_optimizer(Named(name=name), model, learning_rate=1e-2, decay_all=False)
    groups: list[dict[str, Any]] = [
        {key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]
    in_blocks = [p for n, p in reference.named_parameters() if n.startswith("blocks.") and p.ndim == 2]
    rest = [p for p in reference.parameters() if all(p is not matrix for matrix in in_blocks)]
    heads = [p for p in rest if any(p is q for q in reference.heads.parameters()) and p.ndim == 2]
    others = [p for p in rest if all(p is not head for head in heads)]
    parameters = [in_blocks, rest] if len(groups) == 2 else [in_blocks, heads, others]
    groups = [group | {"params": each} for group, each in zip(groups, parameters, strict=True)]
    theirs = getattr(pytorch_optimizer, name)(groups, **optimizer_entry(name).our_defaults)
    steps(model, optimizer, 2)
    steps(reference, theirs, 2)
    assert_moved_alike(model, reference, start)


@pytest.mark.parametrize("name", ["Muon", "AdaMuon"])
def test_gradients_are_reset_scaled_and_resumed(name: str) -> None:
    def build(model: Transformer) -> torch.optim.Optimizer:
        return build_optimizer(Named(name=name), model, learning_rate=1e-2, decay_all=False)

    model = model_of(1)
    optimizer = build(model)
    steps(model, optimizer, 2)
    assert all(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])
    for set_to_none in (False, True):
        optimizer.zero_grad(set_to_none=set_to_none)
        assert not any(bool(p.grad.any()) for p in model.parameters() if p.grad is not None)
    assert all(parameter.grad is None for parameter in model.parameters())
    saved = reloaded({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    steps(model, optimizer, 2, first=2)
    again = model_of(1)
    resumed = build(again)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    steps(again, resumed, 2, first=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_scaled_loss_moves_the_stored_matrix_as_an_unscaled_one_does() -> None:
    moved = []
    for linear in ("float32", "float16"):
        formats = {"decoder": linear}  # float16 turns the scaling of the loss on
        config = config_of(optimizer={"name": "Muon"}, learning_rate=1e-3, layer_type_dtypes=formats, gradient_clip=1.0)
        model = tiny_training.model_of(6)
        before = model.blocks[0].attention.qkv.weight.detach().clone()
        state = state_of(model, config)
        state.precision = build_precision(config.training_spec, "cpu", batch_numbers=1, dim_model=8)
        scaler = state.precision.scaler
        assert (scaler is None) == (linear == "float32")
        if scaler is not None:
            scaler.load_state_dict(scaler.state_dict() | {"scale": 256.0})  # no sum overflows
        split = split_of(events_of([40, 30]), seq_length=6, evaluation=False)
        train_step(state, split, [split.choose(np.arange(6))], objective_of(), config)
        moved.append(model.blocks[0].attention.qkv.weight.detach() - before)
    assert (moved[0] - moved[1]).norm() < 0.2 * moved[0].norm()


@pytest.mark.parametrize("shape", pairwise()[:4] + pairwise()[-2:], ids=lambda shape: shape.positional_encoding)
@pytest.mark.parametrize("name", ["AdamW", "Muon", "AdaMuon", "Lion"])
def test_no_embedding_decays(shape: Any, name: str) -> None:
    model = build_model(shape, torch.Generator().manual_seed(0))
    optimizer = build_optimizer(Named(name=name, weight_decay=0.1), model, learning_rate=1e-2, decay_all=False)
    decayed = {p.data_ptr() for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    embeddings = [m for m in model.embedding.modules() if isinstance(m, nn.Embedding | RealEmbedding)]
    assert any(isinstance(module, RealEmbedding) for module in embeddings)
    left_alone = [parameter for module in embeddings for parameter in module.parameters()]
    left_alone += [*model.positions.parameters(), *(p for p in model.parameters() if p.ndim == 1)]
    assert not decayed & {parameter.data_ptr() for parameter in left_alone}
    matrices = [p for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2]
    assert {matrix.data_ptr() for matrix in matrices} <= decayed
