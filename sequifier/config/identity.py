"""The identity of a run: a hash of everything that determines its result.

The config is first brought to canonical form, in which equal settings have one spelling. The identity is then the
SHA-256 of canonical JSON of {schema, config: the fields that differ from their schema-1 defaults, data}. It uses the
literal defaults below, not those of the models: a default may change without changing old identities, and a new field
changes none as long as its default reproduces the old behaviour. If that becomes impossible, the schema number rises,
with a rule that upgrades stored identities.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sequifier.config.base import Named
from sequifier.config.fields import COUNTED, run_fields
from sequifier.config.model import ModelSpec
from sequifier.config.train import TrainConfig
from sequifier.config.training import TrainingSpec

SCHEMA = 1

# The defaults of schema 1: literals, frozen with it. A field without an entry (mandatory, derived from dim_model, or of
# a later version) is compared with its default of today.
ROOT_DEFAULTS: dict[str, Any] = {
    "user": {},
    "input_columns": None,
    "seq_length": None,
    "window_stride": None,
    "metric": "val_loss",
    "direction": "minimize",
    "seed": 1010,
    "hooks": {},
}
MODEL_DEFAULTS: dict[str, Any] = {
    "dim_model": 128,
    "n_head": 4,
    "num_layers": 3,
    "joint_embedding_dim": None,
    "feature_embedding_dims": None,
    "activation_fn": "swiglu",
    "attention_type": "mha",
    "n_kv_heads": None,
    "normalization": "rmsnorm",
    "norm_first": True,
    "positional_encoding": "learned",
    "rope_theta": 10000.0,
    "prediction_length": 1,
}
TRAINING_DEFAULTS: dict[str, Any] = {
    "epochs": 10,
    "max_steps": None,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "accumulation_steps": 1,
    "effective_batch_size": None,
    "dropout": 0.0,
    "optimizer": {"name": "Adam"},
    "scheduler": {"name": "StepLR", "step_size": 1, "gamma": 0.99},
    "scheduler_step_on": "epoch",
    "warmup_steps": 0,
    "decay_all": False,
    "gradient_clip": 0.5,
    "criterion": {},
    "loss_weights": None,
    "class_weights": None,
    "early_stopping_epochs": None,
    "evaluation_context": "full",
    "evaluation_stride": None,
    "eval_interval_steps": None,
    "enforce_determinism": False,
    "layer_type_dtypes": None,
    "layer_autocast": True,
    "torch_compile": "auto",
    "distributed": False,
    "data_parallelism": None,
    "world_size": 1,
}

DEFAULTS: dict[type[BaseModel], dict[str, Any]] = {
    TrainConfig: ROOT_DEFAULTS,
    ModelSpec: MODEL_DEFAULTS,
    TrainingSpec: TRAINING_DEFAULTS,
}
_SCALARS = (str, int, float, bool, type(None))


def canonical_attention(attention_type: str, n_kv_heads: int | None, n_head: int) -> tuple[str, int | None, str]:
    """The canonical form of how heads share keys and values.

    Returns:
        attention_type, n_kv_heads, and the reason when a requested value is replaced, else "".
    """
    match attention_type:
        case "mha" if n_kv_heads is None:
            return "mha", None, ""
        case "mha":
            return "mha", None, f"mha has one group per head: n_kv_heads {n_kv_heads} -> null"
        case "mqa" if n_kv_heads in (None, 1):
            return "mqa", 1, ""
        case "mqa":
            return "mqa", 1, f"mqa has a single group: n_kv_heads {n_kv_heads} -> 1"
        case _ if n_kv_heads is None:
            return "mha", None, "gqa without n_kv_heads has one group per head, which is mha"
        case _ if n_kv_heads == 1:
            return "mqa", 1, "gqa with n_kv_heads 1 is mqa"
        case _ if n_kv_heads == n_head:
            return "mha", None, f"gqa with n_kv_heads {n_kv_heads} = n_head has one group per head, which is mha"
        case _ if n_head % n_kv_heads:
            return (
                "mha",
                None,
                f"n_kv_heads {n_kv_heads} does not divide n_head {n_head}: gqa -> mha, n_kv_heads -> null",
            )
    return attention_type, n_kv_heads, ""


def canonical_model(spec: ModelSpec) -> ModelSpec:
    """The same model with its attention in canonical form, and fields without effect at their defaults."""
    attention_type, n_kv_heads, _ = canonical_attention(spec.attention_type, spec.n_kv_heads, spec.n_head)
    changes: dict[str, Any] = {}
    if (attention_type, n_kv_heads) != (spec.attention_type, spec.n_kv_heads):
        changes |= {"attention_type": attention_type, "n_kv_heads": n_kv_heads}
    if spec.positional_encoding == "learned" and spec.rope_theta != MODEL_DEFAULTS["rope_theta"]:
        changes["rope_theta"] = MODEL_DEFAULTS["rope_theta"]
    return spec.model_copy(update=changes) if changes else spec


def canonical_training(spec: TrainingSpec) -> TrainingSpec:
    """The same training with fields without effect at their defaults."""
    if spec.layer_type_dtypes is None and not spec.layer_autocast:
        return spec.model_copy(update={"layer_autocast": True})
    return spec


def canonical(config: TrainConfig) -> TrainConfig:
    """The same run in canonical form."""
    model_spec, training_spec = canonical_model(config.model_spec), canonical_training(config.training_spec)
    if model_spec is config.model_spec and training_spec is config.training_spec:
        return config
    return config.model_copy(update={"model_spec": model_spec, "training_spec": training_spec})


def plain(value: Any) -> Any:
    """A config or one of its values in the types of JSON: maps, lists, strings, numbers, booleans, None."""
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Named):
        return {"name": value.name, **{option: plain(below) for option, below in value.options.items()}}
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {key: plain(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(below) for below in value]
    return value


def differing(section: TrainConfig | ModelSpec | TrainingSpec) -> dict[str, Any]:
    """The fields of one section that count and differ from their schema-1 defaults, as plain values.

    For a `TrainConfig` these are the fields at the top level, without the two sections.
    """
    found = {}
    for name, default in _counted(type(section)):
        value = plain(getattr(section, name))
        # By type too: 1 and true are equal, but do not train alike.
        if value != default or type(value) is not type(default):
            found[name] = value
    return found


@cache
def _counted(model: type[TrainConfig | ModelSpec | TrainingSpec]) -> tuple[tuple[str, Any], ...]:
    """Every field that counts, with its schema-1 default."""
    defaults = DEFAULTS[model]
    # A field of a later version is not in the table: its default reproduces what there was before it.
    return tuple(
        (field.name, defaults[field.name] if field.name in defaults else _default_of_today(field.info))
        for field in run_fields()
        if field.owner is model and field.key in COUNTED
    )


def _default_of_today(info: FieldInfo) -> Any:
    """The default of a field, PydanticUndefined where it is mandatory or follows from other fields."""
    is_plain = info.default_factory is None or info.default_factory_takes_validated_data
    return plain(info.default if is_plain else info.get_default(call_default_factory=True))


def by_key(root: Mapping[str, Any], model: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the three sections of a `train.yaml` by dotted key."""
    sections = (("", root), ("model_spec.", model), ("training_spec.", training))
    return {f"{section}{name}": value for section, values in sections for name, value in values.items()}


