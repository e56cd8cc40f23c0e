"""The whole model: what a prediction depends on, and that every option can be trained."""

from itertools import combinations, product
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sequifier.config.architecture import Architecture
from sequifier.model.build import build_model, draw_weights
from tests.support.shapes import OPTIONS, TIED, describe, lively, pairwise, small, windows

SEEING = [
    small(n_kv_heads=n_kv_heads, positional_encoding=encoding)
    for n_kv_heads in (4, 2, 1)
    for encoding in ("rope", "learned")
]
# Sums of different length round differently: a few units in the last place of numbers around 1.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@torch.no_grad()
@pytest.mark.parametrize("shape", SEEING, ids=describe)
def test_a_step_does_not_see_later_steps(shape: Architecture) -> None:
    model, (categories, reals) = lively(shape), windows(shape)
    before = model(categories, reals)
    categories[:, 5:] = (categories[:, 5:] + 1) % 5
    reals[:, 5:] += 1.0
    after = model(categories, reals)
    torch.testing.assert_close(before[:, :5], after[:, :5], **CLOSE)
    assert (before[:, 5:] - after[:, 5:]).abs().amax(-1).min() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("shape", SEEING, ids=describe)
def test_an_event_does_not_see_padding(shape: Architecture) -> None:
    model, (categories, reals) = lively(shape), windows(shape)
    is_event = torch.arange(8, 0, -1) <= torch.tensor([[1], [5], [8]])
    before = model(categories, reals, is_event)[is_event]
    categories[~is_event] = (categories[~is_event] + 1) % 5
    reals[~is_event] += 1.0
    torch.testing.assert_close(model(categories, reals, is_event)[is_event], before, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("shape", SEEING, ids=describe)
def test_a_padded_window_gives_what_the_shorter_window_gives(shape: Architecture) -> None:
    model, (categories, reals) = lively(shape), windows(shape, n_windows=1)
    is_event = torch.arange(8, 0, -1)[None] <= 3
    padded = model(categories, reals, is_event)[:, -3:]
    torch.testing.assert_close(model(categories[:, -3:], reals[:, -3:]), padded, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("shape", SEEING, ids=describe)
def test_the_mask_changes_nothing_without_padding(shape: Architecture) -> None:
    model, (categories, reals) = lively(shape), windows(shape)
    all_events = torch.ones(3, 8, dtype=torch.bool)
    torch.testing.assert_close(model(categories, reals, all_events), model(categories, reals), **CLOSE)


@pytest.mark.parametrize("shape", pairwise(), ids=describe)
def test_every_option_learns_a_batch_by_heart(shape: Architecture) -> None:
    model, (categories, reals) = build_model(shape, torch.Generator().manual_seed(0)), windows(shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    is_event = torch.arange(8, 0, -1) <= torch.tensor([[2], [6], [8]])
    wanted = categories.roll(-1, dims=1)[..., 0].clamp(min=1)[is_event]
    losses = []
    for _ in range(15):
        predictions = model.predict(model(categories, reals, is_event)[is_event])
        loss = F.cross_entropy(predictions["kind"], wanted - 1) + predictions["length"].square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all((embedding.weight[0] == 0).all() for embedding in model.embedding.categorical)


@pytest.mark.parametrize(
    "columns",
    [
        {"categorical": (), "embedding_widths": (9, 7)},
        {"real": (), "embedding_widths": (9, 7)},
        {"categorical": (), "real": ("length",), "embedding_widths": (16,)},
    ],
)
def test_columns_may_be_of_one_kind(columns: dict[str, Any]) -> None:
    shape = small(**columns)
    assert build_model(shape)(*windows(shape)).shape == (3, 8, 16)


def test_the_dozen_architectures_hold_every_pair_of_options() -> None:
    for first, second in combinations(OPTIONS, 2):
        pairs = {(getattr(shape, first), getattr(shape, second)) for shape in pairwise()}
        assert pairs == set(product(OPTIONS[first], OPTIONS[second]))


def test_dropout_acts_in_training_alone() -> None:
    shape = small(dropout=0.3)
    model, batch = lively(shape), windows(shape)
    assert torch.equal(model(*batch), model(*batch))
    model.train()
    assert not torch.equal(model(*batch), model(*batch))


def test_it_computes_under_autocast_in_bfloat16() -> None:
    shape = small()
    model, batch = lively(shape), windows(shape)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model(*batch)
    # bfloat16 keeps 8 bits; the differences of two layers of it stay below a tenth of a normalised number's spread.
    assert (hidden.float() - model(*batch)).abs().mean() < 0.1


def test_only_weights_are_in_the_state_dict() -> None:
    model = build_model(small())
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_a_window_longer_than_the_model_is_refused() -> None:
    model = build_model(small())
    with pytest.raises(ValueError, match="a window of 9 steps in a model for seq_length 8"):
        model(torch.zeros(1, 9, 2, dtype=torch.int64), torch.zeros(1, 9, 2))


def test_equal_generators_draw_equal_weights() -> None:
    first = build_model(small(), torch.Generator().manual_seed(5)).state_dict()
    again = build_model(small(), torch.Generator().manual_seed(5)).state_dict()
    other = build_model(small(), torch.Generator().manual_seed(6)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.attention.qkv.weight"], other["blocks.0.attention.qkv.weight"])


def test_drawn_weights_have_the_documented_spreads() -> None:
    shape = small(dim_model=64, embedding_widths=(40, 10, 13, 1), num_layers=8)
    model = build_model(shape, torch.Generator().manual_seed(0))
    block = model.blocks[0]
    # A sample of a thousand or more normal numbers has its spread within a tenth, by far.
    assert block.attention.qkv.weight.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.1)
    assert block.attention.out.weight.std().item() == pytest.approx((3 * 64) ** -0.5 / 4, rel=0.1)
    assert block.feed_forward.down.weight.std().item() == pytest.approx((3 * 24) ** -0.5 / 4, rel=0.1)
    assert model.embedding.categorical[0].weight[1:].std().item() == pytest.approx(0.06, rel=0.2)
    assert model.embedding.categorical[0].weight[0].abs().max() == 0
    draw_weights(model, torch.Generator().manual_seed(1))
    assert model.embedding.categorical[0].weight[0].abs().max() == 0


@pytest.mark.parametrize("shape", TIED, ids=["direct", "narrow", "with reals", "two targets"])
def test_an_embedding_that_also_decodes_is_drawn_smaller_and_learns(shape: Architecture) -> None:
    model, (categories, reals) = build_model(shape, torch.Generator().manual_seed(0)), windows(shape)
    for name, column in zip(shape.tied, shape.tied_columns, strict=True):
        table = model.embedding.categorical[column].weight
        assert shape.categorical[column][0] == name
        # At least 20 normal numbers.
        assert table[1:].std().item() == pytest.approx(0.02, rel=0.5)
    wanted = categories.roll(-1, dims=1)[..., 0].clamp(min=1)
    losses = []
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss = F.cross_entropy(model.predict(model(categories, reals))["kind"].flatten(0, 1), wanted.flatten() - 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all((embedding.weight[0] == 0).all() for embedding in model.embedding.categorical)
