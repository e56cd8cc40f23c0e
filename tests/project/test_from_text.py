"""Files that are texts, files that are tables, and files of users and items: told apart by their content."""

from pathlib import Path

import pytest

from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import SequifierError
from sequifier.preprocess.user_items import recognise
from sequifier.project.from_text import is_text, text_values
from sequifier.project.make import OwnTable, make

PROSE = "Before we proceed any further, hear me speak.\n\nSpeak, speak.\n" * 40


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("speech.txt", PROSE, True),
        ("one.txt", "a line of words\nand another, with a comma\n", True),
        ("notes.md", "# Title\n\nWords.\n", True),
        ("table.txt", "user,time,item\na,1,x\na,2,y\n", False),
        ("tabs.txt", "user\ttime\titem\na\t1\tx\n", False),
        ("speech.csv", PROSE, False),
        ("pairs.txt", "1 7\n1 8\n2 7\n", False),
        ("lists.txt", "1 7 8\n2 7\n", False),
    ],
)
def test_a_text_is_no_table(name: str, content: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert is_text(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1 7\n1 8\n2 7\n", {"separator": " ", "column_names": ["user", "item"]}),
        ("1\t7\n1\t8\n2\t7\n", {"separator": "\t", "column_names": ["user", "item"]}),
        ("1 7 8\n2 7\n\n3 9 9 9\n", {"lists_items": True}),
        ("1 7 8\n1 7\n", None),  # a user twice, with lists of different lengths
        ("1 7 3\n1 8 4\n", None),  # three columns: which is which?
        ("1 7\n2 8\n", None),  # every user once
        ("1 7.5\n1 8.5\n", None),
        ("user item\n1 7\n1 8\n", None),
    ],
)
def test_users_and_items_are_recognised(content: str, expected: dict[str, object] | None, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text(content)
    found = recognise(tmp_path / "data.txt")
    assert (None if found is None else found.model_dump()) == expected


def test_a_text_becomes_a_project(tmp_path: Path) -> None:
    (tmp_path / "speech.txt").write_text(PROSE)
    lines = make("project", None, tmp_path, OwnTable(tmp_path / "speech.txt"))
    assert lines[0] == f"speech.txt: a text of about {len(PROSE):,} characters; each character is an event"
    assert lines[-3:] == ["  cd project", "  sequifier preprocess", "  sequifier train"]
    configs = tmp_path / "project" / "configs"
    preprocess = load(PreprocessConfig, configs / "preprocess.yaml").config
    train = load(TrainConfig, configs / "train.yaml").config
    assert (preprocess.read_format, preprocess.data_path) == ("text", "../speech.txt")
    assert train.metadata_config_path == "configs/metadata_configs/speech.json"
    assert (train.model_name, train.training_spec.sampling_prompt) == ("project", "Before")
    with pytest.raises(SequifierError, match="is a text, which has no columns"):
        make("other", None, tmp_path, OwnTable(tmp_path / "speech.txt", targets=["word"]))


@pytest.mark.parametrize(
    ("n", "epochs", "max_steps"), [(10_000, 50, ""), (466_000, 6, ""), (10**8, 1, "\n  max_steps: 2000")]
)
def test_the_length_of_a_text_decides_on_its_epochs(n: int, epochs: int, max_steps: str) -> None:
    values = text_values("speech.txt", "speech", n, "The ")
    assert (values["epochs"], values["longest"]) == (epochs, max_steps)
