"""From a cell to the run it stands for."""

from typing import Any

import pytest

from sequifier.config.architecture import architecture
from sequifier.config.identity import canonical, identity
from sequifier.config.resolve import resolve
from sequifier.config.search import SearchConfig
from sequifier.config.size import parameter_count
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.search.build_space import build_space
from sequifier.search.expand import Expanded, Expander
from tests.support.searches import FINGERPRINT, metadata, search


def expand_all(config: SearchConfig, **options: Any) -> list[Expanded]:
    space = build_space(config)
    expander = Expander(config, space, metadata(), seed=1010, **options)
    return [expander.expand(cell) for cell in space]


def problems(config: SearchConfig) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        expand_all(config)
    return [(problem.key, problem.message) for problem in caught.value.problems]


def test_every_cell_is_the_run_that_one_would_write_by_hand() -> None:
    """Parts are validated once and put together; each whole must equal one validated on its own."""
    config = search(
        model={"dim_model": [16, 32], "n_head": [2, 4], "attention_type": ["mha", "gqa"], "n_kv_heads": [None, 2]},
        training={
            "learning_rate": [1e-3, 1e-4],
            "epochs": [2, 3],
            "optimizer": [{"name": "SGD", "momentum": [0, 0.9]}],
        },
        seq_length=[4, 8],
        input_columns=[["kind"], None],
        metric="val_kind_log_loss",
        export_pt=True,
    )
    space = build_space(config)
    expander = Expander(config, space, metadata(), seed=7)
    assert len(space) == 128
    for cell in space:
        found = expander.expand(cell)
        values = {
            key: value for key, value in (space.values(cell) | dict(space.fixed)).items() if key != "column_types"
        }
        model = {key.split(".")[1]: value for key, value in values.items() if key.startswith("model_spec.")}
        if model["attention_type"] == "mha":
            model["n_kv_heads"] = None
        training = {key.split(".")[1]: value for key, value in values.items() if key.startswith("training_spec.")}
        by_hand = canonical(
            resolve(
                TrainConfig.model_validate(
                    {
                        "metadata_config_path": "configs/metadata_configs/x.json",
                        "model_name": "run",
                        "seed": 7,
                        "target_columns": ["kind"],
                        "input_columns": values["input_columns"],
                        "seq_length": values["seq_length"],
                        "metric": "val_kind_log_loss",
                        "export_pt": True,
                        "model_spec": model,
                        "training_spec": training | {"keep_checkpoints": 1},
                    }
                ),
                metadata(),
            )
        )
        assert found.config == by_hand
        assert found.identity == identity(by_hand, FINGERPRINT)
        assert found.n_parameters == parameter_count(architecture(by_hand, metadata()))


def test_a_field_left_out_follows_the_value_that_it_depends_on() -> None:
    found = expand_all(search(model={"dim_model": [16, 32]}))
    shapes = [(each.config.model_spec.dim_feedforward, each.config.model_spec.initial_embedding_dim) for each in found]
    assert shapes == [(64, 16), (128, 32)]


def test_all_runs_have_the_seed_of_the_search_and_keep_one_checkpoint() -> None:
    (found,) = expand_all(search())
    assert (found.config.seed, found.config.training_spec.keep_checkpoints) == (1010, 1)


def test_a_changed_attention_says_why() -> None:
    found = expand_all(search(model={"n_head": 4, "attention_type": "gqa", "n_kv_heads": [3, 2]}))
    assert [(each.config.model_spec.attention_type, each.config.model_spec.n_kv_heads) for each in found] == [
        ("mha", None),
        ("gqa", 2),
    ]
    assert [each.changes for each in found] == [
        ("n_kv_heads 3 does not divide n_head 4: gqa -> mha, n_kv_heads -> null",),
        (),
    ]


def test_rope_theta_makes_no_difference_under_learned_positions() -> None:
    found = expand_all(search(model={"positional_encoding": ["learned", "rope"], "rope_theta": [1e4, 5e5]}))
    assert len({each.identity for each in found}) == 3
    assert found[1].changes == ("rope_theta 500000 cannot matter with learned positions",)


def test_a_null_that_the_metadata_decides_is_the_value_that_it_decides() -> None:
    found = expand_all(search(seq_length=[None, 8], input_columns=[None, ["kind", "length"]], window_stride=[None, 8]))
    assert len({each.identity for each in found}) == 1


def test_auto_becomes_the_epochs_of_each_run() -> None:
    config = search(
        training={
            "learning_rate": [1e-3, 1e-4],
            "epochs": [3, 5],
            "scheduler": {"name": "CosineAnnealingLR", "T_max": "auto"},
        }
    )
    found = expand_all(config)
    assert [each.config.training_spec.scheduler.options["T_max"] for each in found] == [3, 5]
    # A number that says the same is the same run.
    by_number = search(
        training={"epochs": 3, "learning_rate": 1e-3, "scheduler": {"name": "CosineAnnealingLR", "T_max": 3}}
    )
    assert expand_all(by_number)[0].identity == found[0].identity


def test_auto_in_steps_asks_for_the_steps_of_the_data() -> None:
    config = search(
        training={
            "scheduler": {"name": "CosineAnnealingLR", "T_max": "auto"},
            "scheduler_step_on": "batch",
            "batch_size": [10, 20],
        },
        seq_length=[4, 8],
    )
    asked = []

    def steps_of(run: TrainConfig) -> int:
        assert run.seq_length is not None
        asked.append((run.seq_length, run.training_spec.batch_size))
        return 1000 // (run.training_spec.batch_size * run.seq_length)

    found = expand_all(config, steps_of=steps_of)
    assert [each.config.training_spec.scheduler.options["T_max"] for each in found] == [25, 12, 12, 6]
    assert asked == [(4, 10), (4, 20), (8, 10), (8, 20)]
    assert [each.config.training_spec.scheduler.options["T_max"] for each in expand_all(config)] == ["auto"] * 4


