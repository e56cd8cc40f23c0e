"""What trackers are told of a search, before any of them is written."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from sequifier.cli.main import cli
from sequifier.errors import RunError
from sequifier.experiment.record import METRICS
from sequifier.report.exports.mlflow import write_mlflow
from sequifier.report.exports.tensorboard import write_tensorboard
from sequifier.report.exports.trackers import plain_name, read_evaluations, tracked_runs, varied
from sequifier.results.read import read_search
from sequifier.results.trials import Table
from tests.support.synthetic_search import write_search


def test_series_are_the_lines_of_the_record(wide: Table) -> None:
    for run in tracked_runs(wide):
        if run.trial.state in ("failed", "oom"):
            assert run.evaluations == () and not run.results.keys() & {"best/val_loss", "best/epoch"}
            continue
        assert run.trial.record is not None
        entries = [json.loads(line) for line in (run.trial.record / METRICS).read_text().splitlines()]
        assert [each.step for each in run.evaluations] == [entry["step"] for entry in entries]
        for name in ("epoch", "train_loss", "val_loss", "val_kind_accuracy", "learning_rate"):
            assert [each.values[name] for each in run.evaluations] == [entry[name] for entry in entries], name
        assert [each.values["seconds/training"] for each in run.evaluations] == [
            entry["seconds"]["training"] for entry in entries
        ]
        assert run.results["best/val_loss"] == run.trial.value == min(run.trial.curve)  # type: ignore[type-var]
        assert run.results["best/epoch"] == run.trial.best_epoch


def test_times_are_the_start_and_what_was_spent(tmp_path: Path) -> None:
    lines = [
        {"epoch": 0.5, "step": 5, "val_loss": 3.0, "seconds": {"training": 2.0, "validation": 1.0}},
        {"epoch": 1, "step": 10, "val_loss": 2.0, "seconds": {"training": 4.0, "validation": 1.0}},
        {"epoch": 2, "step": 20, "val_loss": float("nan"), "seconds": {"training": 3.0, "validation": 1.0}},
        {"epoch": 2, "step": 20, "val_loss": 1.5, "class_shares": {"kind": [["a", 0.5]]}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 3, "st'
    (tmp_path / METRICS).write_text(text)
    found = read_evaluations(tmp_path, 100.0)
    assert [(each.step, each.time) for each in found] == [(5, 103.0), (10, 106.0), (20, 110.0)]
    assert found[-1].values == {"epoch": 2.0, "val_loss": 1.5}, "a step written twice counts as it was written last"
    assert read_evaluations(tmp_path / "gone", 0.0) == ()


def test_varied_settings_are_exported_with_the_linked_ones_and_the_seed(wide: Table) -> None:
    names = varied(wide)
    assert {"learning_rate", "dim_model", "n_head", "optimizer.momentum"} <= set(names) and "seed" not in names
    two = replace(wide, trials=(wide.trials[0], replace(wide.trials[1], seed=5)))
    assert varied(two)[-1] == "seed"
    assert [run.settings["seed"] for run in tracked_runs(two)] == [wide.trials[0].seed, 5]


def test_results_on_the_test_split_belong_to_the_winner(wide: Table) -> None:
    table = replace(wide, test={"run": 3, "metrics": {"val_loss": 0.9, "standard_error": None}})
    runs = tracked_runs(table)
    assert runs[3].results["test/val_loss"] == 0.9 and "test/standard_error" not in runs[3].results
    assert not any(name.startswith("test/") for run in runs if run.trial.number != 3 for name in run.results)


def test_files_are_named_where_they_lie(wide_project: Path, wide: Table) -> None:
    run = tracked_runs(wide)[0]
    assert run.files["record"] == wide.trials[0].record
    assert run.files["model"] == wide_project / "models" / "sequifier-wide-run-0-best-12.onnx"
    assert run.facts["command"].startswith("sequifier train --config-path ") and run.facts["state"] == "finished"
    failed = tracked_runs(wide)[11]
    assert failed.facts["error"] == "ValueError: no; to reproduce: x" and "model" not in failed.facts


def test_names_are_such_as_every_tracker_takes() -> None:
    assert [plain_name(name) for name in ("val_größe_loss", "a/b", "c(d)=1", "..", "")] == [
        *("val_größe_loss", "a_b", "c_d__1", "_", "_")
    ]


@pytest.mark.parametrize("write", [write_tensorboard, write_mlflow])
def test_a_package_that_is_missing_is_named_with_its_extra(
    wide: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    for module in [*sys.modules, "tensorboard", "mlflow"]:
        if module.partition(".")[0] in ("tensorboard", "mlflow"):
            monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RunError, match="not installed") as caught:
        write(wide, tmp_path / "t")  # type: ignore[operator]
    assert caught.value.fix == "pip install 'sequifier-search[trackers]'"
    assert not (tmp_path / "t").exists()


def test_the_command_writes_the_requested_files_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="the extra `trackers` is not installed")
    write_search(tmp_path, name="one", n_runs=3, epochs=3)
    write_search(tmp_path, name="two", n_runs=2, epochs=3)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["search-analysis", "one", "two", "--tensorboard", "t"])
    assert done.exit_code == 0, done.exception
    assert done.output == "5 runs written to t, to see them: tensorboard --logdir t\n"
    assert {path.name for path in Path("t").iterdir()} == {"one", "two"}
    done = CliRunner().invoke(cli, ["search-analysis", "one", "--tensorboard", "t", "--json"])
    assert json.loads(done.stdout)["name"] == "one" and "3 runs written to t" in done.stderr


def test_tensorboard_loads_torch_for_its_writer_and_nothing_else(wide_project: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `trackers` is not installed")
    words = ["-m", "sequifier", "search-analysis", "wide", "--tensorboard", str(tmp_path / "t")]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True, cwd=wide_project
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"tensorboard", "torch"} <= loaded and not loaded & {"polars", "onnx", "optuna", "mlflow"}


def test_a_run_without_a_record_has_its_results(wide_project: Path) -> None:
    table = read_search(str(wide_project / "logs" / "wide"))
    run = tracked_runs(replace(table, trials=(replace(table.trials[0], record=None),)))[0]
    assert run.evaluations == () and run.results["best/val_loss"] == table.trials[0].value
