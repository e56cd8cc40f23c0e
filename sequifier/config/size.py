"""How large a model is, as formulas: plans and estimates need no torch.

The parameter count is exact. The memory estimate is rough: what a training step on one device holds at its peak.
"""

from sequifier.config.architecture import Architecture

FLOAT_BYTES = 4


def parameter_count(architecture: Architecture) -> int:
    """The number of trainable parameters, exactly as torch counts them."""
    shape = architecture
    width = shape.dim_model
    kinds_of_norm = {"rmsnorm": width, "layer_norm": 2 * width}
    norm = kinds_of_norm[shape.normalization]

    n_categorical = len(shape.categorical)
    real_widths = shape.embedding_widths[n_categorical:]
    embedding = sum(
        n_classes * column_width
        for (_, n_classes), column_width in zip(shape.categorical, shape.embedding_widths[:n_categorical], strict=True)
    )
    embedding += sum(2 * column_width for column_width in real_widths if column_width > 1)  # width 1: the raw value
    if shape.joint_embedding:
        embedding += (sum(shape.embedding_widths) + 1) * width
    positions = shape.seq_length * width if shape.positional_encoding == "learned" else 0

    attention = width * _qkv_width(shape) + width * width
    feed_forward = _matrices(shape) * width * shape.dim_feedforward
    block = attention + feed_forward + 2 * norm
    final_norm = norm if shape.norm_first else 0
    heads = sum((width + 1) * target.output_width for target in shape.targets)
    return embedding + positions + shape.num_layers * block + final_norm + heads


def memory_estimate(architecture: Architecture, *, batch_size: int, optimizer_copies: int = 2) -> int:
    """Bytes that a training step in float32 needs at its peak, beside the libraries and the data.

    Weights, their gradients and `optimizer_copies` more of the same size (2 for Adam); and for each step of each window
    what the backward pass needs again, in each layer: five vectors of width D and one (layer_norm) or three (rmsnorm)
    per norm; the queries, keys and values, thrice with rotary positions; as many vectors of width F as there are
    feed-forward matrices, and one more for swiglu. Outside the layers: the embeddings, and the logits three times.
    Attention matrices exist in full with dropout only, three per head. The sum is 1.2 to 1.8 times what
    autograd was measured to keep, which leaves room for the gradients of activations that come and go.

    Args:
        architecture: the model.
        batch_size: windows in one forward pass (after any cut into micro-batches).
        optimizer_copies: numbers that the optimizer keeps for each parameter.
    """
    shape = architecture
    weights = parameter_count(shape) * (2 + optimizer_copies)
    rope = shape.positional_encoding == "rope"
    per_norm = 3 if shape.normalization == "rmsnorm" else 1
    layer = (5 + 2 * per_norm) * shape.dim_model + _qkv_width(shape) * (3 if rope else 1)
    layer += (_matrices(shape) + (1 if shape.activation_fn == "swiglu" else 0)) * shape.dim_feedforward
    if shape.dropout > 0:
        layer += 3 * shape.n_head * shape.seq_length + 3 * shape.dim_model + shape.dim_feedforward
    outside = sum(shape.embedding_widths) + 4 * shape.dim_model
    outside += 3 * sum(target.output_width for target in shape.targets)
    activations = batch_size * shape.seq_length * (shape.num_layers * layer + outside)
    return FLOAT_BYTES * (weights + activations)


def _qkv_width(shape: Architecture) -> int:
    return (shape.n_head + 2 * shape.n_kv_heads) * (shape.dim_model // shape.n_head)


def _matrices(shape: Architecture) -> int:
    """Matrices of one feed-forward part."""
    return 3 if shape.activation_fn == "swiglu" else 2


def size_text(n_bytes: float) -> str:
    """Bytes as a person says them: 40 kB, 9.9 MB, 34 MB, 1.2 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:,.{0 if unit == 'MB' and n_bytes >= 10 * factor else 1}f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"
