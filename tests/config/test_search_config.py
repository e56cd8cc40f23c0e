"""A search config: what it takes, and what it says about what it does not take."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.config.loading.load import load
from sequifier.config.model import ModelSpec
from sequifier.config.ranges import Range
from sequifier.config.search import SearchConfig
from sequifier.config.search_sections import ModelSampling, TrainingSampling, searchable_fields
from sequifier.config.training import TrainingSpec
from sequifier.errors import ConfigError

MANDATORY: dict[str, Any] = {"metadata_config_path": "m.json", "hp_search_name": "s", "target_columns": ["y"]}
MODEL, TRAINING = "model_hyperparameter_sampling", "training_hyperparameter_sampling"


def read(*, model: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **root: Any) -> SearchConfig:
    sections = {MODEL: model or {}, TRAINING: training or {}}
    return SearchConfig.model_validate(MANDATORY | {"search_strategy": "grid"} | sections | root)


def problems(**values: Any) -> dict[tuple[Any, ...], str]:
    """Location -> message of everything that is wrong."""
    with pytest.raises(ValidationError) as caught:
        read(**values)
    return {detail["loc"]: detail["msg"].removeprefix("Value error, ") for detail in caught.value.errors()}


def test_every_field_of_a_run_may_be_given_in_a_search() -> None:
    assert set(ModelSampling.model_fields) == set(ModelSpec.model_fields)
    assert set(TrainingSampling.model_fields) == set(TrainingSpec.model_fields) - {"effective_batch_size"}


def test_a_scalar_counts_as_a_list_of_one_and_a_field_left_out_has_the_default_of_a_run() -> None:
    config = read(model={"n_head": 2}, seq_length=5)
    assert config.searched("n_head") == [2]
    assert config.searched("seq_length") == [5]
    assert config.searched("dim_model") == [128]
    assert config.searched("dim_feedforward") is None  # 4 x dim_model of each run
    assert config.training_hyperparameter_sampling.keep_checkpoints == 1  # type: ignore[attr-defined]


def test_every_value_is_validated_at_its_own_place() -> None:
    found = problems(
        model={"dim_model": [64, "x", 0], "num_layers": True, "activation_fn": ["swiglu", "gelo"], "depth": 3},
        training={"dropout": [0.1, 1.0], "epochs": 2.5},
        seq_length=[3, 0],
    )
    assert set(found) == {
        (MODEL, "dim_model", 1),
        (MODEL, "dim_model", 2),
        (MODEL, "num_layers"),
        (MODEL, "activation_fn", 1),
        (MODEL, "depth"),
        (TRAINING, "dropout", 1),
        (TRAINING, "epochs"),
        ("seq_length", 1),
    }
    assert found[MODEL, "dim_model", 2] == "Input should be greater than 0"


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(
        "metadata_config_path: m.json\nhp_search_name: s\ntarget_columns: [y]\nsearch_strategy: grid\n"
        "model_hyperparameter_sampling:\n  dim_model:\n    - 64\n    - -1\n  n_haeds: 2\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load(SearchConfig, path)
    assert {(problem.source, problem.key) for problem in caught.value.problems} == {
        (f"{path}:8", f"{MODEL}.dim_model[1]"),
        (f"{path}:9", f"{MODEL}.n_haeds"),
    }
    assert "did you mean `n_head`" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", [["a"]]),
        (["a", "b"], [["a", "b"]]),
        ([["a"], ["a", "b"]], [["a"], ["a", "b"]]),
        ([None, ["a"]], [None, ["a"]]),
        (None, [None]),
    ],
)
def test_a_flat_list_of_input_columns_is_one_set(given: Any, expected: Any) -> None:
    assert read(input_columns=given).input_columns == expected


def test_a_field_that_is_a_map_is_fixed_as_a_map_and_searched_as_a_list_of_maps() -> None:
    one = read(model={"feature_embedding_dims": {"a": 64, "b": 64}})
    assert one.searched("feature_embedding_dims") == [{"a": 64, "b": 64}]
    two = read(model={"feature_embedding_dims": [{"a": 64, "b": 64}, None]})
    assert two.searched("feature_embedding_dims") == [{"a": 64, "b": 64}, None]


def test_null_means_the_default_where_v1_wrote_it_so() -> None:
    config = read(training={"accumulation_steps": None, "early_stopping_epochs": [None, 3]})
    assert config.searched("accumulation_steps") == [1]
    assert config.searched("early_stopping_epochs") == [None, 3]


def test_a_range_is_allowed_for_numbers_only() -> None:
    config = read(training={"dropout": {"low": 0, "high": 0.5, "step": 0.1}})
    assert config.searched("dropout") == Range(low=0, high=0.5, step=0.1)
    found = problems(
        model={"num_layers": {"low": 1, "high": 4, "step": 0.5}, "activation_fn": {"low": 1, "high": 2}},
        training={
            "learning_rate": {"low": -1, "high": 1, "step": 1},
            "batch_size": {"low": 8},
            "warmup_steps": {"low": 9, "high": 3},
        },
    )
    assert set(found) == {
        (MODEL, "num_layers", "step"),
        (MODEL, "activation_fn"),
        (TRAINING, "learning_rate", "low"),
        (TRAINING, "batch_size"),
        (TRAINING, "warmup_steps"),
    }


def test_a_logarithmic_range_starts_above_0_and_has_no_step() -> None:
    for values in ({"low": 0, "high": 1, "log": True}, {"low": 0.1, "high": 1, "log": True, "step": 0.1}):
        with pytest.raises(ValidationError):
            Range.model_validate(values)


def test_a_grid_refuses_a_range_that_it_cannot_list() -> None:
    optimizer = [{"name": "AdamW", "weight_decay": {"low": 1e-4, "high": 1e-1, "log": True}}]
    found = problems(training={"learning_rate": {"low": 1e-4, "high": 1e-2}, "optimizer": optimizer})
    assert set(found) == {(TRAINING, "learning_rate"), (TRAINING, "optimizer", 0, "weight_decay")}
    assert "give a list or a step, or use search_strategy sample" in found[TRAINING, "learning_rate"]
    # Whole numbers and steps can be listed.
    read(training={"warmup_steps": {"low": 0, "high": 3}, "dropout": {"low": 0, "high": 0.4, "step": 0.2}})


def test_lists_of_a_linked_group_with_different_lengths_are_both_shown() -> None:
    found = problems(model={"dim_model": [64, 128, 256], "n_head": [4, 8], "initial_embedding_dim": 64})
    assert found == {
        (MODEL, "n_head"): "n_head has 2 values [4, 8], but dim_model, which is linked with it by index, has 3: "
        "[64, 128, 256]; give n_head 3 values, or one that is used with each; or write independent: [n_head] to "
        "combine each n_head with each dim_model"
    }


def test_a_range_in_a_linked_group_goes_with_each_value_beside_it() -> None:
    rates = {"low": 1e-4, "high": 1e-3, "step": 1e-4}
    assert read(training={"learning_rate": rates, "epochs": [1, 2]}).searched("learning_rate") == Range(**rates)


def test_independent_names_fields_of_a_built_in_group_once_each() -> None:
    training = {"learning_rate": [1e-3, 1e-4], "epochs": [1, 2, 3]}
    found = problems(training=training)
    assert found[TRAINING, "epochs"].endswith(
        "; or write independent: [epochs] to combine each epochs with each learning_rate"
    )
    config = read(training=training, independent=["learning_rate"])
    assert config.groups()["schedule"] == ("epochs", "scheduler")
    assert read(training=training, independent="learning_rate").independent == ["learning_rate"]
    found = problems(independent=["dropout", "learning_rat", "epochs", "epochs"])
    assert found["independent", 0] == "`dropout` is in no built-in group, so it is independent already; leave it out"
    assert "did you mean `learning_rate`" in found["independent", 1]
    assert found["independent", 3] == "`epochs` is given twice; keep one of them"


def test_an_independent_field_may_be_linked_anew() -> None:
    training = {"learning_rate": [1e-3, 1e-4], "batch_size": [8, 16], "epochs": [1, 2, 3]}
    config = read(training=training, independent=["learning_rate"], links=[["learning_rate", "batch_size"]])
    assert config.groups()["links[0]"] == ("learning_rate", "batch_size")


def test_a_head_count_that_does_not_divide_its_width_is_found_at_its_line() -> None:
    found = problems(model={"dim_model": [64, 128], "n_head": [4, 7]})
    assert set(found) == {(MODEL, "n_head", 1)}
    assert "dim_model: 128 is not divisible by n_head: 7" in found[MODEL, "n_head", 1]
    found = problems(model={"dim_model": [64, 128], "initial_embedding_dim": 64})
    assert set(found) == {(MODEL, "initial_embedding_dim")}


def test_links_join_free_fields_that_exist() -> None:
    found = problems(links=[["batch_size", "dropouts"], ["dim_model", "dropout"], ["dropout"]])
    assert "did you mean `dropout`" in found["links", 0]
    assert found["links", 1] == "`dim_model` is linked already, in backbone; to free it, write independent: [dim_model]"
    assert found["links", 2] == "`dropout` is linked already, in links[1]"
    found = problems(links=[["batch_size", "dropout"]], training={"batch_size": [8, 16], "dropout": [0, 0.1, 0.2]})
    assert "dropout has 3 values [0.0, 0.1, 0.2], but batch_size" in found[TRAINING, "dropout"]


def test_options_of_an_optimizer_may_be_lists_and_ranges_and_are_checked_by_name() -> None:
    decay = {"low": 1e-4, "high": 1e-1, "log": True}
    config = read(
        search_strategy="sample",
        n_samples=2,
        training={"optimizer": [{"name": "AdamW", "weight_decay": decay}, {"name": "SGD", "momentum": [0, 0.9]}]},
    )
    first, second = config.searched("optimizer")  # type: ignore[misc]
    assert first.options == {"weight_decay": Range.model_validate(decay)}
    assert second.options == {"momentum": [0, 0.9]}
    found = problems(
        training={"optimizer": ["AdamW", {"name": "SGD", "momentu": [0, 0.9]}, "AdmW", {"name": "SGD", "momentum": []}]}
    )
    assert set(found) == {(TRAINING, "optimizer", 1), (TRAINING, "optimizer", 2), (TRAINING, "optimizer", 3)}
    assert "did you mean `momentum`" in found[TRAINING, "optimizer", 1]
    assert "AdamW" in found[TRAINING, "optimizer", 2]


def test_an_option_that_is_a_list_is_one_value() -> None:
    config = read(training={"optimizer": {"name": "AdamW", "betas": [0.9, 0.95]}})
    assert config.searched("optimizer")[0].options == {"betas": [0.9, 0.95]}  # type: ignore[index]


def test_n_samples_is_required_unless_grid() -> None:
    assert set(problems(search_strategy="sample")) == {("n_samples",)}
    read(search_strategy="sample", n_samples=3)


def test_a_metric_that_the_search_itself_bends_is_refused() -> None:
    losses = [{"y": "MSELoss"}, {"y": "L1Loss"}]
    found = problems(training={"criterion": losses}, target_column_types={"y": "real"})
    assert found[("metric",)].endswith("use a metric that does not depend on them: val_y_rmse")
    read(training={"criterion": losses}, metric="val_y_rmse")
    assert set(problems(training={"criterion": losses}, metric="val_y_loss")) == {("metric",)}
    # The weights of the sum do not enter a single target's loss.
    weights = [{"y": 1.0}, {"y": 2.0}]
    assert set(problems(training={"loss_weights": weights})) == {("metric",)}
    read(training={"loss_weights": weights}, metric="val_y_loss")
    # One value bends nothing: all runs are measured alike.
    read(training={"loss_weights": {"y": 2.0}})


def test_the_targets_of_the_criterion_are_fixed() -> None:
    found = problems(training={"criterion": [{"y": "MSELoss"}, {}]}, metric="val_y_rmse")
    assert set(found) == {(TRAINING, "criterion", 1)}


def test_fixed_fields_take_one_value() -> None:
    found = problems(model={"prediction_length": [1, 2]}, training={"device": ["cpu"]})
    assert {place[:2] for place in found} == {(MODEL, "prediction_length"), (TRAINING, "device")}


def test_models_of_all_runs_of_the_best_or_of_the_best_n_are_kept() -> None:
    assert [read(keep_models=given).keep_models for given in ("all", "best", 3)] == ["all", "best", 3]
    assert read().keep_models == "all"
    for wrong in (0, -1, True, 2.5, "some", None):
        assert {location[0] for location in problems(keep_models=wrong)} == {"keep_models"}


def test_the_name_must_be_usable_in_names_of_files() -> None:
    for name in ("my-embedding", "a/b", ".hidden"):
        assert set(problems(hp_search_name=name)) == {("hp_search_name",)}


def test_fields_of_v1_are_accepted() -> None:
    config = read(
        model_config_write_path="configs/",
        read_format="parquet",
        input_columns=[["a"], ["a", "b"]],
        column_types=[{"a": "Int64"}, {"a": "Int64", "b": "Float64"}],
        categorical_columns=[["a"], ["a"]],
        real_columns=[[], ["b"]],
        n_classes={"a": 3},
        id_maps={"a": {"x": 1}},
        target_column_types={"y": "categorical"},
        seq_length=[24, 48],
        inference_batch_size=10,
        export_onnx=True,
        override_input=True,
        model={"initial_embedding_dim": [128], "joint_embedding_dim": None, "n_kv_heads": [None]},
        training={
            "device": "cpu",
            "scheduler": [{"name": "StepLR", "step_size": 1.0, "gamma": 0.99}],
            "class_share_log_columns": [],
            "layer_autocast": None,
            "device_max_concat_length": 12,
            "num_workers": 0,
        },
    )
    assert config.searched("column_types") == [{"a": "Int64"}, {"a": "Int64", "b": "Float64"}]


def test_the_order_of_the_grid_is_the_documented_one() -> None:
    fields = searchable_fields()
    assert len(fields) == len(set(fields))
    assert fields[:14] == [
        *("input_columns", "column_types", "seq_length", "window_stride", "window_normalization", "prediction_horizon"),
        *("known_future", "learning_rate", "epochs", "scheduler", "batch_size", "dropout", "optimizer"),
        "accumulation_steps",
    ]
    assert fields[-16:] == [
        *("dim_model", "n_head", "initial_embedding_dim", "joint_embedding_dim", "feature_embedding_dims"),
        *("dim_feedforward", "num_layers", "activation_fn", "normalization", "positional_encoding"),
        *("attention_type", "norm_first", "n_kv_heads", "rope_theta", "tie_weights", "distribution"),
    ]
    assert {*ModelSampling.searchable(), *TrainingSampling.searchable()} <= set(fields)


def test_a_boolean_or_a_word_is_no_end_of_a_range() -> None:
    found = problems(training={"batch_size": {"low": True, "high": 8}, "warmup_steps": {"low": 1, "high": "many"}})
    assert found[TRAINING, "batch_size", "low"] == "should be a number, got true"
    assert any(place[:3] == (TRAINING, "warmup_steps", "high") for place in found)


def test_an_option_of_whole_numbers_takes_whole_steps() -> None:
    found = problems(training={"scheduler": {"name": "StepLR", "step_size": {"low": 1, "high": 3, "step": 0.5}}})
    assert found[TRAINING, "scheduler"] == "StepLR: `step_size`: step: 0.5 is not an integer"


def test_a_range_of_an_option_that_is_no_number_is_refused() -> None:
    found = problems(training={"optimizer": {"name": "AdamW", "amsgrad": {"low": 0, "high": 1}}})
    assert found[TRAINING, "optimizer"] == "AdamW: `amsgrad`: 0 is not true or false"


def test_start_with_is_validated_where_it_is_written() -> None:
    found = problems(
        start_with=[
            {"training_spec.learning_rate": -1, "seq_length": 0},
            {"model_spec": {"num_layers": [1, 2], "depth": 3}},
            {"learning_rate": 1e-3, "seed": 4, "training_spec": {"device": "cpu", "optimizer": "AdmW"}},
            "configs/run.yaml",
        ]
    )
    assert set(found) == {
        ("start_with", 0, "training_spec.learning_rate"),
        ("start_with", 0, "seq_length"),
        ("start_with", 1, "model_spec", "num_layers"),
        ("start_with", 1, "model_spec", "depth"),
        ("start_with", 2, "learning_rate"),
        ("start_with", 2, "seed"),
        ("start_with", 2, "training_spec", "device"),
        ("start_with", 2, "training_spec", "optimizer"),
    }
    assert "did you mean `training_spec.learning_rate`?" in found["start_with", 2, "learning_rate"]


def test_start_with_may_be_nested_or_dotted() -> None:
    config = read(start_with=[{"training_spec": {"dropout": 0.5}}, {"training_spec.dropout": 0.5}, "run.yaml"])
    assert config.start_with == [{"training_spec.dropout": 0.5}, {"training_spec.dropout": 0.5}, "run.yaml"]


def test_overrides_need_a_base() -> None:
    assert set(problems(overrides={"seq_length": [4, 8]})) == {("overrides",)}


BASE = """\
metadata_config_path: m.json
model_name: base
target_columns: [y]
seed: 5
cpu_threads: 2
input_columns: [x, y]
model_spec:
  dim_model: 64
  n_head: 4
