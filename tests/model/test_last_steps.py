"""The last steps alone are what they are among all steps."""

import pytest
import torch

from sequifier.config.architecture import Architecture
from sequifier.model.build import build_model
from tests.support.shapes import describe, lively, pairwise, small, windows

# Products of other sizes round differently: a few units in the last place of numbers around 1.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@torch.no_grad()
@pytest.mark.parametrize("shape", pairwise(), ids=describe)
@pytest.mark.parametrize("n_last", [1, 3, 7, 8, 20])
def test_the_last_steps_equal_the_end_of_the_whole_window(shape: Architecture, n_last: int) -> None:
    model, (categories, reals) = lively(shape), windows(shape, n_windows=4)
    expected = model(categories, reals)[:, -n_last:]
    torch.testing.assert_close(model(categories, reals, n_last=n_last), expected, **CLOSE)
    is_event = torch.arange(8, 0, -1) <= torch.tensor([[1], [2], [5], [8]])
    expected = model(categories, reals, is_event)[:, -n_last:]
    found = model(categories, reals, is_event, n_last=n_last)
    seen = is_event[:, -n_last:]
    torch.testing.assert_close(found[seen], expected[seen], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("encoding", ["rope", "learned"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_window_may_be_shorter_than_the_model_s(encoding: str, num_layers: int) -> None:
    shape = small(positional_encoding=encoding, num_layers=num_layers, n_kv_heads=2)
    model, (categories, reals) = lively(shape), windows(shape)
    expected = model(categories[:, -5:], reals[:, -5:])[:, -2:]
    torch.testing.assert_close(model(categories[:, -5:], reals[:, -5:], n_last=2), expected, **CLOSE)


@torch.no_grad()
def test_dropout_is_as_strong_as_in_the_whole_window() -> None:
    """Means and deviations over many draws; each branch of the last block is dropped."""
    shape = small(dropout=0.5, num_layers=1)
    model, (categories, reals) = build_model(shape, torch.Generator().manual_seed(0)).train(), windows(shape, 1)
    many = [values.expand(4000, -1, -1) for values in (categories, reals)]
    torch.manual_seed(0)
    whole, last = model(*many)[:, -1], model(*many, n_last=1)[:, 0]
    assert (whole != last).any()
    spread = whole.std(0)
    assert ((whole.mean(0) - last.mean(0)).abs() < 0.15 * spread).all(), "9 standard errors of a mean"
    torch.testing.assert_close(last.std(0), spread, rtol=0.1, atol=0.0)
