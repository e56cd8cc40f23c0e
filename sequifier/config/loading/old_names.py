"""Keys of older versions: those with one name today, and those that have no single counterpart.

A renamed key is accepted with a warning that names the new one. What means something else today, or lies elsewhere in
another form, stays an error, which says what to write instead.

Sources: the configs of Sequifier 0.x, 1.0 and 3.1, and the flat YAML files of this project's first design.
"""

from collections.abc import Iterator, Mapping
from typing import Any

EVERYWHERE = {"project_path": "project_root"}

ROOT: dict[str, dict[str, str]] = {
    "PreprocessConfig": {
        "group_proportions": "split_ratios",
        "seq_step_sizes": "stride_by_split",
        "combine_into_single_file": "merge_output",
        "preprocessing_data_path": "data_path",
        "column_data_types": "column_types",
    },
    "TrainConfig": {
        "ddconfig_path": "metadata_config_path",
        "selected_columns": "input_columns",
        "max_seq_len": "seq_length",
    },
    "InferConfig": {
        "ddconfig_path": "metadata_config_path",
        "selected_columns": "input_columns",
        "inference_size": "prediction_length",
        "column_data_types": "column_types",
        "context_length": "seq_length",
        "deterministic": "enforce_determinism",
        "decode_categories": "map_to_id",
        "autoregressive": "autoregression",
    },
    "SearchConfig": {
        "ddconfig_path": "metadata_config_path",
        "selected_columns": "input_columns",
        "max_seq_len": "seq_length",
        "name": "hp_search_name",
        "method": "search_strategy",
        "trials": "n_samples",
        "global_seed": "sampler_seed",
    },
}
"""Old name -> new name at the top level of a config, by its model."""

MODEL = {
    "d_model": "dim_model",
    "d_model_by_column": "feature_embedding_dims",
    "nhead": "n_head",
    "n_heads": "n_head",
    "d_hid": "dim_feedforward",
    "d_ff": "dim_feedforward",
    "nlayers": "num_layers",
    "n_layers": "num_layers",
    "inference_size": "prediction_length",
}
TRAINING = {
    "lr": "learning_rate",
    "iter_save": "save_interval_epochs",
    "scheduler_step_iter": "scheduler_step_on",
    "checkpoint_cadence": "checkpoint_interval_steps",
    "eval_cadence": "eval_interval_steps",
    "sampling_cadence": "sampling_interval_steps",
}
SECTIONS = {
    "model_spec": MODEL,
    "model_hyperparameter_sampling": MODEL,
    "training_spec": TRAINING,
    "training_hyperparameter_sampling": TRAINING,
}
"""Old name -> new name in each section."""

_OPTIMIZER = "is an option of the optimizer: write `optimizer: {name: AdamW, %s}` in training_spec"
_SPLIT = "is decided in preprocess.yaml: split_ratios"
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


ELSEWHERE_IN: dict[str, dict[str, str]] = {
    "SearchConfig": {
        "model_spec": "in a search its fields stand in `model_hyperparameter_sampling`, each with several values",
        "training_spec": "in a search its fields stand in `training_hyperparameter_sampling`, each with several values",
        "model_name": "a search names its runs itself: [hp_search_name]-run-0, ...",
    },
    "TrainConfig": {
        "model_hyperparameter_sampling": "a run has one model: write `model_spec`, or use a search config",
        "training_hyperparameter_sampling": "a run has one training: write `training_spec`, or use a search config",
        "hp_search_name": "a run has a `model_name`; a search config has this key",
    },
}
"""Keys of one kind of config in another -> what to write there."""


def renames(model: str, path: tuple[str | int, ...]) -> Mapping[str, str]:
    """Old name -> new name of the keys directly below a place in a file.

    Args:
        model: name of the config's class.
        path: of the map, from the top level.
    """
    if path[:1] == ("sections",):
        path = path[2:] if len(path) >= 2 else ("sections",)
    if path[:1] == ("overrides",):
        model, path = "TrainConfig", path[1:]
    if not path:
        return EVERYWHERE | ROOT[model] if model in ROOT else {}
    return SECTIONS.get(str(path[0]), {}) if len(path) == 1 and model in ROOT else {}


def new_place(word: str) -> str | None:
    """The dotted key of today for an old name, wherever it was found; None where there is no single one."""
    places = {f"model_spec.{MODEL[word]}"} if word in MODEL else set()
    places |= {f"training_spec.{TRAINING[word]}"} if word in TRAINING else set()
    return places.pop() if len(places) == 1 else None


def maps_in(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every map of a file that renamed keys can stand in, with its path."""
    if not isinstance(values, dict):
        return
    yield path, values
    for key, below in values.items():
        if key in (*SECTIONS, "overrides", "sections") or path[-1:] == ("sections",):
            yield from maps_in(below, (*path, key))
