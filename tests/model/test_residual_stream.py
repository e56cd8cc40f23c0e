"""The residual stream is float32 whatever the products are taken in: every combination of what begins it."""

from itertools import product

import pytest
import torch

from sequifier.model.build import build_model
from tests.support.shapes import small, windows

INPUTS = {
    "categories": {"real": (), "embedding_widths": (10, 6)},
    "reals": {"categorical": (), "embedding_widths": (9, 7)},
    "both": {},
    "one-raw-number": {"categorical": (), "real": ("length",), "embedding_widths": (16,)},
}
JOINT_WIDTHS = {"categories": (6, 4), "reals": (9, 1), "both": (3, 2, 2, 1), "one-raw-number": (1,)}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("normalization", ["rmsnorm", "layer_norm"])
@pytest.mark.parametrize("products", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_the_stream_between_blocks_is_float32(inputs: str, normalization: str, products: torch.dtype) -> None:
    for encoding, joint, norm_first, dropout in product(("rope", "learned"), (True, False), (True, False), (0.0, 0.2)):
        options = INPUTS[inputs] | ({"embedding_widths": JOINT_WIDTHS[inputs]} if joint else {})
        shape = small(
            positional_encoding=encoding,
            joint_embedding=joint,
            norm_first=norm_first,
            normalization=normalization,
            dropout=dropout,
            **options,
        )
        model = build_model(shape, torch.Generator().manual_seed(0))
        found: list[torch.dtype] = []
        for block in model.blocks:
            block.register_forward_pre_hook(lambda _, args, found=found: found.append(args[0].dtype))
            block.register_forward_hook(lambda _, args, output, found=found: found.append(output.dtype))
        with torch.autocast("cpu", products):
            found.append(model(*windows(shape)).dtype)
            found.append(model.eval()(*windows(shape), n_last=1).dtype)
        assert len(found) == 2 * (2 * 2 + 1)
        assert set(found) == {torch.float32}, (encoding, joint, norm_first, dropout)


def test_a_model_in_double_stays_in_double() -> None:
    shape = small(joint_embedding=True)
    categories, reals = windows(shape)
    assert build_model(shape).double()(categories, reals.double()).dtype == torch.float64
