"""The model on a GPU that does not exist: which kernels its layers launch there, and how attention is chosen."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from sequifier.model.attention import LONGEST_WITHOUT_CUDNN
from sequifier.model.build import build_model
from tests.support.fake_cuda import Counts, fake_cuda
from tests.support.shapes import small, windows

CUDA = torch.device("cuda")


def kernels(num_layers: int, *, is_event: bool, autocast: bool = False) -> Counter[str]:
    """Kernels of a forward pass over padded or full windows."""
    shape = small(num_layers=num_layers, positional_encoding="rope")
    with fake_cuda():
        model = build_model(shape).to(CUDA)
        categories, reals = (values.to(CUDA) for values in windows(shape))
        padding = torch.ones(len(reals), shape.seq_length, dtype=torch.bool, device=CUDA) if is_event else None
        with Counts() as counts, torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            model(categories, reals, padding)
    return counts.kernels


@pytest.mark.parametrize("autocast", [False, True])
def test_the_mask_is_made_once_for_all_layers(autocast: bool) -> None:
    extra = []
    for num_layers in (1, 3):
        padded, full = (kernels(num_layers, is_event=is_event, autocast=autocast) for is_event in (True, False))
        extra.append(padded - full - Counter({name: count for name, count in padded.items() if "attention" in name}))
    assert extra[0] == extra[1]
    assert extra[0]["masked_fill_"] == 1


def test_rotary_positions_have_no_complex_numbers() -> None:
    launched = kernels(1, is_event=False)
    assert launched["stack"] == 1
    assert not any("complex" in name for name in launched)


@pytest.mark.parametrize(
    ("device", "steps", "expected"),
    [("cuda", LONGEST_WITHOUT_CUDNN, False), ("cuda", LONGEST_WITHOUT_CUDNN + 1, True), ("cpu", 8, True)],
)
def test_cudnn_attention_is_off_for_short_windows_on_cuda_and_on_again_afterwards(
    device: str, steps: int, expected: bool
) -> None:
    shape = small(seq_length=steps, positional_encoding="learned")
    seen: list[bool] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, *_: object) -> Tensor:
            seen.append(torch.backends.cuda.cudnn_sdp_enabled())
            return x

    with fake_cuda():
        model = build_model(shape).to(torch.device(device))
        model.blocks = nn.ModuleList([Spy()])
        categories, reals = (values.to(device) for values in windows(shape))
        model(categories, reals)
        assert seen == [expected]
        assert torch.backends.cuda.cudnn_sdp_enabled()
        torch.backends.cuda.enable_cudnn_sdp(False)  # a process that has turned it off keeps it off
        try:
            model(categories, reals)
            assert not torch.backends.cuda.cudnn_sdp_enabled()
        finally:
            torch.backends.cuda.enable_cudnn_sdp(True)
