"""Names that YAML takes for numbers, booleans or null, in files and on the command line."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from sequifier.config.dump import dump_yaml
from sequifier.config.inference import InferConfig
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError

ODD = ["007", "2023", "1e3", "0x1F", "1.50", "yes", "true", "null", "~", ".nan", "-5"]


def read(tmp_path: Path, model: type[BaseModel], text: str, *defines: str, section: str | None = None) -> Any:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(model, path, defines=defines, section=section).config


TRAIN = "metadata_config_path: m.json\nmodel_name: m\ntarget_columns: [y]\n"


def test_a_name_is_the_word_of_the_file(tmp_path: Path) -> None:
    text = "metadata_config_path: 12\nmodel_name: 007\ntarget_columns: 1e3\ninput_columns: [2023, null, true, 0x1F]\n"
    config = read(tmp_path, TrainConfig, text)
    assert (config.metadata_config_path, config.model_name, config.target_columns) == ("12", "007", ["1e3"])
    assert config.input_columns == ["2023", "null", "true", "0x1F"]


def test_names_are_keys_and_values_of_maps_too(tmp_path: Path) -> None:
    text = TRAIN.replace("[y]", "[2023]") + "target_column_types: {2023: real}\n"
    config = read(tmp_path, TrainConfig, text + "training_spec: {criterion: {2023: MSELoss}}\n")
    assert list(config.training_spec.criterion) == ["2023"]
    read(tmp_path, PreprocessConfig, "data_path: 2023\nseq_length: 4\nsequence_column: 1\nselected_columns: [3, 1e3]\n")
    infer = read(tmp_path, InferConfig, "model_path: [1, 002]\ninput_columns: 7\n")
    assert (infer.model_path, infer.input_columns) == (["1", "002"], ["7"])


def test_a_null_that_is_a_whole_field_stays_null(tmp_path: Path) -> None:
    assert read(tmp_path, TrainConfig, TRAIN + "input_columns: null\n").input_columns is None
    with pytest.raises(ConfigError, match="model_name"):
        read(tmp_path, TrainConfig, TRAIN.replace("model_name: m", "model_name: null"))


def test_searches_take_names_in_sets_overrides_sections_and_first_runs(tmp_path: Path) -> None:
    text = "metadata_config_path: m.json\nhp_search_name: 2023\nsearch_strategy: grid\ntarget_columns: [y]\n"
    config = read(tmp_path, SearchConfig, text + "input_columns: [[2023, 1e3], null, [b]]\n")
    assert (config.hp_search_name, config.input_columns) == ("2023", [["2023", "1e3"], None, ["b"]])
    assert read(tmp_path, SearchConfig, text + "input_columns: [2023, 1e3]\n").input_columns == [["2023", "1e3"]]
    first = read(tmp_path, SearchConfig, text + "start_with: [{input_columns: [2023], training_spec.epochs: 3}]\n")
    assert first.start_with == [{"input_columns": ["2023"], "training_spec.epochs": 3}]
    both = text + "sections: {007: {hp_search_name: 008}}\n"
    assert read(tmp_path, SearchConfig, both, section="007").hp_search_name == "008"
    (tmp_path / "base.yaml").write_text(TRAIN + "input_columns: [5]\n")
    over = "hp_search_name: 1\nsearch_strategy: grid\nbase_config_path: base.yaml\n"
    assert read(tmp_path, SearchConfig, over).input_columns == [["5"]]
    over += "overrides: {input_columns: [[2023], null]}\n"
    assert read(tmp_path, SearchConfig, over).input_columns == [["2023"], None]


def test_numbers_stay_numbers_where_a_number_is_meant(tmp_path: Path) -> None:
    text = TRAIN + "seq_length: 8\nuser: {a: 1, b: [2], c: null}\ntraining_spec: {sampling_prompt: [1, b]}\n"
    config = read(tmp_path, TrainConfig, text)
    assert (config.seq_length, config.user) == (8, {"a": 1, "b": [2], "c": None})
    assert config.training_spec.sampling_prompt == [1, "b"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ROMEO:", "ROMEO:"),
        ("a: b", "a: b"),
        ("a # b", "a # b"),
        ("{x}", "{x}"),
        ("[stage", "[stage"),
        ("2023", "2023"),
        ("'quoted: '", "quoted: "),
        ("[a, 1]", ["a", 1]),
        ("null", None),
        ("- a", ["a"]),
        ("&x", "&x"),
        ("*x", "*x"),
        ("!x", "!x"),
        ("To be, or not: to be?", "To be, or not: to be?"),
    ],
)
def test_a_prompt_on_the_command_line_is_text(tmp_path: Path, word: str, expected: Any) -> None:
    config = read(tmp_path, TrainConfig, TRAIN, f"training_spec.sampling_prompt={word}")
    assert config.training_spec.sampling_prompt == expected
    search = "metadata_config_path: m.json\nhp_search_name: s\nsearch_strategy: grid\ntarget_columns: [y]\n"
    config = read(tmp_path, SearchConfig, search, f"training_hyperparameter_sampling.sampling_prompt={word}")
    assert dict(config.training_hyperparameter_sampling)["sampling_prompt"] == expected


def test_names_on_the_command_line(tmp_path: Path) -> None:
    define = ["target_columns=2023", "input_columns=[007, null, 'x: y']", "model_name=1e3", "cpu_threads=2"]
    config = read(tmp_path, TrainConfig, TRAIN, *define)
    assert (config.target_columns, config.input_columns) == (["2023"], ["007", "null", "x: y"])
    assert (config.model_name, config.cpu_threads) == ("1e3", 2)
    assert read(tmp_path, TrainConfig, TRAIN, "target_columns=a # b").target_columns == ["a # b"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(ODD), min_size=1, unique=True), st.booleans())
def test_what_a_search_writes_reads_back_as_the_same_names(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], quoted: bool
) -> None:
    folder = tmp_path_factory.mktemp("names")
    values = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": names}
    text = dump_yaml(values) if quoted else TRAIN.replace("[y]", "[" + ", ".join(names) + "]")
    assert read(folder, TrainConfig, text).target_columns == names
