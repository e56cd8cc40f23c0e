"""Configs that somebody could write by mistake or on purpose: each is one error with file and line."""

import os
from pathlib import Path
from typing import Any

import pytest

from sequifier.config.loading.load import load
from sequifier.config.loading.paths import find_input
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem

TRAIN = "metadata_config_path: m.json\ntarget_columns: [item]\nmodel_name: m\nseq_length: 8\n"
SEARCH = (
    "metadata_config_path: m.json\nhp_search_name: s\nsearch_strategy: grid\ntarget_columns: [item]\n"
    "input_columns: [[item]]\nseq_length: [8]\n"
)


def problems(model: Any, text: str, folder: Path, **given: Any) -> list[str]:
    """What is wrong with a config; the file is called f.yaml."""
    path = folder / "f.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(model, path, **given)
    return [str(problem).replace(str(path), "f.yaml") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("my key: 3\n", "f.yaml:5: `my key`: unknown key"),
        ("training_spec: {my key: 3}\n", "f.yaml:5: `training_spec.my key`: unknown key"),
        ('"my\\nkey: x": 3\n', "f.yaml:5: `my\\nkey: x`: unknown key"),
        ("training_spec: {loss_weights: {my item: x}}\n", "f.yaml:5: `training_spec.loss_weights.my item`: should be"),
        ("model_spec: {prediction_length: 9}\n", "f.yaml:5: `model_spec.prediction_length`: 9 exceeds seq_length: 8"),
        ("sections: [a]\n", "f.yaml:5: `sections`: should be `key: value` lines, got ['a']"),
        ("sections: 3\n", "f.yaml:5: `sections`: should be `key: value` lines"),
        ("sections: {a: {seed: 1}, b: [c]}\n", "f.yaml:5: `sections.b`: should be `key: value` lines, got ['c']"),
    ],
)
def test_it_is_one_problem_with_its_line(added: str, expected: str, tmp_path: Path) -> None:
    found = problems(TrainConfig, TRAIN + added, tmp_path)
    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize("path", ["../../outside", "..", "a/../../b", "./../x", "configs/../..", "x\x1b[2J", "x\ny"])
def test_run_files_stay_in_the_project(path: str, tmp_path: Path) -> None:
    found = problems(SearchConfig, SEARCH, tmp_path, flags={"model_config_write_path": path})
    assert len(found) == 1
    assert "model_config_write_path" in found[0]


@pytest.mark.parametrize("path", ["configs/hp_search", "a/../b", "/somewhere/else", "..hidden", "~/runs"])
def test_run_files_may_be_elsewhere_when_the_path_says_where(path: str, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(SEARCH)
    config = load(SearchConfig, tmp_path / "f.yaml", flags={"model_config_write_path": path}).config
    assert config.model_config_write_path == path


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "/x", "a\\b", "a\nb", "a\x1bb", ""])
def test_names_of_runs_and_searches_are_names_of_files(name: str, tmp_path: Path) -> None:
    assert "model_name" in problems(TrainConfig, TRAIN, tmp_path, flags={"model_name": name})[0]
    assert "hp_search_name" in problems(SearchConfig, SEARCH, tmp_path, flags={"hp_search_name": name})[0]


@pytest.mark.parametrize(
    "word",
    [".".join("a" * 5000) + "=1", "seed=" + "[" * 100_000, "seed=" + "9" * 5000, "seed=&a [*a]", "seed={a: " * 999],
)
def test_a_definition_cannot_break_the_reader(word: str, tmp_path: Path) -> None:
    found = problems(TrainConfig, TRAIN, tmp_path, defines=[word])
    assert all(each.startswith("-D: ") for each in found)
    assert len(found[0]) < 200_000


@pytest.mark.parametrize("ratios", ["[1e999]", "[.nan]", "[-.inf, 1]", "[" + "0.1, " * 2000 + "]"])
def test_invalid_numbers_are_refused(ratios: str, tmp_path: Path) -> None:
    assert problems(PreprocessConfig, f"data_path: x.csv\nseq_length: 8\nsplit_ratios: {ratios}\n", tmp_path)


def test_a_problem_is_printed_on_one_line() -> None:
    assert str(Problem("a\nb", "x", "f.yaml:1")) == "f.yaml:1: `a\\nb`: x"


def test_of_thousands_of_problems_the_first_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    found = problems(TrainConfig, TRAIN + "".join(f"key_{number}: 1\n" for number in range(5000)), tmp_path)
    assert len(found) == 201
    assert "f.yaml: and 4,800 more problems, of other keys" in found


def test_inputs_are_files_or_folders(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero", "/dev/null"):
        with pytest.raises(ConfigError, match=r"is (a pipe|a device|a socket), not a file"):
            find_input(path, ".", "data_path")
    assert find_input(str(tmp_path), ".", "data_path") == tmp_path
