"""From an XES log to predictions for another one, by the commands alone."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from sequifier.cli.main import cli
from sequifier.preprocess.xes import write_log
from tests.support.event_log import claims, log_of


def run(*words: str) -> str:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_model_of_a_log_predicts_the_cases_of_another_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "claims.xes.gz").write_bytes(gzip.compress(log_of(claims()).encode()))
    running = [(f"new {case}", activities[:-2]) for case, (_, activities) in enumerate(claims(15))]
    (tmp_path / "running.xes").write_text(log_of(running))
    write_log(tmp_path / "running.xes", tmp_path / "table.parquet")
    run("make", "project", "--data", "claims.xes.gz")
    monkeypatch.chdir(tmp_path / "project")
    run("preprocess")
    small = ["training_spec.epochs=1", "training_spec.max_steps=2", "model_spec.dim_model=8", "model_spec.n_head=2"]
    run("train", "-D", *small)
    (model,) = Path("models").glob("sequifier-project-best-*.onnx")
    predictions = []
    for data in ("../running.xes", "../table.parquet"):
        run("infer", "--model-path", str(model), "-dp", data, "-D", "read_format=raw")
        (path,) = Path("outputs/predictions").glob(f"*{Path(data).stem}*.csv")
        predictions.append(pl.read_csv(path))
    assert sorted(predictions[0]["sequenceId"]) == sorted(name for name, _ in running)
    assert set(predictions[0]["concept:name"]) <= {"register", "check", "ask", "wait", "decide", "close"}
    assert predictions[0].equals(predictions[1])
