"""`drop_duplicates`: copies of rows are left out, and nothing else."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.config.preprocess import PreprocessConfig
from sequifier.preprocess import pipeline

KEYS = {"sequence_column": "user", "position_column": "time", "selected_columns": ["item", "size"]}

# Copies, rows that differ in a column that is not selected, and equal rows of other sequences.
NUT, BOLT = ("nut", 0.5), ("bolt", 0.5)
ROWS = [
    *(("u1", 1, *NUT, "r1"), ("u1", 1, *NUT, "r2"), ("u1", 1, *BOLT, "r1"), ("u2", 1, *NUT, "r1")),
    *(("u1", 1, *NUT, "r1"), ("u1", 2, *NUT, "r1"), ("u2", 1, *NUT, "r1"), ("u2", 3, None, 1.5, "r1")),
    *(("u2", 3, None, 1.5, "r1"), ("u2", 4, *BOLT, None), ("u2", 4, *BOLT, None), ("u1", 1, *NUT, "r1")),
]
TABLE = pl.DataFrame(ROWS, schema=("user", "time", "item", "size", "receipt"), orient="row")


def encoded(
    root: Path, data: Path, memory_bytes: int = pipeline.MEMORY_BYTES, **fields: object
) -> tuple[Metadata, pl.DataFrame, list[str]]:
    """The metadata, the only split, and what was printed."""
    given = {"project_root": str(root), "data_path": str(data), "seq_length": 3, "split_ratios": [1.0]}
    given |= {"fill_null": {"item": "unknown"}, "repeated_positions": "keep", **KEYS, **fields}
    lines: list[str] = []
    path = pipeline.preprocess(PreprocessConfig.model_validate(given), log=lines.append, memory_bytes=memory_bytes)
    metadata = read_metadata(path)
    return metadata, pl.read_parquet(root / metadata.split_paths[0]), lines


@pytest.mark.parametrize("memory_bytes", [pipeline.MEMORY_BYTES, 100])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_first_of_identical_rows_remains(tmp_path: Path, suffix: str, memory_bytes: int) -> None:
    """As polars does it with the whole table, also where copies are in different files and parts."""
    (tmp_path / "parts").mkdir()
    for number, some in enumerate((TABLE[:5], TABLE[5:])):
        path = tmp_path / "parts" / f"{number}.{suffix}"
        some.write_csv(path) if suffix == "csv" else some.write_parquet(path)
    distinct = TABLE.unique(keep="first", maintain_order=True)
    distinct.write_csv(tmp_path / "distinct.csv")

    fields = {"read_format": suffix, "drop_duplicates": True}
    metadata, events, lines = encoded(tmp_path, tmp_path / "parts", memory_bytes, **fields)
    expected, by_hand, nothing = encoded(tmp_path, tmp_path / "distinct.csv")

    assert_frame_equal(events, by_hand)
    assert metadata.sequifier.fingerprint == expected.sequifier.fingerprint
    assert TABLE.height - distinct.height == 5
    said = "5 rows left out: identical to an earlier row in every column"
    assert (said in lines, said in nothing) == (True, False)
    assert metadata.sequifier.reading.table.drop_duplicates
    assert not expected.sequifier.reading.table.drop_duplicates


def test_what_is_left_of_a_table_may_need_no_repeated_positions(tmp_path: Path) -> None:
    rows = TABLE.filter(pl.col("time") > 1)
    rows.write_csv(tmp_path / "table.csv")
    _, events, _ = encoded(tmp_path, tmp_path / "table.csv", drop_duplicates=True, repeated_positions="error")
    assert events.height == 3


def test_a_resumed_preprocess_counts_all_that_it_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts that an interrupted run finished are counted too."""
    TABLE.write_csv(tmp_path / "table.csv")
    fields = {"drop_duplicates": True, "continue_preprocessing": True}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sequifier.preprocess.encode_data.split_table", stop)
        with pytest.raises(KeyboardInterrupt):
            encoded(tmp_path, tmp_path / "table.csv", 100, **fields)
    _, events, lines = encoded(tmp_path, tmp_path / "table.csv", 100, **fields)
    assert events.height == 7
    assert "5 rows left out: identical to an earlier row in every column" in lines


def test_rows_in_order_are_never_copies() -> None:
    with pytest.raises(ValidationError, match="position_column is null, so identical rows are different events"):
        PreprocessConfig.model_validate(
            {"data_path": "x", "seq_length": 3, "position_column": None, "drop_duplicates": True}
        )
