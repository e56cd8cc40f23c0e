"""Peak memory of a training run as formulas: a plan prints it before anything is trained.

The formulas count the tensors that are kept for the backward pass, by the way each layer is computed
(`model/cpu/fused.py`, `model/cpu/short_attention.py`, torch's own operations), and the largest temporary ones. Two
quantities were measured (docs/decisions, 013): what a first step loads of the libraries, and the overhead of the heap.
Shapes: N steps of all windows of a batch, D model width, F width of the feed-forward part, H heads, T steps.
"""

from pathlib import Path
from typing import Literal

from sequifier.config.architecture import Architecture
from sequifier.config.base import Named
from sequifier.config.catalogue.layers import ACTIVATION_COSTS, NORM_COSTS
from sequifier.config.catalogue.torch_names import optimizer_entry
from sequifier.config.computation_fields import ENOUGH_NUMBERS, Format
from sequifier.config.size import parameter_count, qkv_width
from sequifier.config.train import TrainConfig

CPU_INFO = Path("/proc/cpuinfo")
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

LIBRARIES = 350_000_000
"""Size of a worker before its first run: Python, torch and the other libraries."""

FIRST_STEP = 80 << 20
"""Code and work space of torch, MKL and oneDNN that the first step of a process touches, on a CPU."""

HEAP = {"float32": 1.2, "bfloat16": 1.4, "float16": 1.4}
"""Size of the heap relative to the tensors in it: freed blocks of other sizes stay. After steps in a shorter format,
validation in float32 needs blocks of other sizes."""

SHORT_FIRST_STEP = 20 << 20
"""Further memory that the first step touches with products in a shorter format."""

LOGIT_COPIES = 5.5
"""Tensors of (N, classes): logits, log-probabilities, two gradients, and one or two blocks of that size that the heap
keeps."""

MANY_CLASSES = 8192
"""Largest number of classes whose logits are always computed for all positions of a batch at once."""

TENSORS_OF_LOSS = {"training": 6, "evaluation": 2}
"""Tensors of (positions, classes) in float32 that exist at the same time. In training: logits, log-probabilities and
two gradients; one more with class weights and label smoothing, and a copy in a shorter format. An evaluation looks at a
few positions of its logits at a time."""

SHORT_STEPS = 128
"""Steps of the longest window whose attention is written out in bfloat16, as `model/cpu/short_attention.py` says."""


def run_memory(config: TrainConfig, architecture: Architecture, *, has_matrix_unit: bool) -> int:
    """`memory_estimate` of a run file: by how much the process of a run grows beyond its libraries and data.

    Args:
        config: of the run.
        architecture: of its model, by `config.architecture.architecture`.
        has_matrix_unit: whether the processor multiplies bfloat16 matrices in hardware (AMX).
    """
    spec = config.training_spec
    given = spec.layer_type_dtypes
    numbers = spec.batch_size * architecture.seq_length * architecture.dim_model
    if given is None and spec.layer_autocast and has_matrix_unit and numbers >= ENOUGH_NUMBERS:
        given = {"linear": "bfloat16"}
    return memory_estimate(
        architecture,
        batch_size=spec.batch_size,
        optimizer_copies=_optimizer_copies(spec.optimizer),
        products=(given or {}).get("linear", "float32"),
        loss_memory_mb=spec.loss_memory_mb,
    )


def positions_at_once(
    n_classes: int, loss_memory_mb: int, during: Literal["training", "evaluation"] = "training"
) -> int | None:
    """Number of positions whose logits fit into `loss_memory_mb`; 0: not even one. None: there is no limit."""
    if n_classes <= MANY_CLASSES:
        return None
    return loss_memory_mb * 1_000_000 // (4 * n_classes * TENSORS_OF_LOSS[during])


def reading_memory(n_rows: int, n_columns: int) -> int:
    """Bytes that reading a split takes: twice its id and position (16 bytes a row) and twice each column (4 bytes)."""
    return n_rows * (32 + 8 * n_columns)


def kept_memory(n_rows: int, n_columns: int) -> int:
    """Bytes of a split in memory: a position (8 bytes a row) and each column (4 bytes)."""
    return n_rows * (8 + 4 * n_columns)