@cache
def default_values() -> Mapping[str, Any]:
    """The schema-1 default of each field that counts, by dotted key; mandatory and derived fields have none."""
    defaults = by_key(*(dict(_counted(model)) for model in (TrainConfig, ModelSpec, TrainingSpec)))
    return {key: value for key, value in defaults.items() if value is not PydanticUndefined}


def setting_of(searched: Mapping[str, Any], fixed: Mapping[str, Any], key: str) -> Any:
    """The value of a run at a dotted key, from its searched values and its fixed ones that are not the default."""
    return searched.get(key, fixed.get(key, default_values().get(key)))


def identity_of(root: Mapping[str, Any], model: Mapping[str, Any], training: Mapping[str, Any], data: str) -> str:
    """The identity, from the `differing` fields of each section and the data fingerprint."""
    config = {**root, "model_spec": model, "training_spec": training}
    content = {"schema": SCHEMA, "config": config, "data": data}
    canonical_json = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical_json.encode()).hexdigest()


def identity(config: TrainConfig, fingerprint: str) -> str:
    """The identity of a run: 64 hexadecimal digits.

    Args:
        config: resolved, so that it has every value that the data decides; brought to canonical form here.
        fingerprint: of the data set.
    """
    config = canonical(config)
    return identity_of(differing(config), differing(config.model_spec), differing(config.training_spec), fingerprint)
