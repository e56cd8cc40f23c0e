"""The settings of a run: which values of its config they are, and how they read in tables and messages."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sequifier.config.dump import inline
from sequifier.config.identity import default_values, plain
from sequifier.config.train import TrainConfig

Setting = str | int | float | bool | None

NO_SETTINGS = frozenset({"seed", "metric", "direction"})
"""Fields that count in the identity and are the same for every configuration of a search."""

DERIVED = frozenset(
    {
        "window_stride",
        *("model_spec.dim_feedforward", "model_spec.initial_embedding_dim", "model_spec.feature_embedding_dims"),
    }
)
"""Fields that follow from others where the search config leaves them out: no columns of the ranked table, then."""


def values_of(config: TrainConfig, keys: Sequence[str]) -> dict[str, Any]:
    """The plain values of a run at dotted keys."""
    values = {}
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        values[key] = plain(value)
    return values


def value_at(document: Mapping[str, Any], key: str, default: Any) -> Any:
    """The value at a dotted key of a YAML document, or the default where the document has none."""
    here: Any = document
    for part in key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return default
        here = here[part]
    return here


def field_of(key: str) -> str:
    """The field of a dotted key; no two fields of settings have the same name."""
    return key.rpartition(".")[2]


def flat(values: Mapping[str, Any]) -> dict[str, Setting]:
    """Settings by field name, each a single value, those at their default too.

    An entry such as an optimizer is its name, and each of its options a setting of its own (`optimizer.weight_decay`);
    other lists and maps are text, as in the table.

    Args:
        values: by dotted key of `train.yaml`.
    """
    found = dict(_flat_defaults())
    for key, value in values.items():
        if key not in NO_SETTINGS:
            name = field_of(key)
            if isinstance(default_values().get(key), Mapping):
                for option in [option for option in found if option.startswith(f"{name}.")]:
                    del found[option]
            found |= _entry(name, value)
    return found


@cache
def _flat_defaults() -> Mapping[str, Setting]:
    found: dict[str, Setting] = {}
    for key, value in default_values().items():
        if key not in NO_SETTINGS:
            found |= _entry(field_of(key), value)
    return found


def _entry(name: str, value: Any) -> dict[str, Setting]:
    """A value as settings: one, or an entry's name and its options."""
    if isinstance(value, str | int | float | None):
        return {name: value}
    if isinstance(value, Mapping) and "name" in value:
        options = {f"{name}.{option}": below for option, below in value.items() if option != "name"}
        return {name: value["name"]} | {
            option: shown(below) if isinstance(below, Mapping | list) else below for option, below in options.items()
        }
    return {name: shown(value)}


def varied_names(settings: Sequence[Mapping[str, Setting]]) -> list[str]:
    """The names of settings in which runs differ, in the order in which they appear."""
    names = dict.fromkeys(name for values in settings for name in values)
    return [name for name in names if len({repr(values.get(name, "-")) for values in settings}) > 1]


def text_of(value: Setting) -> str:
    """A value in few characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def short_text(value: Any) -> str:
    """A value in the ranked table on a terminal: enough digits to tell two sampled values apart."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return text_of(value) if isinstance(value, Setting) else shown(value)


def shown(value: Any) -> str:
    """A value in a table or a message: `AdamW(weight_decay=0.01)`, else as in YAML."""
    value = plain(value)
    if isinstance(value, dict) and "name" in value:
        options = ", ".join(f"{key}={shown(below)}" for key, below in value.items() if key != "name")
        return f"{value['name']}({options})" if options else str(value["name"])
    return str(value) if isinstance(value, str) else inline(value)
