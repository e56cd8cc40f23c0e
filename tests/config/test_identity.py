"""The identity of a run: stable over versions, equal for what trains alike, different for what does not."""

import hashlib
from typing import Any

import pytest

from sequifier.config import identity as identity_module
from sequifier.config.fields import COUNTED, run_fields
from sequifier.config.identity import (
    MODEL_DEFAULTS,
    ROOT_DEFAULTS,
    TRAINING_DEFAULTS,
    canonical,
    canonical_attention,
    differing,
    identity,
    plain,
)
from sequifier.config.model import ModelSpec
from sequifier.config.train import TrainConfig
from sequifier.config.training import TrainingSpec

DATA = "0123456789abcdef"


def run(*, model: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **root: Any) -> TrainConfig:
    values = {"metadata_config_path": "m.json", "model_name": "r", "target_columns": ["y"]}
    return TrainConfig.model_validate(values | {"model_spec": model or {}, "training_spec": training or {}} | root)


def test_the_identity_of_a_stored_run_stays_the_same() -> None:
    # If this fails, searches of earlier versions would run all over again: raise SCHEMA and write an upgrade rule.
    config = run(
        input_columns=["y", "x"],
        seq_length=24,
        window_stride=8,
        model={"dim_model": 64, "n_head": 2, "positional_encoding": "rope"},
        training={"learning_rate": 1e-05, "optimizer": {"name": "AdamW", "weight_decay": 0.1}, "gradient_clip": None},
        user={"threshold": 0.5},
    )
    assert identity(config, DATA) == "f2c7d26042dc7af4fa928b234be1d4a6208570b8802acc2a39f3426c7bdd09e5"


def test_the_identity_is_the_hash_of_canonical_json() -> None:
    config = run(model={"n_head": 2}, training={"learning_rate": 1e-05, "optimizer": "AdamW"})
    canonical_json = (
        '{"config":{"model_spec":{"dim_feedforward":512,"initial_embedding_dim":128,"n_head":2},'
        '"target_columns":["y"],"training_spec":{"learning_rate":1e-05,"optimizer":{"name":"AdamW"}}},'
        '"data":"0123456789abcdef","schema":1}'
    )
    assert identity(config, DATA) == hashlib.sha256(canonical_json.encode()).hexdigest()


def test_todays_defaults_equal_schema_1() -> None:
    """A default that changes must change here knowingly: the table stays, so old identities stay."""
    for model, defaults in (
        (TrainConfig, ROOT_DEFAULTS),
        (ModelSpec, MODEL_DEFAULTS),
        (TrainingSpec, TRAINING_DEFAULTS),
    ):
        for name, default in defaults.items():
            field = model.model_fields[name]
            assert plain(field.get_default(call_default_factory=True)) == default, name


def test_no_field_of_schema_1_changes_sides() -> None:
    """Frozen with schema 1. A field of a later version needs no entry: its flag decides."""
    from_the_data = {"target_columns", "model_spec.dim_feedforward", "model_spec.initial_embedding_dim"}
    counted = {*ROOT_DEFAULTS, *(f"model_spec.{name}" for name in MODEL_DEFAULTS)} | from_the_data
    counted |= {f"training_spec.{name}" for name in TRAINING_DEFAULTS}
    outside = {
        *("project_root", "model_name", "metadata_config_path", "training_data_path", "validation_data_path"),
        *("read_format", "target_column_types", "column_types", "categorical_columns", "real_columns", "n_classes"),
        *("id_maps", "inference_batch_size", "export_generative_model", "export_embedding_model", "export_onnx"),
        *("export_end_to_end", "export_pt", "export_with_dropout", "cpu_threads"),
    }
    outside |= {
        f"training_spec.{name}"
        for name in (
            *("device", "num_workers", "load_full_data_to_ram", "max_ram_gb", "log_interval", "keep_checkpoints"),
            *("class_share_log_columns", "save_interval_epochs", "checkpoint_interval_steps", "continue_training"),
            *("sampling_interval_steps", "sampling_prompt", "sampling_temperature", "sampling_max_length"),
            *("sampling_seed", "backend", "device_max_concat_length"),
        )
    }
    assert counted <= {*COUNTED}
    assert not outside & {*COUNTED}
    assert outside < {field.key for field in run_fields()}


@pytest.mark.parametrize(
    "values",
    [
        {"model_name": "other", "project_root": "/elsewhere", "metadata_config_path": "n.json"},
        {"training_data_path": "a.csv", "validation_data_path": "b.csv", "read_format": "csv"},
        {"training": {"device": "cpu", "num_workers": 3, "log_interval": 5, "keep_checkpoints": 1}},
        {"training": {"continue_training": False, "save_interval_epochs": 2}},
        {"inference_batch_size": 3, "export_pt": True, "export_onnx": False, "cpu_threads": 1},
        {"ranking": {"y": {"k": [1], "exclude_seen": True}}, "metric_is_sampled": True},
        {"n_classes": {"y": 3}, "column_types": {"y": "Int64"}, "target_column_types": {"y": "categorical"}},
        {"model": {"rope_theta": 500.0}},  # learned positions do not look at it
        {"model": {"dim_feedforward": 512, "n_kv_heads": 4}},  # what follows from dim_model and n_head anyway
        {"model": {"attention_type": "gqa"}},
        {"training": {"layer_autocast": False}},
        {"training": {"gradient_clip": 0.5, "scheduler": {"name": "StepLR", "gamma": 0.99, "step_size": 1.0}}},
    ],
)
def test_what_does_not_change_the_training_does_not_change_the_identity(values: dict[str, Any]) -> None:
    assert identity(run(**values), DATA) == identity(run(), DATA)


