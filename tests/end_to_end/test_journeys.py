"""From anybody's file to predictions by the deployed model, for the same file: five commands, and no editor.

The deployed model is the end-to-end graph, called by docs/deploy/predict_csv.py, which needs no Sequifier.
"""

import gzip
import random
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from sequifier.cli.main import cli
from tests.support.event_log import claims, log_of
from tests.support.node import run_outside

PREDICT = Path(__file__).parents[2] / "docs" / "deploy" / "predict_csv.py"


def spreadsheet(folder: Path) -> list[str]:
    """Semicolons, spaces, a byte order mark, decimal commas, local dates, equal times, marks, empty cells, copies."""
    draw, rows = random.Random(1), [" Kunde ; Datum ; Artikel ; Preis ; Bemerkung "]
    for customer in range(30):
        for visit in range(draw.randint(6, 14)):
            day = datetime(2024, 1, 1) + timedelta(days=customer % 9 + visit // 2 * 5)
            price = (
                "-" if draw.random() < 0.1 else f"{draw.randint(1, 3)}.{draw.randint(100, 999)},{draw.randint(10, 99)}"
            )
            item = "" if draw.random() < 0.05 else f"A{(visit + customer) % 4}"
            rows += [f"K{customer:03d};{day:%d.%m.%Y};{item};{price};"] * draw.choice((1, 1, 1, 2))
        rows.append(";;;;")
    (folder / "export.csv").write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n").encode())
    return [
        "export.csv",
        "--sequence",
        "Kunde",
        "--order",
        "Datum",
        "--drop-duplicates",
        "--target",
        "Artikel",
        "Preis",
    ]


def packed_parts(folder: Path) -> list[str]:
    """A folder of compressed files; sequences continue from one to the next."""
    (folder / "clicks").mkdir()
    for part in range(3):
        rows = ["session,step,page,is_new"]
        rows += [f"{s},{10 * part + t},p{(s + t) % 4},{'true' if t else ''}" for s in range(20) for t in range(5)]
        (folder / "clicks" / f"{part}.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    return ["clicks", "--target", "page"]


def users_and_items(folder: Path) -> list[str]:
    """A line for each event, without a header."""
    draw = random.Random(2)
    (folder / "ratings.txt").write_text("".join(f"{u} {draw.randint(1, 9)}\n" for u in range(1, 50) for _ in range(6)))
    return ["ratings.txt"]


def users_with_items(folder: Path) -> list[str]:
    """A line for each user, without a header."""
    draw = random.Random(3)
    lines = (f"{u} " + " ".join(str(draw.randint(1, 9)) for _ in range(draw.randint(3, 9))) for u in range(1, 50))
    (folder / "sequences.txt").write_text("\n".join(lines) + "\n")
    return ["sequences.txt"]


def names_on_the_command_line(folder: Path) -> list[str]:
    """No header, and no order but that of the rows."""
    rows = "".join(f"m{m}\t{(m + t) % 5}\t{(m + t) % 7 / 7}\n" for m in range(20) for t in range(12))
    (folder / "machines.tsv").write_text(rows)
    names = ["--columns", "machine", "state", "load", "--sequence", "machine", "--order", "None"]
    return ["machines.tsv", *names, "--target", "state"]


def a_series(folder: Path) -> list[str]:
    """A single series, by hours."""
    start = datetime(2016, 7, 1)
    rows = ["date,load,OT", *(f"{start + timedelta(hours=i)},{i % 24 / 3},{i % 24 / 24 + i % 5}" for i in range(400))]
    (folder / "series.csv").write_text("\n".join(rows) + "\n")
    return ["series.csv", "--target", "OT"]


def a_text(folder: Path) -> list[str]:
    """Plain text, whose events are characters."""
    (folder / "speech.txt").write_text("Before we proceed any further, hear me speak.\n\nSpeak, speak.\n" * 60)
    return ["speech.txt"]


def commands(folder: Path, data: list[str], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run the journey, and return its commands. Trainings take two steps."""
    done: list[list[str]] = []

    def run(*words: str) -> str:
        result = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        done.append(list(words))
        return result.output

    monkeypatch.chdir(folder)
    run("make", "project", "--data", *data)
    monkeypatch.chdir(folder / "project")
    run("preprocess")
    run("train", "-D", "export_end_to_end=true", "training_spec.epochs=1", "training_spec.max_steps=2")
    run("infer", "-mp", "models/sequifier-project-best-1.onnx", "-dp", f"../{data[0]}", "-D", "read_format=raw")
    return done


def assert_deployed_model_agrees(folder: Path, data: str) -> None:
    """One more command: the deployed model on the same file predicts what `infer` predicts."""
    model, predictions = "models/sequifier-project-best-end-to-end-1.onnx", folder / "deployed.csv"
    ended = run_outside(sys.executable, PREDICT, folder / "project" / model, folder / data, predictions)
    assert ended.returncode == 0, ended.stderr
    ours = pl.read_csv(predictions, infer_schema=False)
    (path,) = (folder / "project" / "outputs" / "predictions").glob("*-best-1-*-predictions.csv")
    theirs = pl.read_csv(path, infer_schema=False)
    assert ours.height == theirs.height > 0
    both = ours.join(theirs, left_on=ours.columns[0], right_on="sequenceId")
    assert both.height == ours.height
    for column in ours.columns[1:]:
        target, _, kind = column.rpartition("_")
        if kind == "label":
            assert both[column].to_list() == both[target].to_list()
        else:
            assert both[column].cast(float).to_list() == pytest.approx(both[target].cast(float).to_list(), rel=1e-4)


def test_a_spreadsheet_becomes_a_deployed_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = spreadsheet(tmp_path)
    assert len(commands(tmp_path, data, monkeypatch)) + 1 == 5
    assert_deployed_model_agrees(tmp_path, data[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "journey",
    [packed_parts, users_and_items, users_with_items, names_on_the_command_line, a_series, a_text],
    ids=lambda journey: journey.__name__,
)
def test_any_file_becomes_a_deployed_answer(
    journey: Callable[[Path], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = journey(tmp_path)
    assert len(commands(tmp_path, data, monkeypatch)) + 1 == 5
    assert_deployed_model_agrees(tmp_path, data[0])


@pytest.mark.slow
def test_an_event_log_becomes_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "claims.xes.gz").write_bytes(gzip.compress(log_of(claims()).encode()))
    assert len(commands(tmp_path, ["claims.xes.gz"], monkeypatch)) == 4
    assert list((tmp_path / "project" / "outputs" / "predictions").glob("*-claims*-predictions.csv"))
