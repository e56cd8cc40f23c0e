"""Sources, their order, and what a broken config says."""

from pathlib import Path

import pytest

from sequifier.config.load import load
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError

MINIMAL = "metadata_config_path: m.json\nmodel_name: first\ntarget_columns: [item]\n"


def write(folder: Path, text: str, name: str = "train.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(path: Path, **sources: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(TrainConfig, path, **sources)  # type: ignore[arg-type]
    return str(caught.value)


def test_only_what_cannot_be_guessed_is_mandatory(tmp_path: Path) -> None:
    config = load(TrainConfig, write(tmp_path, MINIMAL)).config
    assert config.model_spec.dim_feedforward == 4 * config.model_spec.dim_model
    assert config.training_spec.optimizer.name == "Adam"
    assert config.seed == 1010


def test_the_strongest_source_wins(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "seed: 1\ncpu_threads: 1\ninference_batch_size: 1\nseq_length: 1\n", "base.yaml")
    path = write(
        tmp_path,
        "base_config_path: base.yaml\nseed: 2\ncpu_threads: 2\ninference_batch_size: 2\n"
        "sections:\n  quick:\n    seed: 3\n    cpu_threads: 3\n",
    )
    config = load(TrainConfig, path, section="quick", defines=["seed=4"], flags={"model_name": "flag"}).config
    assert (config.seed, config.cpu_threads, config.inference_batch_size, config.seq_length) == (4, 3, 2, 1)
    assert config.model_name == "flag"


def test_maps_are_merged_and_lists_replaced_on_inheritance(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "training_spec: {epochs: 7, batch_size: 8}\n", "base.yaml")
    path = write(tmp_path, "base_config_path: base.yaml\ntarget_columns: [price]\ntraining_spec: {epochs: 9}\n")
    config = load(TrainConfig, path).config
    assert config.target_columns == ["price"]
    assert (config.training_spec.epochs, config.training_spec.batch_size) == (9, 8)


def test_defines_are_read_by_the_type_of_their_field(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    defines = ["model_name=123", "training_spec.learning_rate=3e-4", "target_columns=[a, b]", "seed=None"]
    defines += ["training_spec.optimizer={name: AdamW, weight_decay: 0.1}", "user.threshold=0.8", "user.word=no"]
    config = load(TrainConfig, path, defines=defines).config
    assert config.model_name == "123"
    assert config.training_spec.learning_rate == 3e-4
    assert config.target_columns == ["a", "b"]
    assert config.seed is None
    assert config.training_spec.optimizer.options == {"weight_decay": 0.1}
    assert config.user == {"threshold": 0.8, "word": "no"}


def test_all_problems_are_reported_at_once_with_file_and_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        MINIMAL
        + "training_spec:\n  epochs: 0\n  learning_rat: 0.1\n  batch_size: many\n"
        + "model_spec: {dim_model: 50, n_head: 4}\n",
    )
    message = problems(path)
    assert "4 problems" in message
    assert f"{path}:5: `training_spec.epochs`: " in message
    assert "got 0" in message
    assert f"{path}:6: `training_spec.learning_rat`: unknown key" in message
    assert "did you mean `learning_rate`?" in message
    assert f"{path}:7: `training_spec.batch_size`: should be a valid whole number" in message or "many" in message
    assert f"{path}:8: `model_spec.n_head`: dim_model: 50 is not divisible by n_head: 4" in message
    assert "2, 5, 10" in message or "1, 2, 5" in message


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("learning_rate: 0.1\n", "it belongs under `training_spec`"),
        ("sead: 1\n", "did you mean `seed`?"),
        ("model_spec: {activation_fn: swigluu}\n", "did you mean `swiglu`?"),
        ("training_spec: {epochs: true}\n", "got true"),
        ("training_spec: {optimizer: {name: AdamX}}\n", "did you mean"),
        ("training_spec: {optimizer: {name: AdamW, weight_decai: 0.1}}\n", "weight_decay"),
        ("training_spec: {optimizer: {name: AdamW, amsgrad: yes}}\n", "write `true`"),
        ("training_spec: {scheduler: {name: StepLr2}}\n", "StepLR"),
        ("training_spec: {criterion: {other: MSELoss}}\n", "which is no target"),
        ("target_column_types: {item: categorical}\ntraining_spec: {criterion: {item: MSELoss}}\n", "MSELoss"),
        ("training_spec: {distributed: true}\n", "not available in this version"),
        ("seq_length: PLEASE FILL\n", "still says PLEASE FILL"),
        ("training_spec: {dropout: .nan}\n", "finite"),
        ("hooks: {after_step: 'm:f'}\n", "not available in this version"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_fix(tmp_path: Path, extra: str, expected: str) -> None:
    path = write(tmp_path, MINIMAL + extra)
    message = problems(path)
    assert expected in message
    assert f"{path}:" in message


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    message = problems(write(tmp_path, "model_name: a\n"))
    assert "`metadata_config_path`: is missing" in message
    assert "`target_columns`: is missing" in message


def test_a_missing_file_offers_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "train.yaml")
    assert "train.yaml`?" in problems(tmp_path / "trian.yaml")


def test_an_unknown_section_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "sections: {quick: {seed: 1}}\n")
    assert "there is no section `quik`" in problems(path, section="quik")


def test_files_that_inherit_in_a_circle_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "base_config_path: train.yaml\n", "base.yaml")
    assert "in a circle" in problems(write(tmp_path, "base_config_path: base.yaml\n"))


def test_v1_nulls_mean_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "training_spec: {accumulation_steps: null, layer_autocast: null}\n")
    assert load(TrainConfig, path).config.training_spec.accumulation_steps == 1