def test_a_schedule_that_is_too_short_is_an_error_and_one_that_is_too_long_a_warning() -> None:
    def one_cycle(total_steps: int) -> SearchConfig:
        scheduler = {"name": "OneCycleLR", "max_lr": 0.01, "total_steps": total_steps}
        return search(training={"epochs": 5, "scheduler": scheduler})

    ((key, message),) = problems(one_cycle(3))
    assert key == "training_hyperparameter_sampling.scheduler"
    assert "OneCycleLR has 3 steps, the run has 5 epochs" in message
    (found,) = expand_all(one_cycle(9))
    assert "OneCycleLR has 9 steps, the run 5 epochs" in found.warnings[0]


@pytest.mark.parametrize(
    ("config", "key", "part_of_message"),
    [
        (
            search(model={"dim_model": 12, "n_head": 4, "positional_encoding": ["learned", "rope"]}),
            "model_hyperparameter_sampling.positional_encoding[1]",
            "rope needs an even head width",
        ),
        (
            search(input_columns=[["kind", "lenght"]]),
            "input_columns",
            "`lenght` is not in the preprocessed data",
        ),
        (
            search(model={"feature_embedding_dims": {"kind": 64, "size": 64}}),
            "model_hyperparameter_sampling.feature_embedding_dims",
            "`size` is not an input column",
        ),
        (
            search(training={"class_weights": {"kind": [1, 1]}}),
            "training_hyperparameter_sampling.class_weights.kind",
            "has 2 weights, the column has 4 classes",
        ),
        (
            search(
                training={"dropout": [0.0, 0.1], "class_weights": [{"kind": [1, 1, 1, 1]}, {"kind": [1, 1]}]},
                metric="val_kind_log_loss",
            ),
            "training_hyperparameter_sampling.class_weights[1].kind",
            "has 2 weights, the column has 4 classes",
        ),
        (
            search(model={"prediction_length": 5}, seq_length=[8, 4]),
            "model_hyperparameter_sampling.prediction_length",
            "5 exceeds seq_length: 4 (with seq_length[1] 4)",
        ),
        (
            search(
                input_columns=[["kind"], ["kind", "length"]],
                model={"feature_embedding_dims": [{"kind": 128}], "dim_model": 128},
            ),
            "model_hyperparameter_sampling.feature_embedding_dims",
            "`length` has no width (with input_columns[1] [kind, length])",
        ),
        (
            search(
                training={"optimizer": [{"name": "SGD", "momentum": [0.0, 0.9]}], "evaluation_stride": 6},
                seq_length={"low": 4, "high": 8, "step": 2},
            ),
            "training_hyperparameter_sampling.evaluation_stride",
            "6 exceeds seq_length: 4",
        ),
        (
            search(training={"criterion": [{"kind": "MSELoss"}]}),
            "training_hyperparameter_sampling.criterion.kind",
            "MSELoss",
        ),
    ],
)
def test_a_cell_that_is_no_run_names_the_key_of_the_search(
    config: SearchConfig, key: str, part_of_message: str
) -> None:
    found = problems(config)
    assert any(at == key and part_of_message in message for at, message in found), found


def test_parts_are_validated_once_not_once_for_each_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    import sequifier.search.expand as module

    calls: list[str] = []
    for name in ("resolve", "parameter_count", "expand_model", "expand_training"):
        original = getattr(module, name)

        def counted(*values: Any, _name: str = name, _original: Any = original) -> Any:
            calls.append(_name)
            return _original(*values)

        monkeypatch.setattr(module, name, counted)
    config = search(
        model={"num_layers": {"low": 1, "high": 5}, "dim_feedforward": [8, 16]},
        training={"batch_size": {"low": 1, "high": 5}, "warmup_steps": [0, 1]},
    )
    assert len({each.identity for each in expand_all(config)}) == 100
    assert [calls.count(name) for name in ("parameter_count", "expand_model", "expand_training")] == [10, 10, 10]
    assert calls.count("resolve") <= 20


def test_values_that_are_no_cell_become_the_run_that_one_would_write_by_hand() -> None:
    config = search(
        model={"dim_model": [16, 32], "n_head": [2, 4], "attention_type": "gqa", "n_kv_heads": [3, 2]},
        training={"scheduler": {"name": "CosineAnnealingLR", "T_max": "auto"}, "scheduler_step_on": "batch"},
        seq_length=[4, 8],
    )
    space = build_space(config)
    expander = Expander(config, space, metadata(), seed=7, steps_of=lambda run: run.training_spec.batch_size)
    for cell in space:
        assert expander.expand_values(space.values(cell)) == expander.expand(cell)
    other = expander.expand_values({"model_spec.dim_model": 40, "training_spec.batch_size": 5})
    assert (other.config.model_spec.dim_model, other.config.seq_length) == (40, 4)
    assert other.config.training_spec.scheduler.options["T_max"] == 5
    assert other.config.model_spec.attention_type == "mha"
    assert other.changes
    with pytest.raises(ConfigError) as caught:
        expander.expand_values({"model_spec.dim_model": 41})
    assert [problem.key for problem in caught.value.problems] == ["model_spec.n_head"]
