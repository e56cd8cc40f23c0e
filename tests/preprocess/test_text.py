"""`read_format: text`, against Python's own reading of the files."""

import math
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.artifacts.metadata import Metadata
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.source import find_source
from sequifier.preprocess.text import read_texts
from tests.support.small_project import Project

SMALLEST = {"seq_length": 2, "text_sequence_length": 5}
ONE_PIECE = 1  # memory_bytes: a part is then one sequence
MIXED = "Tab\there,\r\nold Mac\rnew\n\n\u2028 \x00 é ß 漢字 🙂👩‍👩‍👧 \ufeff\u0085end"


def write(project: Project, content: str | bytes, name: str = "story.txt") -> Path:
    path = project.root / "raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def run(project: Project, path: Path, **fields: Any) -> Metadata:
    return project.run(path, **({"read_format": "text", "split_ratios": [0.6, 0.2, 0.2], **SMALLEST} | fields))


def own_text(project: Project, number: int) -> str:
    """The characters of a split in stored order, context left out; an unknown one is `?`."""
    character = dict(enumerate(project.metadata.categories("char"), start=1)) | {0: "?"}
    rows = project.split(number)
    return "".join(str(character[id]) for id in rows.filter(~rows["isContext"])["char"])


def cut(text: str, ratios: list[float]) -> list[str]:
    """The part of each split, cut at the ratios rounded half up."""
    ends = [math.floor(len(text) * math.fsum(ratios[:i]) + 0.5) for i in range(len(ratios) + 1)]
    return [text[start:end] for start, end in pairwise(ends)]


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.text(min_size=15, max_size=60), min_size=1, max_size=3),
    length=st.integers(3, 50),
    memory_bytes=st.sampled_from([ONE_PIECE, 2000, 1 << 30]),
)
def test_every_character_comes_back_in_order_from_its_split(texts: list[str], length: int, memory_bytes: int) -> None:
    with TemporaryDirectory() as folder:
        project = Project(Path(folder))
        for number, text in enumerate(texts):
            write(project, text, f"books/{number}.txt")
        metadata = run(project, project.root / "raw" / "books", text_sequence_length=length, memory_bytes=memory_bytes)
        pieces = [cut(text, [0.6, 0.2, 0.2]) for text in texts]
        for number in range(3):
            assert own_text(project, number) == "".join(piece[number] for piece in pieces)
        assert metadata.categories("char") == sorted(set("".join(texts)))
        assert metadata.sequifier.rows == [sum(len(piece[number]) for piece in pieces) for number in range(3)]


def test_characters_are_kept_as_they_are_in_the_file(project: Project) -> None:
    metadata = run(project, write(project, MIXED), split_ratios=[1.0])
    assert own_text(project, 0) == MIXED
    assert metadata.columns == metadata.categorical_columns == ["char"]
    assert metadata.column_types == {"char": "String"}
    assert metadata.id_maps["char"] == {char: id for id, char in enumerate(sorted(set(MIXED)), start=1)}
    assert project.lines[0].endswith(
        f"story.txt: {len(MIXED)} characters, {len(set(MIXED))} distinct ones, "
        f"in {-(-len(MIXED) // 5)} sequences of up to 5"
    )


def test_sequences_are_numbered_through_and_positions_start_at_0_in_each(project: Project) -> None:
    write(project, "abcdefg", "b.txt")
    write(project, "xyzxyzxyzxyz", "a/late.txt")
    run(project, project.root / "raw", split_ratios=[1.0], text_sequence_length=5)
    rows = project.split(0)
    assert own_text(project, 0) == "xyzxyzxyzxyzabcdefg"
    assert rows["sequenceId"].to_list() == [0] * 5 + [1] * 5 + [2] * 2 + [3] * 5 + [4] * 2
    assert rows["itemPosition"].to_list() == [*range(5), *range(5), 0, 1, *range(5), 0, 1]


def test_the_first_characters_train_and_the_last_ones_test(project: Project) -> None:
    text = "".join(chr(ord("A") + number) for number in range(50))
    metadata = run(project, write(project, text), text_sequence_length=20)
    assert [own_text(project, number) for number in range(3)] == [text[:30], text[30:40], text[40:]]
    # The sequence that a cut falls into goes on after it, with what came before as context.
    assert metadata.sequifier.sequences == [2, 1, 1]
    assert project.split(1)["isContext"].to_list() == [True] * 10 + [False] * 10
    assert project.split(1)["sequenceId"].unique().to_list() == [1]
    assert project.split(2)["isContext"].to_list() == [False] * 10


def test_whole_sequences_are_drawn_when_splitting_between_them(project: Project) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(100))
    run(project, write(project, text), split_method="between_sequence", text_sequence_length=10)
    found = [own_text(project, number) for number in range(3)]
    assert [len(part) for part in found] == [60, 20, 20]
    assert sorted("".join(found)) == sorted(text)
    for part in found:
        assert all(part[i : i + 10] in text for i in range(0, len(part), 10))
    assert found[0] != text[:60]


@pytest.mark.parametrize("split_method", ["within_sequence", "between_sequence"])
@pytest.mark.parametrize("write_format", ["parquet", "csv", "arrow"])
def test_parts_change_nothing(project: Project, split_method: str, write_format: str) -> None:
    path = write(project, MIXED * 9)
    fields = {"split_method": split_method, "write_format": write_format, "vocabulary_from": "train"}
    run(project, path, **fields)
    at_once = {name: (project.root / name).read_bytes() for name in project.files()}
    lines = project.lines
    run(project, path, memory_bytes=ONE_PIECE, **fields)
    assert {name: (project.root / name).read_bytes() for name in project.files()} == at_once
    assert project.lines == lines


