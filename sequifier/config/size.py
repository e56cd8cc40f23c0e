"""Number of weights of a model as a formula, without torch. The memory of training: `config/memory.py`."""

from sequifier.config.architecture import Architecture
from sequifier.config.catalogue.layers import ACTIVATION_COSTS, NORM_COSTS


def parameter_count(architecture: Architecture) -> int:
    """The number of trainable parameters, exactly as torch counts them."""
    shape = architecture
    width = shape.dim_model
    norm = NORM_COSTS[shape.normalization].n_vectors * width

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

    attention = width * qkv_width(shape) + width * width
    feed_forward = ACTIVATION_COSTS[shape.activation_fn].n_matrices * width * shape.dim_feedforward
    block = attention + feed_forward + 2 * norm
    final_norm = norm if shape.norm_first else 0
    outputs = shape.horizon * sum(target.output_width for target in shape.targets if target.name not in shape.tied)
    heads = (width + 1) * outputs
    if shape.known_future:
        heads += width * (sum(n_classes for _, n_classes in shape.known_categorical) + 2 * len(shape.known_real))
        heads += width * (width + 1 + sum(target.output_width for target in shape.targets))
    return embedding + positions + shape.num_layers * block + final_norm + heads


def dense_parameter_count(architecture: Architecture) -> int:
    """The number of parameters with which every event is multiplied: all but the embeddings of categories.

    An embedding that decodes a target too is dense.
    """
    columns = zip(architecture.categorical, architecture.embedding_widths[: len(architecture.categorical)], strict=True)
    looked_up = sum(n_classes * width for (name, n_classes), width in columns if name not in architecture.tied)
    return parameter_count(architecture) - looked_up


def qkv_width(shape: Architecture) -> int:
    """Total width of queries, keys and values."""
    return (shape.n_head + 2 * shape.n_kv_heads) * (shape.dim_model // shape.n_head)


def size_text(n_bytes: float) -> str:
    """Bytes in a readable unit: 40 kB, 9.9 MB, 34 MB, 1.2 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:,.{0 if unit == 'MB' and n_bytes >= 10 * factor else 1}f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"