@pytest.mark.parametrize(
    "values",
    [
        {"seed": 0},
        {"metric": "val_y_log_loss"},
        {"seq_length": 8},
        {"input_columns": ["y"]},
        {"user": {"threshold": 0.8}},
        {"target_columns": ["z"]},
        {"model": {"dim_model": 64}},
        {"model": {"positional_encoding": "rope", "rope_theta": 500.0}},
        {"training": {"batch_size": 32, "accumulation_steps": 2}},  # the same step, but other rounding
        {"training": {"optimizer": "AdamW"}},
        {"training": {"evaluation_stride": 3}},
        {"training": {"gradient_clip": None}},
    ],
)
def test_what_changes_the_training_changes_the_identity(values: dict[str, Any]) -> None:
    assert identity(run(**values), DATA) != identity(run(), DATA)


def test_other_data_are_another_run() -> None:
    assert identity(run(), DATA) != identity(run(), "fedcba9876543210")


def test_the_order_of_options_does_not_matter_but_the_order_of_columns_does() -> None:
    options = {"weight_decay": 0.1, "betas": [0.9, 0.99]}
    forward = run(training={"optimizer": {"name": "AdamW", **options}})
    backward = run(training={"optimizer": {"name": "AdamW", **dict(reversed(options.items()))}})
    assert identity(forward, DATA) == identity(backward, DATA)
    assert identity(run(input_columns=["a", "b"]), DATA) != identity(run(input_columns=["b", "a"]), DATA)


def test_a_changed_default_leaves_earlier_identities_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(run(training={"dropout": 0.1}), DATA), identity(run(), DATA)
    # In a version whose default is 0.1 a config that says nothing has 0.1, and is the earlier run that said so.
    monkeypatch.setattr(TrainingSpec.model_fields["dropout"], "default", 0.1)
    identity_module._counted.cache_clear()
    assert identity(run(training={"dropout": 0.1}), DATA) == before[0]
    assert identity(run(training={"dropout": 0.0}), DATA) == before[1]


@pytest.mark.parametrize(
    ("attention_type", "n_kv_heads", "expected", "reason"),
    [
        ("mha", None, ("mha", None), ""),
        ("mha", 4, ("mha", None), "mha has one group per head: n_kv_heads 4 -> null"),
        ("mha", 2, ("mha", None), "mha has one group per head: n_kv_heads 2 -> null"),
        ("mqa", None, ("mqa", 1), ""),
        ("mqa", 1, ("mqa", 1), ""),
        ("mqa", 2, ("mqa", 1), "mqa has a single group: n_kv_heads 2 -> 1"),
        ("gqa", None, ("mha", None), "gqa without n_kv_heads has one group per head, which is mha"),
        ("gqa", 1, ("mqa", 1), "gqa with n_kv_heads 1 is mqa"),
        ("gqa", 2, ("gqa", 2), ""),
        ("gqa", 3, ("mha", None), "n_kv_heads 3 does not divide n_head 4: gqa -> mha, n_kv_heads -> null"),
        ("gqa", 4, ("mha", None), "gqa with n_kv_heads 4 = n_head has one group per head, which is mha"),
        ("gqa", 8, ("mha", None), "n_kv_heads 8 does not divide n_head 4: gqa -> mha, n_kv_heads -> null"),
    ],
)
def test_heads_that_share_keys_have_one_canonical_form(
    attention_type: str, n_kv_heads: int | None, expected: tuple[str, int | None], reason: str
) -> None:
    assert canonical_attention(attention_type, n_kv_heads, 4) == (*expected, reason)


def test_one_head_is_mha_however_it_is_called() -> None:
    assert canonical_attention("gqa", None, 1)[:2] == ("mha", None)
    assert canonical_attention("gqa", 1, 1)[:2] == ("mqa", 1)


def test_the_canonical_form_of_a_canonical_config_is_itself() -> None:
    config = canonical(run(model={"attention_type": "gqa", "n_kv_heads": 1, "rope_theta": 3.0}))
    assert (config.model_spec.attention_type, config.model_spec.rope_theta) == ("mqa", 10000.0)
    assert canonical(config) is config


def test_differing_fields_are_plain_values() -> None:
    spec = run(training={"optimizer": "AdamW", "criterion": {"y": "CrossEntropyLoss"}}).training_spec
    assert differing(spec) == {"optimizer": {"name": "AdamW"}, "criterion": {"y": {"name": "CrossEntropyLoss"}}}
