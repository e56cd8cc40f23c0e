"""A table that is processed in parts gives the same bytes as one that is read at once."""

import os
import subprocess
import sys
from typing import Any

import polars as pl
import pytest

from sequifier.preprocess import partition
from tests.support.small_project import Project


def table(n_sequences: int = 60, *, text_ids: bool) -> pl.DataFrame:
    """Sequences of 1 to 29 events in shuffled rows."""
    lengths = [1 + (7 * s) % 29 for s in range(n_sequences)]
    ids = [s for s, length in enumerate(lengths) for _ in range(length)]
    n = len(ids)
    frame = pl.DataFrame(
        {
            "sequenceId": [f"s{id}" for id in ids] if text_ids else ids,
            "itemPosition": [step for length in lengths for step in range(length)],
            "kind": [("red", "green", "blue")[i * i % 3] for i in range(n)],
            "code": [i * 31 % 17 for i in range(n)],
            "price": [(i * 7919 % 1000) / 7 if i % 5 else None for i in range(n)],
        }
    )
    return frame.sample(fraction=1, shuffle=True, seed=5)


@pytest.mark.parametrize("raw", ["events.parquet", "events.csv"])
@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {"write_format": "parquet", "fill_null": {"price": "mean"}},
        {"write_format": "csv", "fill_null": {"price": 1.5}, "split_method": "between_sequence"},
        {"write_format": "arrow", "fill_null": {"price": "mean"}, "vocabulary_from": "train", "min_count": 50},
    ],
)
def test_parts_change_nothing(
    project: Project, raw: str, text_ids: bool, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.write(table(text_ids=text_ids), raw)
    project.run(path, **fields)
    at_once = {name: (project.root / name).read_bytes() for name in project.files()}
    lines = project.lines
    n_parts = []
    first_ids = partition._first_ids

    def counted(*arguments: Any) -> pl.Series:
        n_parts.append(len(first_ids(*arguments)))
        return first_ids(*arguments)

    monkeypatch.setattr(partition, "_first_ids", counted)
    project.run(path, **fields, memory_bytes=16_000)

    assert {name: (project.root / name).read_bytes() for name in project.files()} == at_once
    assert project.lines == lines
    assert n_parts[0] >= 3


def test_the_number_of_threads_changes_nothing(project: Project) -> None:
    path = project.write(table(text_ids=True))
    outputs = []
    for threads in ("1", "3"):
        script = f"""
from sequifier.config.preprocess import PreprocessConfig
from sequifier.preprocess.pipeline import preprocess
config = PreprocessConfig(project_root={str(project.root)!r}, data_path={str(path)!r}, read_format="parquet",
                          seq_length=4, fill_null={{"price": "mean"}})
preprocess(config, log=print, memory_bytes=24_000)
"""
        environment = os.environ | {"POLARS_MAX_THREADS": threads, "PYTHONHASHSEED": threads}
        subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True)
        outputs.append({name: (project.root / name).read_bytes() for name in project.files()})
    assert outputs[0] == outputs[1]


def test_preprocessing_does_not_load_torch() -> None:
    script = "import sys, sequifier.preprocess.pipeline; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "polars" in loaded and "torch" not in loaded


def test_a_feature_may_be_called_part(project: Project) -> None:
    path = project.write(table(text_ids=False).rename({"kind": "part"}))
    fields = {"fill_null": {"price": 0}}
    expected = project.run(path, **fields)
    assert project.run(path, **fields, memory_bytes=16_000) == expected
