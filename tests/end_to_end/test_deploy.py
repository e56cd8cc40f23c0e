"""The scripts of docs/deploy.md, where neither Sequifier nor torch is installed, against `infer`."""

import ast
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier import api
from sequifier.artifacts.metadata import RawValueRules
from sequifier.artifacts.model_file import model_properties
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.export.end_to_end import export_end_to_end
from sequifier.export.onnx import export_onnx
from sequifier.export.raw_columns import RawColumn
from tests.support import machines
from tests.support.node import install_onnxruntime_node, run_outside
from tests.support.shapes import lively, small

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
N_ROWS = 10_000  # predicted; the tables have several times as many


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model of machines, `new.csv` with as many new ones as rows are predicted, and what `infer` predicts."""
    root = tmp_path_factory.mktemp("machines")
    machines.train(root, training_spec={"epochs": 5}, export_top_k=2)
    machines.write(root / "new.csv", machines.rows(N_ROWS, (1, 12), seed=1, strange=True))
    config = InferConfig.model_validate(
        {
            "project_root": str(root),
            "model_path": machines.model(5, ""),
            "data_path": "new.csv",
            "read_format": "raw",
            "device": "cpu",
            "write_format": "parquet",
            "top_k": 2,
        }
    )
    lines: list[str] = []
    (inference,) = api.infer(config, log=lines.append)
    assert inference.n_predictions == N_ROWS
    assert set(inference.unknown) == {"state", "code", "alarm"}
    return root


def expected(trained: Path) -> pl.DataFrame:
    """The predictions of `infer`, headed as the outputs of the graph."""
    (path,) = (trained / "outputs" / "predictions").glob("*-new-predictions.parquet")
    names = {name: f"{name}_{'value' if name in ('load', 'clock') else 'label'}" for name in machines.COLUMNS}
    return pl.read_parquet(path).select(pl.col("sequenceId").alias("machine"), *names).rename(names).sort("machine")


def assert_same(ours: pl.DataFrame, trained: Path) -> None:
    """Labels to the last one; values within rounding of float32: of `load` itself, of the deviation of `clock`."""
    theirs, ours = expected(trained), ours.sort("machine")
    assert len(theirs) == N_ROWS
    labels = ["machine", "state_label", "code_label", "alarm_label"]
    assert_frame_equal(ours.select(labels), theirs.select(labels))
    assert theirs["state_label"].n_unique() == len(machines.STATES)  # the model does not always say the same
    assert_frame_equal(ours.select("load_value"), theirs.select("load_value"), rel_tol=1e-5, abs_tol=1e-4)
    assert_frame_equal(ours.select("clock_value"), theirs.select("clock_value"), rel_tol=1e-9, abs_tol=5)


def end_to_end(trained: Path) -> str:
    return str(trained / machines.model(5))


def test_polars_scores_a_csv_with_the_labels_of_infer(trained: Path) -> None:
    """The script for polars; it runs here, with the packages of the project."""
    scores = trained / "scores.parquet"
    script(sys.executable, DEPLOY / "score_csv.py", end_to_end(trained), trained / "new.csv", scores)
    frame = pl.read_parquet(scores)
    assert_same(frame.select(*expected(trained).columns), trained)
    for target in ("state", "code", "alarm"):
        assert frame[f"{target}_probability"].is_between(1 / len(machines.STATES), 1).all()
        (path,) = (trained / "outputs" / "top_k").glob(f"*-new-{target}-top_k.parquet")
        theirs = pl.read_parquet(path).group_by(pl.col("sequenceId").alias("machine")).agg("label", "probability")
        ours = frame.select(
            "machine",
            label=f"{target}_top_labels",
            probability=pl.col(f"{target}_top_probabilities").cast(pl.List(float)),
        )
        assert_frame_equal(ours.sort("machine"), theirs.sort("machine"), rel_tol=1e-4, check_dtypes=False)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        (
            "predict_csv.py",
            {
                *("collections.abc", "csv", "datetime", "functools", "gzip", "itertools", "json", "pathlib", "re"),
                *("sys", "typing", "zoneinfo", "numpy", "onnxruntime"),
            },
        ),
        ("score_csv.py", {"json", "sys", "onnxruntime", "polars"}),
    ],
)
def test_the_scripts_import_what_they_say(name: str, needed: set[str]) -> None:
    tree = ast.parse((DEPLOY / name).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == needed


@pytest.mark.parametrize(
    "name", ["predict_csv.py", "score_csv.py", pytest.param("predict_csv.mjs", marks=pytest.mark.slow)]
)
def test_what_the_scripts_would_misread_is_refused(name: str, tmp_path: Path) -> None:
    """Dates that do not sort as text, numbers whose points are no decimal points, and tables of another form."""
    if is_javascript := name.endswith(".mjs"):
        install_onnxruntime_node(tmp_path)
    program = shutil.copy(DEPLOY / name, tmp_path)

    def run(
        days: list[str], *, header: str = "who,day,price", about: dict[str, object] | None = None, **reading: object
    ) -> str:
        column = RawColumn(np.float32, (), Scale(2.0, 1.0))
        target = Target("price", "real", 0)
        shape = small(categorical=(), real=("price",), embedding_widths=(16,), targets=(target,), seq_length=4)
        data = {"sequence_column": "who", "position_column": "day", "sequence_type": "String", "position_type": "Date"}
        properties = model_properties(
            shape,
            vocabularies={},
            statistics={"price": {"mean": 2.0, "std": 1.0}},
            data=data | (about or {}),
            config={},
            metrics={},
            reading=RawValueRules.model_validate(reading),
        )
        model, table = tmp_path / "model.onnx", tmp_path / "events.csv"
        export_end_to_end(model, shape, lively(shape), {"price": column}, properties=properties, seed=0)
        rows = [header, *(f"a,{day},{price}.234" for price, day in enumerate(days))]
        separator = "," if "," in header else ";"
        table.write_text("\n".join(rows).replace(",", separator) + "\n")
        words = ("node" if is_javascript else sys.executable, program, model, table, tmp_path / "out", "who", "day")
        done = run_outside(*words[: None if is_javascript else -2], cwd=tmp_path)
        return done.stderr.strip() if done.returncode else ""

    assert run(["2013-01-30", "2013-01-31 10:00", "2013-02-01"]) == ""
    assert run(["2013-01-30 10:00:00 UTC", "2013-01-30 10:00:00.5 UTC"]) == ""
    numbers = {"position_type": "Float64", "observation": {"start": None, "end": 9}}
    assert run(["0.5", "10.25"], about=numbers, table={"drop_duplicates": True}) == ""
    assert "begin with an event START" in run(["2013-01-30"], about={"observation": {"start": 0, "end": None}})
    assert "price" in run(["2013-01-30"], header="who,day,cost")
    german = {"thousands": ".", "decimal": ","}
    if name == "predict_csv.py":
        assert run(["30/01/2013", "01/02/2013"], dates="DD/MM/YYYY") == ""
        assert "`31/02/2013` is not a date: " in run(["31/02/2013"], dates="DD/MM/YYYY")
        assert "`30/01/2013` is not a date like 2013-01-31" in run(["30/01/2013"])
        assert "`0.234` is not a number like those of training" in run(
            ["2013-01-30"], numbers={"price": {"thousands": "", "decimal": ","}}
        )
        predicted = []
        for kind, late, style in (
            ("Int64", "1001", {}),
            ("Int64", "1.001", {"day": german}),
            ("Float64", "1.001", {"day": german}),
        ):
            assert run([late, "999"], about={"position_type": kind}, numbers=style) == ""
            predicted.append((tmp_path / "out").read_text())
        assert predicted[0] == predicted[1] == predicted[2], "999 is before 1.001 in each"
        assert run(["1001", "9999"], about={"position_type": "Int64"}) == ""
        assert (tmp_path / "out").read_text() != predicted[0]
        return
    for days in (["30/01/2013", "01/02/2013"], ["2013-01-30T10:00+01:00", "2013-01-30T10:30+02:00"]):
        assert "write all dates like 2013-01-31" in run(days, dates="DD/MM/YYYY")
    assert "price: training read numbers like 1.234,50" in run(["2013-01-30"], numbers={"price": german})
    assert "day: training read numbers like 1.234,50" in run(
        ["1.001", "999"], about={"position_type": "Float64"}, numbers={"day": german}
    )
    assert "predict_csv.py" in run(["2013-01-30"], table={"has_spaces": True})
    if is_javascript:
        assert run(["2013-01-30"], header="who;day;price", table={"separator": ";"}) == ""
        assert "a row has 2 values, and the table 3 columns: a,2013-01-30 0.234" in run(["2013-01-30 0.234\na,2013"])
        return
    assert "predict_csv.py reads such tables" in run(["2013-01-30"], table={"separator": ";"})


def test_each_script_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert {path.name for path in DEPLOY.iterdir() if path.is_file()} == set(re.findall(r"\(deploy/([\w.]+)\)", guide))


def test_the_calls_in_the_guide_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shops = ("bakery", "grocer", "hardware", "tailor", "toys", "wine", "zoo")
    size, models = len(shops) + 1, tmp_path / "models"
    for seq_length, ending in ((4, "-end-to-end"), (5, "")):
        target = Target("shop", "categorical", size)
        shape = small(
            categorical=(("shop", size),), real=(), embedding_widths=(16,), targets=(target,), seq_length=seq_length
        )
        properties = model_properties(
            shape, vocabularies={"shop": shops}, statistics={}, data={}, config={}, metrics={}
        )
        path = models / f"sequifier-NAME-best{ending}-5.onnx"
        if ending:
            column = {"shop": RawColumn(np.str_, shops)}
            export_end_to_end(path, shape, lively(shape), column, properties=properties, seed=0)
        else:
            export_onnx(path, shape, lively(shape), properties=properties, seed=0)
    monkeypatch.chdir(tmp_path)
    calls = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(calls) == 2
    for call in calls:
        exec(call, {})
        assert capfd.readouterr().out.strip() in shops


@pytest.mark.slow
def test_a_bare_environment_gives_the_labels_of_infer(trained: Path, tmp_path: Path) -> None:
    """Neither torch nor sequifier is installed there."""
    python = tmp_path / "bare" / "bin" / "python"
    made = run_outside(sys.executable, "-m", "venv", tmp_path / "bare")
    if made.returncode == 0:
        made = run_outside(
            python, "-m", "pip", "install", "--quiet", "--retries", "1", "numpy", "onnxruntime", cwd=tmp_path
        )
    if made.returncode:
        pytest.skip(f"no environment with numpy and onnxruntime can be made here: {made.stderr.strip()[-300:]}")
    for package in ("sequifier", "torch", "polars"):
        assert run_outside(python, "-c", f"import {package}", cwd=tmp_path).returncode == 1
    predictions = tmp_path / "predictions.csv"
    script(python, DEPLOY / "predict_csv.py", end_to_end(trained), trained / "new.csv", predictions, cwd=tmp_path)
    assert_same(read_csv(predictions), trained)


@pytest.mark.slow
def test_javascript_gives_the_labels_of_infer(trained: Path, tmp_path: Path) -> None:
    install_onnxruntime_node(tmp_path)
    program = shutil.copy(DEPLOY / "predict_csv.mjs", tmp_path)  # modules are looked for beside the script
    predictions = tmp_path / "predictions.csv"
    script("node", program, end_to_end(trained), trained / "new.csv", predictions, "machine", "day", cwd=tmp_path)
    assert_same(read_csv(predictions), trained)


def read_csv(path: Path) -> pl.DataFrame:
    """Predictions as Python or JavaScript writes them."""
    text = path.read_text(encoding="utf-8").replace("True", "true").replace("False", "false")
    return pl.read_csv(text.encode())


def script(*words: object, cwd: Path | None = None) -> None:
    done = run_outside(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
