"""What is dropped: as many as asked, drawn from torch's generator, anew each time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sequifier.model.cpu.dropout import drop, keep_mask


@given(share=st.floats(0.001, 0.99), seed=st.integers(0, 2**31))
def test_the_dropped_fraction_is_the_given_one_and_the_mean_stays(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    mask = keep_mask((200, 500), share, torch.float64)
    dropped = float((mask == 0).double().mean())
    # Five standard deviations of 100,000 draws, and the last of 65,536 levels.
    assert abs(dropped - share) < 5 * (share * (1 - share) / 100_000) ** 0.5 + 2e-5
    assert float(mask.max()) == pytest.approx(1 / (1 - share), rel=2e-3)
    assert len(mask.unique()) == 2


@pytest.mark.parametrize("shape", [(), (1,), (3,), (7, 11), (0, 4)])
def test_every_shape_has_its_mask(shape: tuple[int, ...]) -> None:
    assert keep_mask(shape, 0.5, torch.bfloat16).shape == shape


def test_it_continues_from_the_state_of_torchs_generator() -> None:
    x = torch.ones(1000)
    torch.manual_seed(3)
    first, second = drop(x, 0.5, training=True), drop(x, 0.5, training=True)
    torch.manual_seed(3)
    again = drop(x, 0.5, training=True)
    state = torch.get_rng_state()
    drop(x, 0.5, training=True)
    torch.set_rng_state(state)
    assert torch.equal(first, again)
    assert torch.equal(second, drop(x, 0.5, training=True))
    assert not torch.equal(first, second)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(0)
    kept = keep_mask((4_000_000,), 0.5, torch.float32).sub_(1)  # -1 or 1
    for lag in (1, 2, 3, 4, 8, 64, 4096):
        assert abs(float((kept[lag:] * kept[:-lag]).mean())) < 5 / 4_000_000**0.5


def test_nothing_is_dropped_outside_training() -> None:
    x = torch.randn(5)
    assert drop(x, 0.9, training=False) is x
    assert drop(x, 0.0, training=True) is x