def test_a_character_that_the_training_text_does_not_have_is_unknown(project: Project) -> None:
    path = write(project, "abababXbcc")
    metadata = run(project, path, vocabulary_from="train", split_ratios=[0.6, 0.4])
    assert metadata.id_maps == {"char": {"a": 1, "b": 2}}
    assert own_text(project, 1) == "?b??"
    assert (
        "note: column `char`: 3 of 10 values are unknown (id 0): "
        "they do not occur in the training split (vocabulary_from: train)" in project.lines
    )
    assert run(project, path, min_count=2, split_ratios=[1.0]).id_maps == {"char": {"a": 1, "b": 2, "c": 3}}
    assert run(project, path, max_categories={"char": 1}, split_ratios=[1.0]).id_maps == {"char": {"b": 1}}


def test_a_new_text_is_encoded_with_the_vocabulary_of_another(project: Project) -> None:
    first = run(project, write(project, "abcabcabcabc", "first.txt"))
    stored = str(project.metadata_path)
    second = run(project, write(project, "cab!", "second.txt"), metadata_config_path=stored, split_ratios=[1.0])
    assert second.id_maps == first.id_maps
    assert project.split(0)["char"].to_list() == [3, 1, 2, 0]
    table = project.write_text("sequenceId,itemPosition,kind\n1,1,a\n1,2,b\n", "table.csv")
    project.run(table, split_ratios=[1.0])
    with pytest.raises(DataError, match="has the column `char` only, and the metadata have kind"):
        run(project, project.root / "raw" / "second.txt", metadata_config_path=str(project.metadata_path))


def test_max_rows_counts_characters_over_all_files(project: Project) -> None:
    write(project, "abcdefg", "a.txt")
    write(project, "hijklmnop", "b.txt")
    write(project, b"\xff never read", "c.txt")
    for memory_bytes in (ONE_PIECE, 1 << 30):
        run(project, project.root / "raw", max_rows=13, split_ratios=[1.0], memory_bytes=memory_bytes)
        assert own_text(project, 0) == "abcdefghijklm"


def test_of_a_folder_the_txt_files_are_read_and_where_it_has_none_all(project: Project) -> None:
    write(project, "print(1)\n", "code/main.py")
    write(project, "Read me.\n", "code/notes/README")
    write(project, "hidden\n", "code/.git/HEAD.txt")
    folder = project.root / "raw" / "code"
    run(project, folder, split_ratios=[1.0])
    assert own_text(project, 0) == "print(1)\nRead me.\n"
    assert ": 2 files, 18 characters" in project.lines[0]
    write(project, "A tale.", "code/tale.TXT")
    run(project, folder, split_ratios=[1.0])
    assert own_text(project, 0) == "A tale."
    assert project.lines[0] == "note: 2 files of the folder left out: their names do not end in .txt (.py, README)"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["the file is empty", "bad.txt"]),
        (b"one\ntwo\nthr\xe9e\n", ["byte 0xe9 is not UTF-8", "bad.txt, line 3, byte offset 11", "save the file as"]),
        (b"\xff\xfa", ["byte 0xff is not UTF-8", "line 1, byte offset 0"]),
        ("né\n".encode() * 400 + b"\x80", ["byte 0x80", "line 401, byte offset 1,600"]),
        (b"a" * 100 + "🙂".encode()[:3], ["unexpected end of data", "byte offset 100"]),
        ("surrogate \udc80".encode(errors="surrogatepass"), ["byte 0xed", "byte offset 10"]),
        ("Text".encode("utf-16"), ["the file is UTF-16, not UTF-8"]),
        ("abé".encode("utf-16-le"), ["the file is UTF-16, not UTF-8"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("memory_bytes", [ONE_PIECE, 1 << 30])
def test_a_file_that_is_no_text_is_an_error_that_says_where(
    project: Project, content: bytes, parts: list[str], memory_bytes: int
) -> None:
    write(project, "A good one.", "folder/a.txt")
    write(project, content, "folder/bad.txt")
    with pytest.raises(DataError) as raised:
        run(project, project.root / "raw" / "folder", memory_bytes=memory_bytes)
    assert all(part in str(raised.value) for part in parts), str(raised.value)
    assert project.files() == set()


def test_a_text_too_short_for_its_splits_is_an_error(project: Project) -> None:
    with pytest.raises(DataError, match="split 0 has no event to predict"):
        run(project, write(project, "a"))


def test_a_file_that_changes_while_it_is_read_is_an_error(project: Project) -> None:
    path = write(project, "éa" * 20)
    values = {"data_path": str(path), "read_format": "text", **SMALLEST}
    config = PreprocessConfig.model_validate(values)
    texts = read_texts(find_source(config), config, memory_bytes=ONE_PIECE)
    for changed in (b"a" * 60, "aé".encode() * 20, b""):
        path.write_bytes(changed)
        with pytest.raises(DataError, match="the text changed while it was read"):
            for part in texts.parts:
                part.code_points()


def test_a_table_read_as_text_and_a_text_read_as_a_table(project: Project) -> None:
    table = project.write_text("a,b\n1,2\n", "table.csv")
    run(project, table, split_ratios=[1.0])
    assert own_text(project, 0) == "a,b\n1,2\n"
    with pytest.raises(DataError, match=r"`sequenceId`(.|\n)*if the file is not a table, set read_format: text"):
        project.run(write(project, "Once upon a time\nthere was\n"))
    with pytest.raises(DataError, match=r"`x.parquet` is not a text file(.|\n)*set read_format: parquet"):
        run(project, write(project, "PAR1", "x.parquet"))
