import polars as pl
import pytest

from sequifier.errors import DataError
from sequifier.project import python_tokens

SOURCE = '''"""Doc."""
# a comment

for i in range(10):
    if i != 3:
        print("three", f"{i}if{i}")
'''


def written(library, path):
    python_tokens.write(path / "tokens.parquet", library)
    return pl.read_parquet(path / "tokens.parquet")


def test_a_module_becomes_its_tokens_without_comments_and_blank_lines(tmp_path) -> None:
    (tmp_path / "loop.py").write_text(SOURCE)
    tokens = list(python_tokens.tokens(tmp_path / "loop.py"))
    assert tokens[:12] == [
        ("STRING", 10, 0),
        ("NEWLINE", 1, 0),
        ("for", 3, 0),
        ("NAME", 1, 0),
        ("in", 2, 0),
        ("NAME", 5, 0),
        ("(", 1, 0),
        ("NUMBER", 2, 0),
        (")", 1, 0),
        (":", 1, 0),
        ("NEWLINE", 1, 0),
        ("INDENT", 4, 1),
    ]
    assert tokens[-2:] == [("DEDENT", 0, 1), ("DEDENT", 0, 0)]
    assert not {"COMMENT", "NL", "ENCODING", "ENDMARKER"} & {kind for kind, _, _ in tokens}


def test_a_keyword_inside_a_string_is_not_a_keyword(tmp_path) -> None:
    (tmp_path / "loop.py").write_text(SOURCE)
    assert [kind for kind, _, _ in python_tokens.tokens(tmp_path / "loop.py")].count("if") == 1


def test_lengths_are_cut(tmp_path) -> None:
    (tmp_path / "long.py").write_text('"""' + "x" * 500 + '"""\n')
    assert next(python_tokens.tokens(tmp_path / "long.py")) == ("STRING", python_tokens.LONGEST, 0)


def test_modules_are_sequences_in_the_order_of_their_names_and_broken_ones_are_left_out(tmp_path) -> None:
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / "a.py").write_text("x\n")
    (tmp_path / "broken.py").write_text("(((\n'''")
    (tmp_path / "latin.py").write_bytes(b'x = "\xe9"\n')
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_c.py").write_text("x = 1\n")
    events = written(tmp_path, tmp_path)
    assert events.schema == {
        "sequenceId": pl.String,
        "itemPosition": pl.Int64,
        "kind": pl.String,
        "length": pl.Float64,
        "indentation": pl.Int64,
    }
    assert events["sequenceId"].to_list() == ["a", "a", "b", "b", "b", "b"]
    assert events["itemPosition"].to_list() == [0, 1, 0, 1, 2, 3]


def test_the_standard_library_gives_the_same_table_every_time(tmp_path, capsys) -> None:
    python_tokens.write(tmp_path / "one.parquet")
    python_tokens.write(tmp_path / "two.parquet")
    events = pl.read_parquet(tmp_path / "one.parquet")
    assert events.equals(pl.read_parquet(tmp_path / "two.parquet"))
    assert events["sequenceId"].n_unique() == python_tokens.MODULES
    assert events.height > 200_000
    assert {"NAME", "NEWLINE", "INDENT", "def", "return", "(", "+="} <= set(events["kind"])
    assert capsys.readouterr().out == ""


def test_a_library_without_source_is_an_error_that_names_it(tmp_path) -> None:
    with pytest.raises(DataError, match=f"no Python source.*\n.*{tmp_path.name}"):
        python_tokens.write(tmp_path / "tokens.parquet", tmp_path)
    assert not (tmp_path / "tokens.parquet").exists()
