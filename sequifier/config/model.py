"""`model_spec`: the shape of the transformer."""

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sequifier.config.base import StrictModel, about
from sequifier.config.catalogue.layers import ActivationName, NormName


class ModelSpec(StrictModel):
    """The shape of the transformer."""

    dim_model: int = Field(
        128,
        gt=0,
        le=65536,
        description="Width of the model: the length of the vector that stands for one event.",
        json_schema_extra=about(
            old_names=("d_model",),
            searchable=True,
            interacts="n_head divides it; initial_embedding_dim or joint_embedding_dim equals it",
            change="64 for small tables, 256 to 512 when more width still lowers the validation loss",
            unit="numbers for an event",
        ),
    )
    n_head: int = Field(
        4,
        gt=0,
        le=1024,
        description="Attention heads of each layer.",
        json_schema_extra=about(
            old_names=(
                "nhead",
                "n_heads",
            ),
            searchable=True,
            interacts="divides dim_model",
            change="keep dim_model / n_head at 16 to 64",
            unit="heads",
        ),
    )
    num_layers: int = Field(
        3,
        gt=0,
        le=512,
        description="Transformer layers.",
        json_schema_extra=about(
            old_names=(
                "nlayers",
                "n_layers",
            ),
            searchable=True,
            change="2 for small tables; deeper for long or regular sequences",
            unit="layers",
            interacts="a deeper model wants a lower learning_rate, or warmup_steps",
        ),
    )
    dim_feedforward: int = Field(
        default_factory=lambda values: 4 * values.get("dim_model", 128),
        gt=0,
        le=1048576,
        description="Hidden width of each layer's feed-forward part; left out: 4 x dim_model.",
        json_schema_extra=about(
            old_names=(
                "d_hid",
                "d_ff",
            ),
            searchable=True,
            interacts="swiglu uses three matrices of this width, gelu and relu two",
            unit="numbers",
            change="2 x dim_model for a smaller model",
            default="4 x dim_model",
        ),
    )
    initial_embedding_dim: int = Field(
        default_factory=lambda values: values.get("dim_model", 128),
        gt=0,
        le=65536,
        description="Width of all column embeddings together; left out: dim_model.",
        json_schema_extra=about(
            searchable=True,
            interacts="equals dim_model when joint_embedding_dim is null",
            unit="numbers for an event",
            change="many columns need more width than the model has: with joint_embedding_dim",
            default="dim_model",
        ),
    )
    joint_embedding_dim: int | None = Field(
        None,
        gt=0,
        le=65536,
        description="Null, or dim_model: a linear layer then mixes the column embeddings into this width.",
        json_schema_extra=about(
            searchable=True,
            change="set it when initial_embedding_dim differs from dim_model",
            unit="numbers for an event",
            interacts="equals dim_model; frees initial_embedding_dim from it",
        ),
    )
    feature_embedding_dims: dict[str, int] | None = Field(
        None,
        description="Embedding width of each input column; null shares initial_embedding_dim out evenly.",
        json_schema_extra=about(
            old_names=("d_model_by_column",),
            searchable=True,
            interacts="one entry for each input column; sums to initial_embedding_dim",
            unit="numbers for a column",
            change="a column with many classes deserves more width than a flag",
        ),
    )
    activation_fn: ActivationName = Field(
        "swiglu",
        description="Non-linearity of the feed-forward part.",
        json_schema_extra=about(
            searchable=True,
            interacts="dim_feedforward: swiglu uses three matrices of it, the others two",
            change="relu is the fastest; swiglu is rarely worse",
        ),
    )
    attention_type: Literal["mha", "mqa", "gqa"] = Field(
        "mha",
        description="mha: every head has its own keys and values; mqa: all share one; gqa: groups of heads share.",
        json_schema_extra=about(
            searchable=True,
            interacts="n_kv_heads counts the groups of gqa",
            change="gqa or mqa for wide models and long windows: fewer keys and values",
        ),
    )
    n_kv_heads: int | None = Field(
        None,
        gt=0,
        description="Heads of keys and values; null: n_head for mha and gqa, 1 for mqa.",
        json_schema_extra=about(
            searchable=True,
            interacts="divides n_head; mha takes null or n_head, mqa null or 1",
            unit="heads",
            change="n_head / 4 is a common choice for gqa",
        ),
    )
    normalization: NormName = Field(
        "rmsnorm",
        description="Kind of normalisation.",
        json_schema_extra=about(
            searchable=True, interacts="norm_first says where it stands", change="layer_norm to match another model"
        ),
    )
    norm_first: bool = Field(
        True,
        description="Normalise before attention and feed-forward (pre-norm) or after them (post-norm).",
        json_schema_extra=about(
            searchable=True,
            interacts="false wants warmup_steps and a lower learning_rate",
            change="false to match the original transformer",
        ),
    )
    positional_encoding: Literal["learned", "rope"] = Field(
        "learned",
        description="learned: a vector for each step of the window; rope: queries and keys rotated by their step.",
        json_schema_extra=about(
            searchable=True,
            interacts="rope needs an even dim_model / n_head",
            change="rope for long windows, or where distance matters more than place",
        ),
    )
    rope_theta: float = Field(
        10000.0,
        gt=0,
        description="Base of the rotation frequencies.",
        json_schema_extra=about(
            searchable=True,
            interacts="only for positional_encoding rope",
            unit="no unit",
            change="larger for windows of thousands of events",
        ),
    )
    prediction_length: int = Field(
        1,
        gt=0,
        description="Predictions that inference and exported models return: those after the last so many events.",
        json_schema_extra=about(
            old_names=("inference_size",),
            unit="events",
            interacts="at most seq_length",
            change="predictions are wanted for several of the last events of a window",
        ),
    )

    @field_validator("feature_embedding_dims")
    @classmethod
    def _positive_widths(cls, widths: dict[str, int] | None) -> dict[str, int] | None:
        for column, width in (widths or {}).items():
            if width < 1:
                raise ValueError(f"{column}: {width} is not a width; at least 1")
        return widths

    # Each rule is a field validator, not one for the whole model, so that an error points at its line.
    @field_validator("n_head")
    @classmethod
    def _heads_divide_width(cls, n_head: int, info: ValidationInfo) -> int:
        dim_model = info.data.get("dim_model")
        if dim_model is not None and dim_model % n_head:
            raise ValueError(
                f"dim_model: {dim_model} is not divisible by n_head: {n_head}; "
                f"near heads that divide it: {_near_divisors(dim_model, n_head)}"
            )
        return n_head

    @field_validator("n_kv_heads")
    @classmethod
    def _key_value_heads(cls, n_kv_heads: int | None, info: ValidationInfo) -> int | None:
        n_head, attention = info.data.get("n_head"), info.data.get("attention_type")
        if n_kv_heads is None or n_head is None or attention is None:
            return n_kv_heads
        if attention == "mha" and n_kv_heads != n_head:
            raise ValueError(f"attention_type mha takes null or n_head ({n_head}), got {n_kv_heads}")
        if attention == "mqa" and n_kv_heads != 1:
            raise ValueError(f"attention_type mqa takes null or 1, got {n_kv_heads}")
        if n_head % n_kv_heads:
            raise ValueError(
                f"n_head: {n_head} is not divisible by n_kv_heads: {n_kv_heads}; "
                f"near values that divide it: {_near_divisors(n_head, n_kv_heads)}"
            )
        return n_kv_heads

    @field_validator("positional_encoding")
    @classmethod
    def _even_head_width(cls, encoding: str, info: ValidationInfo) -> str:
        dim_model, n_head = info.data.get("dim_model"), info.data.get("n_head")
        if encoding == "rope" and dim_model and n_head and (dim_model // n_head) % 2:
            raise ValueError(f"rope needs an even head width; dim_model / n_head is {dim_model // n_head}")
        return encoding

    @field_validator("joint_embedding_dim")
    @classmethod
    def _joint_is_model_width(cls, joint: int | None, info: ValidationInfo) -> int | None:
        dim_model = info.data.get("dim_model")
        if joint is not None and dim_model is not None and joint != dim_model:
            raise ValueError(f"joint_embedding_dim: {joint} must be null or dim_model ({dim_model})")
        return joint

    @model_validator(mode="after")
    def _widths_agree(self) -> Self:
        if self.joint_embedding_dim is None and self.initial_embedding_dim != self.dim_model:
            raise ValueError(
                f"initial_embedding_dim: {self.initial_embedding_dim} differs from dim_model: {self.dim_model}; "
                f"make them equal or set joint_embedding_dim: {self.dim_model}"
            )
        widths = self.feature_embedding_dims
        if widths is not None and sum(widths.values()) != self.initial_embedding_dim:
            raise ValueError(
                f"feature_embedding_dims: sums to {sum(widths.values())}, not to "
                f"initial_embedding_dim: {self.initial_embedding_dim}"
            )
        return self

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values, with null resolved."""
        if self.n_kv_heads is not None:
            return self.n_kv_heads
        return 1 if self.attention_type == "mqa" else self.n_head


def _near_divisors(number: int, wanted: int) -> str:
    divisors = [candidate for candidate in range(1, min(number, 4 * wanted) + 1) if number % candidate == 0]
    return ", ".join(str(divisor) for divisor in sorted(sorted(divisors, key=lambda d: abs(d - wanted))[:3]))
