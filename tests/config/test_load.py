"""Sources, their order, and what a broken config says."""

from pathlib import Path

import pytest

from sequifier.config.inference import InferConfig
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.search import SearchConfig
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


def test_a_define_of_a_field_that_takes_a_map_or_a_file_may_be_either(tmp_path: Path) -> None:
    path = write(tmp_path, "model_path: m.onnx\n")
    sampler = load(InferConfig, path, defines=["sampler={temperature: 0.5, top_k: 3}"]).config.sampler
    assert sampler == load(InferConfig, path, defines=["sampler.temperature=0.5", "sampler.top_k=3"]).config.sampler
    assert load(InferConfig, path, defines=["sampler=best.yaml:top_p"]).config.sampler == "best.yaml:top_p"
    with pytest.raises(ConfigError, match="is not a complete list or map"):
        load(InferConfig, path, defines=["sampler={temperature"])


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
    assert f"{path}:7: `training_spec.batch_size`: should be an integer, got 'many'" in message
    assert f"{path}:8: `model_spec.n_head`: dim_model: 50 is not divisible by n_head: 4" in message
    assert "nearest n_head that divides it: 1, 2, 5" in message


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("learning_rate: 0.1\n", "it belongs under `training_spec`"),
        ("sead: 1\n", "did you mean `seed`?"),
        ("patience: 3\n", "it is called `training_spec.early_stopping_epochs` here"),
        ("context_length: 8\n", "it is called `seq_length` here"),
        ("model_spec: {heads: 2}\n", "it is called `n_head` here"),
        ("training_spec: {wd: 0.1}\n", "`weight_decay` is an option of the optimizer"),
        ("training_spec: {bs: 8}\n", "it is called `batch_size` here"),
        ("model_spec: {activation_fn: swigluu}\n", "did you mean `swiglu`?"),
        ("training_spec: {epochs: true}\n", "got true"),
        ("training_spec: {optimizer: {name: AdamX}}\n", "did you mean"),
        ("training_spec: {optimizer: {name: AdamW, weight_decai: 0.1}}\n", "weight_decay"),
        ("training_spec: {optimizer: {name: AdamW, amsgrad: yes}}\n", "write `true`"),
        ("training_spec: {scheduler: {name: StepLr2}}\n", "StepLR"),
        ("training_spec: {criterion: {other: MSELoss}}\n", "which is not a target"),
        ("target_column_types: {item: categorical}\ntraining_spec: {criterion: {item: MSELoss}}\n", "MSELoss"),
        (
            "training_spec: {distributed: true}\n",
            "a search trains several runs at the same time (its field `execution`)",
        ),
        ("seq_length: PLEASE FILL\n", "is still PLEASE FILL"),
        ("training_spec: {dropout: .nan}\n", "finite"),
        ("hooks: {after_steps: 'm:f'}\n", "did you mean `after_step`"),
        ("hooks: {after_step: 'm.f'}\n", "not of the form `module:function`"),
        ("training_spec: {class_share_log_columns: [other]}\n", "which is not a target"),
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


@pytest.mark.parametrize("model", [TrainConfig, PreprocessConfig, InferConfig, SearchConfig])
def test_a_project_root_that_is_not_there_names_the_nearest_folder(tmp_path: Path, model: type) -> None:
    (tmp_path / "shop" / "data").mkdir(parents=True)
    mandatory = {
        TrainConfig: MINIMAL,
        PreprocessConfig: "data_path: d.csv\nseq_length: 8\n",
        InferConfig: "model_path: m.onnx\n",
        SearchConfig: "metadata_config_path: m\nhp_search_name: s\ntarget_columns: [a]\nsearch_strategy: grid\n",
    }[model]
    path = write(tmp_path, f"{mandatory}project_root: {tmp_path}/shoop/data\n")
    with pytest.raises(ConfigError) as caught:
        load(model, path)
    (problem,) = caught.value.problems
    assert problem.key == "project_root"
    assert problem.message == f"there is no folder {tmp_path}/shoop/data; the nearest that exists is {tmp_path}"
    assert problem.source == f"{path}:{len(mandatory.splitlines()) + 1}"
    assert problem.fix == "did you mean `shop`?"
    assert not (tmp_path / "shoop").exists()
    assert load(model, path, defines=[f"project_root={tmp_path}/shop"]).config.root == tmp_path / "shop"


def test_an_unknown_section_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "sections: {quick: {seed: 1}}\n")
    assert "there is no section `quik`" in problems(path, section="quik")


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ("sections: {quick: 3}\n", "`sections.quick`: expected `key: value` lines, found 3"),
        ("sections: {quick: [seed]}\n", "`sections.quick`: expected `key: value` lines"),
        ("sections: [quick]\n", "there is no section `quick`"),
        ("", "there is no section `quick`"),
    ],
)
def test_a_section_must_be_a_map(tmp_path: Path, sections: str, expected: str) -> None:
    assert expected in problems(write(tmp_path, MINIMAL + sections), section="quick")


