"""Keys of older versions: those with one name today (`old_names` beside the field), and those without one (below).

A renamed key is accepted with a note that names the new one. A key that means something else today, or that has moved
and changed its form, is an error that says what to write instead.

Sources: the configs of Sequifier 0.x, 1.0 and 3.1, and the flat YAML files of this project's first design.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from sequifier.config.base import field_about, fields_with_paths, is_model, plain_type
from sequifier.config.fields import SEARCH_SECTIONS, run_fields
from sequifier.config.loading.yaml12 import dotted
from sequifier.config.train import TrainConfig

_OPTIMIZER = "is an option of the optimizer: write `optimizer: {name: AdamW, %s}` in training_spec"
_SPLIT = "is set in preprocess.yaml: split_ratios"
_VERSION_3 = "is a section of Sequifier 3; its fields are at the top level, in model_spec and in training_spec"

ELSEWHERE: dict[str, str] = {
    "weight_decay": _OPTIMIZER % "weight_decay: 0.1",
    "momentum": _OPTIMIZER.replace("AdamW", "SGD") % "momentum: 0.9",
    "betas": _OPTIMIZER % "betas: [0.9, 0.95]",
    "beta1": _OPTIMIZER % "betas: [0.9, 0.95]",
    "beta2": _OPTIMIZER % "betas: [0.9, 0.95]",
    "train_ratio": _SPLIT,
    "global_training": _VERSION_3,
    "dataset_training": _VERSION_3,
    "training_plan": _VERSION_3,
    "window_length": "is seq_length here, which does not count the event to predict: window_length - 1",
    "window_lengths": "is not needed: train cuts windows of any seq_length from the same splits",
    "cardinality_config": "is min_count and max_categories here",
    "save_interval_batches": "is checkpoint_interval_steps here, which counts optimizer steps",
    "generation_steps": "is autoregression_extra_steps here, which counts the events beyond the known ones",
    "parameters": "is `overrides` here: fields of the base, each with a list of values or {low, high}",
    "prune_trials": "is `pruner: {type: median}` here",
    "pruning_warmup_epochs": "is `pruner: {min_epochs: ...}` here",
    "evaluation_metrics": "is `evaluation_script: {metrics: {name: direction}}` here",
    "evaluation_metric_directions": "is `evaluation_script: {metrics: {name: direction}}` here",
}
"""Keys of older versions without one counterpart -> what to write instead."""


SPELLINGS = {"wd": "weight_decay", "l2": "weight_decay", "l2_penalty": "weight_decay", "beta": "betas"}
"""Other spellings of these keys."""

ELSEWHERE_IN: dict[str, dict[str, str]] = {
    "SearchConfig": {
        "model_spec": "in a search its fields are in `model_hyperparameter_sampling`, each with several values",
        "training_spec": "in a search its fields are in `training_hyperparameter_sampling`, each with several values",
        "model_name": "a search names its runs itself: [hp_search_name]-run-0, ...",
    },
    "TrainConfig": {
        "model_hyperparameter_sampling": "a run has one model: write `model_spec`, or use a search config",
        "training_hyperparameter_sampling": "a run has one training: write `training_spec`, or use a search config",
        "hp_search_name": "a run has a `model_name`; a search config has this key",
    },
}
"""Keys of one kind of config that are written in another -> what to write there."""


@dataclass(frozen=True)
class Renamed:
    """The field that another name refers to.

    Attributes:
        field: its name of today.
        is_old: whether the other name is of an older version; else it is a second name of today.
    """

    field: str
    is_old: bool


@lru_cache(maxsize=1024)  # a search reads thousands of files with the same keys
def renames(model: type[BaseModel], path: tuple[str | int, ...]) -> Mapping[str, Renamed]:
    """The other names of the keys directly below a place in a file.

    Args:
        model: of the file.
        path: of the map, from the top level.
    """
    if path[:1] == ("sections",):
        path = path[2:] if len(path) >= 2 else ("sections",)
    if path[:1] == ("overrides",):
        model, path = TrainConfig, path[1:]
    owner: Any = model
    for part in path:
        field = owner.model_fields.get(str(part)) if is_model(owner) else None
        owner = None if field is None else plain_type(field.annotation)
    found: dict[str, Renamed] = {}
    for name, field in owner.model_fields.items() if is_model(owner) else ():
        found |= {old: Renamed(name, is_old=True) for old in field_about(field).get("old_names", ())}
        found |= {second: Renamed(name, is_old=False) for second in field_about(field).get("second_names", ())}
    return found


def as_word(name: str) -> str:
    """A name as synonyms are written."""
    return name.lower().replace("-", "_").replace(" ", "_")


def called(model: type[BaseModel], word: str) -> list[str]:
    """The dotted keys of the fields of a config that another library calls so."""
    return [
        dotted(path)
        for path, field in fields_with_paths(model)
        if as_word(word) in field_about(field).get("synonyms", "").split() and not field_about(field).get("unused")
    ]


def today(word: str) -> list[str]:
    """The dotted keys of the fields of a run that had this name in an older version."""
    return [field.key for field in run_fields() if word in field.about.get("old_names", ())]


def maps_in(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every map of a file that renamed keys can be in, with its path."""
    if not isinstance(values, dict):
        return
    yield path, values
    for key, below in values.items():
        if key in _HOLD_FIELDS or path[-1:] == ("sections",):
            yield from maps_in(below, (*path, key))


_HOLD_FIELDS = {*SEARCH_SECTIONS, *SEARCH_SECTIONS.values(), "overrides", "sections"}
