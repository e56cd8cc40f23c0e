"""`model_spec`: the shape of the transformer."""

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sequifier.config.base import NO_UNIT, DistinctNames, StrictModel, about
from sequifier.config.catalogue.distributions import POINT, DistributionName
from sequifier.config.catalogue.layers import ActivationName, NormName


class ModelSpec(StrictModel):
    """The shape of the transformer."""

    dim_model: int = Field(
        128,
        gt=0,
        le=65536,
        description="Width of the model: the length of the vector that represents one event.",
        json_schema_extra=about(
            unit="numbers per event",
            interacts="n_head, which must divide it; initial_embedding_dim or joint_embedding_dim, which must equal it",
            change="to 64 for small tables, to a value from 256 to 512 if more width lowers the validation loss",
            searchable=True,
            old_names=("d_model",),
            synonyms="hidden hidden_size hidden_dim hidden_units width units n_embd embed_dim embedding_dim "
            "embedding_size model_dim",
        ),
    )
    n_head: int = Field(
        4,
        gt=0,
        le=1024,
        description="Number of attention heads in each layer.",
        json_schema_extra=about(
            unit="heads",
            interacts="dim_model, which it must divide",
            change="to a value with which dim_model / n_head is between 16 and 64",
            searchable=True,
            old_names=(
                "nhead",
                "n_heads",
            ),
            synonyms="heads head num_heads attention_heads num_attention_heads",
        ),
    )
    num_layers: int = Field(
        3,
        gt=0,
        le=512,
        description="Number of transformer layers.",
        json_schema_extra=about(
            unit="layers",
            interacts="learning_rate and warmup_steps: a deeper model needs a lower rate or a warm-up",
            change="to 2 for small tables, to more for long or regular sequences",
            searchable=True,
            old_names=(
                "nlayers",
                "n_layers",
            ),
            synonyms="layers layer depth n_layer num_hidden_layers num_blocks n_blocks blocks",
        ),
    )
    dim_feedforward: int = Field(
        default_factory=lambda values: 4 * values.get("dim_model", 128),
        gt=0,
        le=1048576,
        description="Width of the hidden layer in each feed-forward block; left out: 4 x dim_model.",
        json_schema_extra=about(
            unit="numbers",
            interacts="activation_fn: swiglu has three matrices of this width, gelu and relu two",
            change="to 2 x dim_model for a smaller model",
            default="4 x dim_model",
            searchable=True,
            old_names=(
                "d_hid",
                "d_ff",
            ),
            synonyms="feedforward feed_forward ffn ffn_dim mlp_dim mlp_ratio intermediate_size d_inner dim_ff",
        ),
    )
    initial_embedding_dim: int = Field(
        default_factory=lambda values: values.get("dim_model", 128),
        gt=0,
        le=65536,
        description="Total width of all column embeddings; left out: dim_model.",
        json_schema_extra=about(
            unit="numbers per event",
            interacts="dim_model, which it must equal when joint_embedding_dim is null",
            change="when many columns need more width than the model has, together with joint_embedding_dim",
            default="dim_model",
            searchable=True,
        ),
    )
    joint_embedding_dim: int | None = Field(
        None,
        gt=0,
        le=65536,
        description="Output width of a linear layer that mixes the column embeddings. Must be dim_model, or null for "
        "no such layer.",
        json_schema_extra=about(
            unit="numbers per event",
            interacts="dim_model, which it must equal; initial_embedding_dim, which may then differ",
            change="to dim_model when initial_embedding_dim differs from it",
            searchable=True,
        ),
    )
    feature_embedding_dims: dict[str, int] | None = Field(
        None,
        description="Embedding width of each input column; null: initial_embedding_dim, divided evenly.",
        json_schema_extra=about(
            unit="numbers per column",
            interacts="input_columns (one entry each) and initial_embedding_dim (their sum)",
            change="when a column with many classes needs more width than one with few",
            searchable=True,
            old_names=("d_model_by_column",),
            synonyms="embedding_dims embedding_sizes embedding_widths",
        ),
    )
    activation_fn: ActivationName = Field(
        "swiglu",
        description="Activation function of the feed-forward blocks.",
        json_schema_extra=about(
            interacts="dim_feedforward: swiglu has three matrices of that width, the others two",
            change="to relu for the fastest training; the losses of swiglu are rarely higher",
            searchable=True,
            synonyms="activation act act_fn hidden_act nonlinearity",
        ),
    )
    attention_type: Literal["mha", "mqa", "gqa"] = Field(
        "mha",
        description="How attention heads share keys and values. `mha`: each head has its own; `mqa`: all heads share "
        "one; `gqa`: groups of heads share.",
        json_schema_extra=about(
            interacts="n_kv_heads, the number of groups of gqa",
            change="to gqa or mqa for wide models and long windows, to save memory for keys and values",
            searchable=True,
            synonyms="attention",
        ),
    )
    n_kv_heads: int | None = Field(
        None,
        gt=0,
        description="Number of heads of keys and values; null: n_head for mha and gqa, 1 for mqa.",
        json_schema_extra=about(
            unit="heads",
            interacts="n_head, which it must divide (where it does not, train reports an error and a search uses mha); "
            "attention_type: mha takes null or n_head, mqa null or 1",
            change="to n_head / 4, a common choice for gqa",
            searchable=True,
            synonyms="kv_heads num_kv_heads num_key_value_heads",
        ),
    )
    normalization: NormName = Field(
        "rmsnorm",
        description="Kind of normalization layer.",
        json_schema_extra=about(
            interacts="norm_first (where it is applied)",
            change="to layer_norm to match another model",
            searchable=True,
            synonyms="norm norm_type normalisation layernorm",
        ),
    )
    norm_first: bool = Field(
        True,
        description="Whether to normalize before attention and feed-forward (pre-norm) instead of after them "
        "(post-norm).",
        json_schema_extra=about(
            interacts="warmup_steps and learning_rate: post-norm needs a warm-up and a lower rate",
            change="to false to match the original transformer",
            searchable=True,
            synonyms="pre_norm prenorm pre_ln post_norm",
        ),
    )
    positional_encoding: Literal["learned", "rope"] = Field(
        "learned",
        description="How the model represents positions. `learned`: a vector for each step of the window; `rope`: "
        "queries and keys rotated by their step.",
        json_schema_extra=about(
            interacts="dim_model / n_head, which must be even for rope; end_event and time_remaining, which need rope",
            change="to rope for long windows, or where distance matters more than position",
            searchable=True,
            synonyms="position_encoding positional_embedding position_embedding pos_encoding pos_emb rotary",
        ),
    )
    rope_theta: float = Field(
        10000.0,
        gt=0,
        description="Base of the rotation frequencies.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="positional_encoding: rope",
            change="to more for windows of thousands of events",
            searchable=True,
            synonyms="theta rope_base rotary_base",
        ),
    )
    tie_weights: DistinctNames = Field(
        [],
        description="Categorical targets whose output weights are their input embedding: one table for both, without "
        "an output bias.",
        json_schema_extra=about(
            interacts="target_columns and input_columns, which must both have the column; joint_embedding_dim, which "
            "is needed where there are other input columns",
            change="for a target of thousands of classes, such as items: half the weights, and often a lower loss",
            searchable=True,
            synonyms="tied_weights weight_tying tie_embeddings tie_word_embeddings tied share_embeddings "
            "shared_embeddings",
        ),
    )
    distribution: dict[str, DistributionName] = Field(
        {},
        description="What the model predicts for a real target. `point` (the default): one value; `quantiles`: 19 "
        "quantiles, from 5 % to 95 %, which never cross; `lognormal_mixture`: a mixture of log-normal distributions, "
        "for targets above 0, such as time_gap.",
        json_schema_extra=about(
            interacts="target_columns; criterion, which is for `point`: the loss of quantiles is the pinball loss, the "
            "one of lognormal_mixture the negative log-likelihood",
            change="to quantiles when you need to know how certain a forecast is, to lognormal_mixture for the time "
            "until the next event",
            searchable=True,
            synonyms="quantile quantile_regression prediction_interval intervals uncertainty probabilistic "
            "distribution_output distr_output density mixture",
        ),
    )
    prediction_length: int = Field(
        1,
        gt=0,
        description="Number of predictions that inference and exported models return for a window: one after each of "
        "its last prediction_length events. It is not the forecast horizon, "
        "which is autoregression_extra_steps of infer.yaml.",
        json_schema_extra=about(
            unit="events",
            interacts="seq_length, which it must not exceed",
            change="when you need predictions after several of the last events of a window",
            old_names=("inference_size",),
            synonyms="pred_len n_predictions",
        ),
    )

    @field_validator("feature_embedding_dims")
    @classmethod
    def _positive_widths(cls, widths: dict[str, int] | None) -> dict[str, int] | None:
        for column, width in (widths or {}).items():
            if width < 1:
                raise ValueError(f"{column}: the width {width} is less than 1")
        return widths

    # Each rule is a field validator, not one for the whole model, so that an error points at its line.
    @field_validator("n_head")
    @classmethod
    def _heads_divide_width(cls, n_head: int, info: ValidationInfo) -> int:
        dim_model = info.data.get("dim_model")
        if dim_model is not None and dim_model % n_head:
            raise ValueError(
                f"dim_model: {dim_model} is not divisible by n_head: {n_head}; "
                f"nearest n_head that divides it: {_near_divisors(dim_model, n_head)}"
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
                f"nearest values that divide it: {_near_divisors(n_head, n_kv_heads)}"
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

    def distribution_of(self, target: str) -> DistributionName | None:
        """The distribution of a target; None: its value or class is predicted."""
        found = self.distribution.get(target, POINT)
        return None if found == POINT else found

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values, with null resolved."""
        if self.n_kv_heads is not None:
            return self.n_kv_heads
        return 1 if self.attention_type == "mqa" else self.n_head


def _near_divisors(number: int, wanted: int) -> str:
    divisors = [candidate for candidate in range(1, min(number, 4 * wanted) + 1) if number % candidate == 0]
    return ", ".join(str(divisor) for divisor in sorted(sorted(divisors, key=lambda d: abs(d - wanted))[:3]))
