"""The kinds of config, and the kind of a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sequifier.config.inference import InferConfig
from sequifier.config.loading.old_names import renames
from sequifier.config.loading.read import read_values
from sequifier.config.loading.yaml12 import parse_file
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem

KINDS: dict[str, type[BaseModel]] = {
    "preprocess": PreprocessConfig,
    "train": TrainConfig,
    "infer": InferConfig,
    "hyperparameter_search": SearchConfig,
    "sampler_search": SamplerSearchConfig,
}
"""The model of each kind of config, by the name of its default file, in the order in which a project uses them."""


OWN_KEYS = {
    "model_name": "train",
    "hp_search_name": "hyperparameter_search",
    "sampler_search_name": "sampler_search",
    "split_ratios": "preprocess",
}
"""Keys that only one kind has, and that nobody writes into another by mistake."""

_SHARED = ("base_config_path", "sections")


def kind_of(path: Path) -> str:
    """The kind of a config file: by its keys, or by its file name where the keys fit several kinds.

    Raises:
        ConfigError: the file cannot be read, or could be of several kinds.
    """
    document = parse_file(path) if path.is_file() else None
    own = document.values if document is not None and isinstance(document.values, dict) else {}
    decisive = {kind for key, kind in OWN_KEYS.items() if key in own}
    fitting = sorted(decisive) if len(decisive) == 1 else best_kinds(own)
    if len(fitting) != 1:
        fitting = best_kinds(read_values(path))  # with the keys it inherits
    if len(fitting) == 1:
        return fitting[0]
    named = [kind for kind in KINDS if path.stem.replace("-", "_").startswith(kind)]
    if len(named) == 1 and named[0] in (fitting or KINDS):
        return named[0]
    kinds = ", ".join(fitting or KINDS)
    said = f"its keys fit several kinds of config: {kinds}"
    if not fitting:
        keys = ", ".join(f"`{key}`" for key in list(own)[:5])
        said = f"none of its keys belongs to a config: {keys}" if keys else "the file has no keys"
    fix = f"give its kind with --kind: {kinds}" if fitting else "`sequifier make NAME` writes configs to fill in"
    raise ConfigError([Problem("", said, str(path), fix)], where=str(path))


def best_kinds(values: Mapping[str, Any]) -> list[str]:
    """The kinds that have most of these keys; none where no key is known."""
    known = {
        kind: sum(key in model.model_fields or key in renames(model, ()) for key in values if key not in _SHARED)
        for kind, model in KINDS.items()
    }
    most = max(known.values())
    return [kind for kind, number in known.items() if number == most] if most else []
