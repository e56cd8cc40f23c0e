"""The number formats in which the layers of a model compute during training.

Mixed precision (Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740): weights, the optimizer's state, losses
and the statistics of the norms stay in float32; products of matrices are computed in a shorter format. With float16,
whose smallest numbers are not small enough for gradients, the loss is scaled up and the gradients down again (section
3.2 there); bfloat16 has the range of float32. Validation and export use float32, so that the models that are compared
and deployed do not depend on the format of their training. On CUDA the products of a validation are TF32, in every run
alike: docs/decisions/028-products-on-a-gpu.md.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from sequifier.config.computation_fields import ENOUGH_NUMBERS, ENOUGH_WIDTH, Format, LayerKind
from sequifier.config.training import TrainingSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """The formats of one run.

    Attributes:
        device_type: cpu, cuda or mps.
        linear: format of the products in the blocks and the embedding.
        decoder: format of the products in the heads.
        scaler: scales the loss; None unless a format is float16.
    """

    device_type: str = "cpu"
    linear: torch.dtype = torch.float32
    decoder: torch.dtype = torch.float32
    scaler: torch.amp.GradScaler | None = None

    def products(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        """Return a context in which products are computed in that format."""
        if dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device_type, dtype)


def formats(spec: TrainingSpec, device_type: str, *, batch_numbers: int, dim_model: int) -> dict[LayerKind, Format]:
    """Return the format of each kind of layer: as configured; else bfloat16 where it is faster, float32 elsewhere.

    The answer depends on the config and the kind of machine alone, so that a repeated run gives the same numbers.

    Args:
        spec: `layer_type_dtypes` and `layer_autocast`.
        device_type: cpu, cuda or mps.
        batch_numbers: windows of a batch x steps x model width.
        dim_model: model width.
    """
    if spec.layer_type_dtypes is not None:
        return spec.layer_type_dtypes
    if not spec.layer_autocast:
        return {}
    if device_type == "cuda":
        pays = dim_model >= ENOUGH_WIDTH and torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        pays = device_type == "cpu" and has_matrix_unit() and batch_numbers >= ENOUGH_NUMBERS
    return {"linear": "bfloat16", "decoder": "float32"} if pays else {}


def has_matrix_unit() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AMX), five times as fast as float32 ones."""
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return has_tiles is not None and bool(has_tiles())


def build_precision(spec: TrainingSpec, device_type: str, *, batch_numbers: int, dim_model: int) -> Precision:
    """Build the precision of a run; arguments as in `formats`."""
    chosen = formats(spec, device_type, batch_numbers=batch_numbers, dim_model=dim_model)
    kinds = {kind: DTYPES[name] for kind, name in chosen.items()}
    linear = kinds.get("linear", torch.float32)
    decoder = kinds.get("decoder", linear)
    scaler = torch.amp.GradScaler(device_type) if torch.float16 in (linear, decoder) else None
    return Precision(device_type, linear, decoder, scaler)


def kept_in_float32(spec: TrainingSpec) -> str | None:
    """Return a warning that names the kinds of layer whose configured shorter format is not used, or None."""
    configured = spec.layer_type_dtypes or {}
    kinds = [kind for kind in ("embedding", "norm") if configured.get(kind, "float32") != "float32"]
    if not kinds:
        return None
    return (
        f"layer_type_dtypes: kept in float32: {', '.join(kinds)}; only products of matrices gain from a shorter format"
    )
