"""Both norms against their formulas."""

import pytest
import torch

from sequifier.model.norms import build_norm


@torch.no_grad()
def test_rmsnorm_divides_by_the_root_of_the_mean_square() -> None:
    norm = build_norm("rmsnorm", 5)
    norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * torch.arange(1.0, 6.0)
    torch.testing.assert_close(norm(x), expected)


@torch.no_grad()
def test_layer_norm_standardises_scales_and_shifts() -> None:
    norm = build_norm("layer_norm", 4)
    norm.weight.fill_(2.0)
    norm.bias.fill_(-1.0)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    spread = (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), 2 * (x - x.mean(-1, keepdim=True)) / spread - 1)


def test_the_epsilon_of_rmsnorm_does_not_depend_on_the_precision() -> None:
    small = torch.full((1, 4), 1e-3)
    in_double = build_norm("rmsnorm", 4).double()(small.double())
    torch.testing.assert_close(in_double.float(), build_norm("rmsnorm", 4)(small))


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'batch_norm' is not one of rmsnorm, layer_norm"):
        build_norm("batch_norm", 4)
