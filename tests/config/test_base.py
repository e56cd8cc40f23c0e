"""Names that files can have, and the project's folder."""

from pathlib import Path

import pytest

from sequifier.config.base import ProjectConfig, usable_name
from sequifier.config.train import TrainConfig


@pytest.mark.parametrize("name", ["a", "run 3", "größe-1.5", "n" * 100, "é" * 50])
def test_names_that_files_can_have_are_unchanged(name: str) -> None:
    assert usable_name(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n" * 101, "has 101 bytes; file names have room for 100"),
        ("é" * 51, "has 102 bytes"),
        ("a\nb", "line break"),
        ("a\x00", "cannot be printed"),
        ("a/b", "leave out `/`"),
        ("a\\b", "leave out `/`"),
        ("..", "a leading dot"),
        ("my-embedding", "which marks embedding models"),
    ],
)
def test_names_that_files_cannot_have_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        usable_name(name)
    with pytest.raises(ValueError, match=message):
        TrainConfig(metadata_config_path="m", model_name=name, target_columns=["a"])


def test_a_number_that_follows_takes_room() -> None:
    with pytest.raises(ValueError, match="has 11 bytes; file names have room for 10"):
        usable_name("n" * 11, longest=10)


def test_the_folder_of_a_project_may_be_below_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of")
    assert ProjectConfig(project_root="~/shop").root == Path("/home/of/shop")
    assert ProjectConfig().root == Path()