def machine_has_matrix_unit() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware, without torch (Linux; False elsewhere)."""
    try:
        return " amx_tile" in CPU_INFO.read_text()
    except OSError:
        return False


def memory_estimate(
    architecture: Architecture,
    *,
    batch_size: int,
    optimizer_copies: int = 2,
    products: Format = "float32",
    loss_memory_mb: int = 128,
) -> int:
    """Bytes by which a process grows while it trains on a CPU: weights, their copies and the tensors of a step.

    Within 20 % of the measured peak from about 100 MB on (tests/training/test_memory_estimate.py). Python with its
    libraries and the data come on top: about 350 MB in a search's worker. On a GPU the libraries' part does not count.

    Args:
        architecture: the model.
        batch_size: windows in one forward pass (after any cut into micro-batches).
        optimizer_copies: numbers that the optimizer keeps for each weight: 2 for Adam, 1 for Muon, 0 for SGD.
        products: number format of the products in the blocks.
        loss_memory_mb: what the loss of a target of many classes may take.
    """
    shape = architecture
    weights = 4 * parameter_count(shape) * (2 + optimizer_copies)  # one more for the best weights so far
    steps = batch_size * shape.seq_length
    kept = shape.num_layers * (_attention(shape, products) + _feed_forward(shape, products))
    kept += 4 * (3 * shape.dim_model + (sum(shape.embedding_widths) if shape.joint_embedding else 0))
    if shape.dropout:
        kept += 4 * shape.dim_model
    logits = sum(_logits(shape.horizon * target.output_width, steps, loss_memory_mb) for target in shape.targets)
    logits += _steps_to_come(shape, batch_size)
    activations = HEAP[products] * (steps * (kept + _passing(shape, products)) + _copies_of_weights(shape, products))
    # Logits and gradients of weights do not exist at the same time; in a wide model with a small batch the gradients
    # are larger.
    in_step = max(activations, 4 * parameter_count(shape))
    libraries = FIRST_STEP + (0 if products == "float32" else SHORT_FIRST_STEP)
    return round(libraries + weights + in_step + logits)


def _logits(n_classes: int, steps: int, loss_memory_mb: int) -> float:
    """Bytes of the logits of a target, and of what is computed from them."""
    at_once = positions_at_once(n_classes, loss_memory_mb)
    return LOGIT_COPIES * 4 * n_classes * (steps if at_once is None else min(steps, at_once))


def _steps_to_come(shape: Architecture, batch_size: int) -> int:
    """Bytes of the vectors of the steps to come: as summed, their positive part, and the gradients of both."""
    if not shape.known_future:
        return 0
    positions = batch_size * (shape.seq_length if shape.window_normalization == "none" else 1)
    return 4 * 4 * positions * shape.horizon * shape.dim_model


def _attention(shape: Architecture, products: Format) -> int:
    """Bytes that one attention keeps for each step of each window, its norm and residual included."""
    size, width = BYTES[products], shape.dim_model
    kept = _norm(shape, products)
    kept += size * width * (shape.dropout > 0)  # which numbers of the branch are dropped
    kept += size * width  # what goes into the last product
    if _is_written_out(shape, products):
        of_weights = shape.n_head * shape.seq_length * (2 if shape.dropout else 1)
        return kept + size * (3 * width + of_weights)
    if products == "bfloat16":  # torch's kernel gets float32 copies
        return kept + 4 * (width + qkv_width(shape)) + size * width
    if shape.positional_encoding == "rope":
        kept += size * (qkv_width(shape) - shape.n_kv_heads * width // shape.n_head)
    return kept + size * qkv_width(shape)


def _feed_forward(shape: Architecture, products: Format) -> int:
    """Bytes that one feed-forward block keeps for each step of each window."""
    size = BYTES[products]
    costs = ACTIVATION_COSTS[shape.activation_fn]
    hidden = costs.n_kept_fused if _is_fused(shape, products) else costs.n_kept
    dropped = (shape.dim_feedforward + shape.dim_model) if shape.dropout else 0
    return _norm(shape, products) + size * (hidden * shape.dim_feedforward + dropped)


def _norm(shape: Architecture, products: Format) -> int:
    """Bytes that a norm keeps for each step, with the operand of the product that follows."""
    size = BYTES[products]
    if _is_fused(shape, products):
        return size * shape.dim_model
    return shape.dim_model * (4 + 4 if size == 4 else 4 + size)


def _passing(shape: Architecture, products: Format) -> int:
    """Bytes for each step that the largest part of the backward pass needs temporarily."""
    size = BYTES[products]
    passing = size * 3 * shape.dim_feedforward + 4 * 3 * shape.dim_model
    if _is_written_out(shape, products):
        of_weights = 2 * shape.n_head * shape.seq_length
        return max(passing, size * of_weights + 4 * 3 * shape.dim_model)
    return passing


def _copies_of_weights(shape: Architecture, products: Format) -> int:
    """Bytes of the copies of matrices: with norms folded in, or in a shorter format."""
    in_block = (qkv_width(shape) + shape.dim_model) * shape.dim_model
    in_block += ACTIVATION_COSTS[shape.activation_fn].n_matrices * shape.dim_model * shape.dim_feedforward
    copied = _is_fused(shape, products) or products != "float32"
    return shape.num_layers * in_block * BYTES[products] if copied else 0


def _is_fused(shape: Architecture, products: Format) -> bool:
    return shape.norm_first and NORM_COSTS[shape.normalization].is_fused and products != "float16"


def _is_written_out(shape: Architecture, products: Format) -> bool:
    """Whether the attention weights exist in full."""
    return shape.dropout > 0 or (products == "bfloat16" and shape.seq_length <= SHORT_STEPS)


def _optimizer_copies(optimizer: Named) -> int:
    if optimizer.name == "SGD" and optimizer.options.get("momentum"):
        return 1
    return optimizer_entry(optimizer.name).state_copies