training_spec:
  epochs: 3
  optimizer: {name: AdamW, betas: [0.9, 0.95]}
  effective_batch_size: null
"""


def over_base(folder: Path, overrides: str, *, base: str = BASE, root: str = "") -> Path:
    (folder / "train.yaml").write_text(base, encoding="utf-8")
    path = folder / "search.yaml"
    path.write_text(
        f"base_config_path: train.yaml\nhp_search_name: s\nsearch_strategy: grid\n{root}overrides:\n{overrides}",
        encoding="utf-8",
    )
    return path


def test_a_base_and_what_is_searched_over_it_are_the_self_contained_form(tmp_path: Path) -> None:
    overrides = (
        "  seq_length: [4, 8]\n  model_spec: {dim_model: [64, 128]}\n"
        "  training_spec:\n    learning_rate: {low: 0.1, high: 0.3, step: 0.1}\n"
        "    optimizer: {name: AdamW, weight_decay: [0, 0.1]}\n"
    )
    found = load(SearchConfig, over_base(tmp_path, overrides, root="cpu_threads: 1\n")).config
    by_hand = read(
        metadata_config_path="m.json",
        hp_search_name="s",
        seed=5,
        cpu_threads=1,
        input_columns=["x", "y"],
        base_config_path="train.yaml",
        seq_length=[4, 8],
        model={"dim_model": [64, 128], "n_head": 4},
        training={
            "epochs": 3,
            "learning_rate": {"low": 0.1, "high": 0.3, "step": 0.1},
            "optimizer": {"name": "AdamW", "betas": [0.9, 0.95], "weight_decay": [0, 0.1]},
        },
    )
    assert found == by_hand


def test_options_of_the_base_are_dropped_for_another_optimizer(tmp_path: Path) -> None:
    path = over_base(tmp_path, "  training_spec: {optimizer: {name: SGD, momentum: [0, 0.9]}}\n")
    (entry,) = load(SearchConfig, path).config.searched("optimizer")  # type: ignore[misc]
    assert entry.options == {"momentum": [0, 0.9]}


def test_flags_and_defines_reach_what_is_searched_over_a_base(tmp_path: Path) -> None:
    path = over_base(tmp_path, "  training_spec: {dropout: [0, 0.1]}\n")
    defines = ["overrides.training_spec.dropout=[0.2, 0.3]", "overrides.model_spec.num_layers=[1, 2]"]
    found = load(SearchConfig, path, defines=defines, flags={"seed": 9}).config
    assert (found.searched("dropout"), found.searched("num_layers"), found.seed) == ([0.2, 0.3], [1, 2], 9)


def test_problems_over_a_base_name_the_file_and_line_of_their_value(tmp_path: Path) -> None:
    def found(overrides: str, **values: str) -> set[tuple[str, str]]:
        path = over_base(tmp_path, overrides, **values)
        with pytest.raises(ConfigError) as caught:
            load(SearchConfig, path)
        return {(problem.source.removeprefix(f"{tmp_path}/"), problem.key) for problem in caught.value.problems}

    assert found("  model_spec:\n    dim_modl: 3\n  training_spec:\n    dropout: [0, 2]\n  seq_length: [0]\n") == {
        ("search.yaml:6", "overrides.model_spec.dim_modl"),
        ("search.yaml:8", "overrides.training_spec.dropout[1]"),
        ("search.yaml:9", "overrides.seq_length[0]"),
    }
    # The base's heads do not divide the searched width: the line of the heads, which are the base's.
    assert found("  model_spec: {dim_model: [64, 66]}\n") == {("train.yaml:9", "model_spec.n_head")}
    assert found("  model_spec: {num_layers: [1, 2]}\n", base=BASE.replace("epochs: 3", "epochs: [3]")) == {
        ("train.yaml:11", "training_spec.epochs")
    }
    assert found("  dim_model: [1]\n  metric: val_loss\n  lenght: 3\n  training_spec: 3\n") == {
        ("search.yaml:5", "overrides.dim_model"),
        ("search.yaml:6", "overrides.metric"),
        ("search.yaml:7", "overrides.lenght"),
        ("search.yaml:8", "overrides.training_spec"),
    }
    assert found("  seq_length: [4]\n", root=f"{MODEL}: {{}}\n") == {("search.yaml:4", MODEL)}


def test_a_base_that_is_missing_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    path = over_base(tmp_path, "  seq_length: [4]\n")
    (tmp_path / "train.yaml").unlink()
    with pytest.raises(ConfigError, match=r"search\.yaml:1: `base_config_path`: no such file"):
        load(SearchConfig, path)