def test_an_empty_section_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "sections: {quick: }\n")
    assert load(TrainConfig, path, section="quick").config == load(TrainConfig, path).config


@pytest.mark.parametrize("base", ["[a.yaml, b.yaml]", "none.yaml", "."])
def test_a_base_that_is_no_file_is_named_with_its_line(tmp_path: Path, base: str) -> None:
    path = write(tmp_path, f"base_config_path: {base}\n")
    assert f"{path}:1: `base_config_path`: " in problems(path)


def test_a_file_without_a_base_says_null(tmp_path: Path) -> None:
    assert load(TrainConfig, write(tmp_path, MINIMAL + "base_config_path: null\n")).config.model_name == "first"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "`model_name`: is missing"), ("- a\n", "found list"), ("hello\n", "found str"), ("a:\n\tb: 1\n", "no tabs")],
    ids=["empty", "list", "word", "tab"],
)
def test_a_file_that_is_no_config_is_said_so(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    message = problems(path)
    assert expected in message
    assert str(path) in message


def test_text_in_another_encoding_is_an_error_but_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_bytes(MINIMAL.encode() + "user: {word: caf\xe9}\n".encode("latin1"))
    assert "not UTF-8 text" in problems(path)
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(TrainConfig, path).config.model_name == "first"


def test_a_folder_in_place_of_a_config_is_an_error(tmp_path: Path) -> None:
    assert "Is a directory" in problems(tmp_path)


@pytest.mark.parametrize(
    ("define", "expected"),
    [
        ("epochs", "`epochs` is not key=value"),
        ("=3", "is not key=value"),
        ("training_spec..epochs=3", "is not key=value"),
        ("training_spec.epochs=many", "-D: `training_spec.epochs`: should be an integer, got 'many'"),
        ("training_spec=3", "-D: `training_spec`: should be a map, got 3"),
        ("seed.x=3", "-D: `seed`: should be an integer, got {'x': 3}"),
        ("target_columns.0=price", "-D: `target_columns`: should be a list"),
        ("target_columns=[item,", "-D: `target_columns`: `[item,` is not a complete list or map"),
        pytest.param("seed=" + "9" * 5000, "-D: `seed`: unable to parse", id="5000-digits"),
        ("training_spec.torch_compile=maybe", "-D: `training_spec.torch_compile`: got 'maybe', allowed: "),
        ("training_spec.optimizer=null", "-D: `training_spec.optimizer`: should be a name, or a map with one"),
    ],
)
def test_a_define_that_cannot_be_is_said_with_its_key(tmp_path: Path, define: str, expected: str) -> None:
    assert expected in problems(write(tmp_path, MINIMAL), defines=[define])


def test_a_union_names_all_that_it_takes_once(tmp_path: Path) -> None:
    text = "data_path: a\nseq_length: 8\nfill_null: {price: median}\n"
    with pytest.raises(ConfigError) as caught:
        load(PreprocessConfig, write(tmp_path, text))
    assert "3: `fill_null.price`: got 'median', allowed: a number, 'mean', 'forward' or 'unknown'" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(InferConfig, write(tmp_path, "model_path: m.onnx\nsampler: {temperature: -1}\n"))
    assert [problem.key for problem in caught.value.problems] == ["sampler.temperature"]


def test_an_entry_of_a_list_has_the_place_of_its_line(tmp_path: Path) -> None:
    text = "metadata_config_path: m\nhp_search_name: s\nsearch_strategy: grid\ntarget_columns: [a]\n"
    text += "training_hyperparameter_sampling:\n  optimizer:\n    - {name: Adam}\n    - {name: AdmW}\n"
    with pytest.raises(ConfigError) as caught:
        load(SearchConfig, write(tmp_path, text))
    assert "train.yaml:8: `training_hyperparameter_sampling.optimizer[1]`: unknown optimizer" in str(caught.value)


def test_a_message_does_not_repeat_its_key(tmp_path: Path) -> None:
    message = problems(write(tmp_path, MINIMAL + "training_spec:\n  distributed: true\n"))
    assert "5: `training_spec.distributed`: true is refused: one run trains on one device" in message


def test_all_that_is_refused_is_named_whatever_else_is_wrong(tmp_path: Path) -> None:
    text = "seed: -1\ntraining_spec:\n  epochs: 0\n"
    message = problems(write(tmp_path, MINIMAL + text + "  distributed: true\n  world_size: 2\n"))
    assert "4 problems" in message
    for line, key in ((4, "seed"), (7, "training_spec.distributed")):
        assert f"train.yaml:{line}: `{key}`: " in message
    assert "train.yaml:8: `training_spec.world_size`: 2 is refused: " in message
    assert message.count("; leave it out (default: ") == 2


def test_files_that_inherit_in_a_circle_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "base_config_path: train.yaml\n", "base.yaml")
    assert "inherit from each other" in problems(write(tmp_path, "base_config_path: base.yaml\n"))


def test_v1_nulls_mean_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "training_spec: {accumulation_steps: null, layer_autocast: null}\n")
    assert load(TrainConfig, path).config.training_spec.accumulation_steps == 1
