"""The promises of the project's first page on hyperparameters, under the names that the fields have today.

The page lists what was to become configurable, in five categories, with examples of config files for different uses.
"""

from pathlib import Path

import pytest

from sequifier.config.base import field_about
from sequifier.config.help.comments import field_at
from sequifier.config.help.describe import describe
from sequifier.config.help.explain import explain
from sequifier.config.help.reference import reference
from sequifier.config.inference import InferConfig
from sequifier.config.loading.active import active_values, default_of, leaves
from sequifier.config.loading.kinds import KINDS
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError

ROOT = Path(__file__).parents[2]
RUN = "metadata_config_path: m.json\nmodel_name: first\ntarget_columns: [item]\n"

# The page's name -> kind and key of today, and a value beside the default.
NAMES: dict[str, tuple[str, str, object]] = {
    "n_layers": ("train", "model_spec.num_layers", 4),
    "d_model": ("train", "model_spec.dim_model", 256),
    "n_heads": ("train", "model_spec.n_head", 8),
    "d_ff": ("train", "model_spec.dim_feedforward", 1024),
    "dropout": ("train", "training_spec.dropout", 0.1),
    "learning_rate": ("train", "training_spec.learning_rate", 1e-3),
    "batch_size": ("train", "training_spec.batch_size", 16),
    "max_steps": ("train", "training_spec.max_steps", 10000),
    "max_seq_len": ("train", "seq_length", 256),
    "eval_cadence": ("train", "training_spec.eval_interval_steps", 100),
    "sampling_cadence": ("train", "training_spec.sampling_interval_steps", 100),
    "sampling_temperature": ("train", "training_spec.sampling_temperature", 0.5),
    "sampling_prompt": ("train", "training_spec.sampling_prompt", "The"),
    "sampling_max_length": ("train", "training_spec.sampling_max_length", 50),
    "sampling_seed": ("train", "training_spec.sampling_seed", 43),
    "checkpoint_cadence": ("train", "training_spec.checkpoint_interval_steps", 1000),
    "seed": ("train", "seed", 7),
    "hooks": ("train", "hooks", {"after_step": ["my_hooks:tell"]}),
    "train_ratio": ("preprocess", "split_ratios", [0.95, 0.05]),
    "weight_decay, beta1, beta2": (
        *("train", "training_spec.optimizer"),
        {"name": "AdamW", "weight_decay": 0.1, "betas": [0.9, 0.95]},
    ),
}
DEFAULTS = {
    "learning_rate": 3e-4,
    "sampling_temperature": 1.0,
    "sampling_max_length": 100,
    "sampling_seed": 42,
    "eval_cadence": None,
    "sampling_cadence": None,
}
"""Those of the page that hold; others are decided by what later pages ask for."""


def config_of(kind: str, folder: Path, *defines: str) -> object:
    text = {"train": RUN, "preprocess": "data_path: d.csv\nseq_length: 8\n"}[kind]
    path = folder / "config.yaml"
    path.write_text(text)
    return load(KINDS[kind], path, defines=defines).config


def value_of(config: object, key: str) -> object:
    return {".".join(map(str, path)): value for path, _, value in leaves(config)}[key]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_field_with_a_default_that_a_file_or_the_command_line_changes(name: str, tmp_path: Path) -> None:
    kind, key, other = NAMES[name]
    plain = config_of(kind, tmp_path)
    default = value_of(plain, key)
    assert default == default_of(plain, tuple(key.split(".")))  # type: ignore[arg-type]
    assert default == DEFAULTS.get(name, default)
    assert other != default
    changed = config_of(kind, tmp_path, f"{key}={other}".replace("'", ""))
    assert value_of(changed, key) == other
    assert active_values(changed)[key] == other  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_with_purpose_default_range_and_when_to_change_it(name: str) -> None:
    kind, key, _ = NAMES[name]
    field = field_at(KINDS[kind], tuple(key.split(".")))
    assert field is not None
    assert field_about(field)["change"]
    for part in (field.description, describe(field).default, describe(field).values):
        assert part
        assert " ".join(part.split()) in " ".join(explain(f"{kind}.{key}").split())
        assert " ".join(part.replace("`", "").split()) in " ".join(reference().replace("`", "").split())


def test_the_old_names_of_the_page_still_work_in_their_sections(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(
        RUN + "max_seq_len: 64\nmodel_spec: {n_layers: 2, d_model: 32, n_heads: 2, d_ff: 64}\n"
        "training_spec: {eval_cadence: 5, sampling_cadence: 6, checkpoint_cadence: 7}\n"
    )
    loaded = load(TrainConfig, path)
    model, training = loaded.config.model_spec, loaded.config.training_spec
    assert (model.num_layers, model.dim_model, model.n_head, model.dim_feedforward) == (2, 32, 2, 64)
    assert (training.eval_interval_steps, training.sampling_interval_steps) == (5, 6)
    assert (training.checkpoint_interval_steps, loaded.config.seq_length) == (7, 64)
    assert len(loaded.notes) == 8


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_each_key_of_an_example_has_a_comment(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert text.count("# ") > text.count(":\n")
    load(KINDS.get(path.stem, TrainConfig), path)


def test_the_default_config_is_the_default_behaviour() -> None:
    config = load(TrainConfig, ROOT / "configs" / "default.yaml").config
    assert set(active_values(config)) == {"metadata_config_path", "model_name", "target_columns"}


def test_the_examples_are_what_their_names_say() -> None:
    examples = {
        name: load(TrainConfig, ROOT / "configs" / f"{name}.yaml").config
        for name in ("default", "small-model", "large-model", "fast-training", "detailed-eval")
    }
    default, small, large = examples["default"], examples["small-model"], examples["large-model"]
    fast, detailed = examples["fast-training"].training_spec, examples["detailed-eval"].training_spec
    assert (small.model_spec.num_layers, small.model_spec.dim_model) == (2, 128)
    assert (large.model_spec.num_layers, large.model_spec.dim_model) == (6, 512)
    assert large.training_spec.batch_size < default.training_spec.batch_size
    assert fast.batch_size > default.training_spec.batch_size
    assert fast.epochs < default.training_spec.epochs
    assert detailed.eval_interval_steps is not None
    assert detailed.sampling_interval_steps is not None
    assert set(examples["detailed-eval"].input_columns or ()) <= set(examples["detailed-eval"].target_columns)


def test_what_is_left_out_has_its_default_and_what_is_wrong_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(RUN)
    assert load(TrainConfig, path).config.training_spec == TrainConfig.model_fields["training_spec"].get_default(
        call_default_factory=True
    )
    for wrong in ("training_spec: {dropout: 1.5}", "training_spec: {max_steps: many}", "training_spec: [1"):
        path.write_text(RUN + wrong + "\n")
        with pytest.raises(ConfigError, match=r"train\.yaml:[45]"):
            load(TrainConfig, path)


def test_a_config_goes_to_a_map_and_back(tmp_path: Path) -> None:
    for kind, model in (("train", TrainConfig), ("preprocess", PreprocessConfig)):
        config = config_of(kind, tmp_path)
        assert model.model_validate(config.model_dump(mode="json")) == config  # type: ignore[attr-defined]
    infer = InferConfig(model_path=["m.onnx"])
    assert InferConfig.model_validate(infer.model_dump(mode="json")) == infer


@pytest.mark.parametrize("part", ["## Use", "## Create", "## Inheritance", "## Overrides", "## Common changes"])
def test_the_readme_of_the_configs_has_the_required_content(part: str) -> None:
    assert part in (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
