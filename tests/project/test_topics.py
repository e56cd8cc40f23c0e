import sys

import pytest

from sequifier.errors import DataError
from sequifier.project import topics


def test_topics_are_sorted_by_name(tmp_path) -> None:
    topics.write(tmp_path / "topics.txt", {"while": "\nWhile…\n\tloop\n\n", "assert": "Assert\n"})
    assert (tmp_path / "topics.txt").read_bytes() == "Assert\n\n\nWhile…\n\tloop\n".encode()


def test_python_has_enough_of_them_and_the_same_every_time(tmp_path, capsys) -> None:
    topics.write(tmp_path / "one.txt")
    topics.write(tmp_path / "two.txt")
    text = (tmp_path / "one.txt").read_bytes()
    assert text == (tmp_path / "two.txt").read_bytes()
    assert len(text.decode()) > 300_000
    assert b"Assert statements are a convenient way to insert debugging assertions" in text
    assert capsys.readouterr().out == ""


def test_a_python_without_topics_is_an_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="no documentation topics"):
        topics.write(tmp_path / "topics.txt")
    assert not (tmp_path / "topics.txt").exists()
