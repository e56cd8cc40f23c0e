"""Programs of the user: what they are told, what they answer, and how they go wrong. No shell, no torch."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sequifier.config.search_fields import EvaluationScript
from sequifier.errors import RunError
from sequifier.search.evaluation_script import ENVIRONMENT, TrainedRun, measure
from tests.support.processes import dies, is_alive


def trained(root: Path) -> TrainedRun:
    return TrainedRun(
        number=3,
        name="demo-run-3",
        config_path=root / "configs" / "demo-run-3.yaml",
        files={"config": "configs/demo-run-3.yaml", "record": "logs/demo-run-3/0", "best_onnx": "models/best 2.onnx"},
        metrics={"val_loss": 0.1 + 0.2},
        project_root=root,
    )


def script(root: Path, source: str, **values: Any) -> EvaluationScript:
    """A script in a folder with a space in its name."""
    path = root / "my scripts" / "score.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    command = f"{shlex.quote(sys.executable)} 'my scripts/score.py' --digits 2"
    return EvaluationScript(**({"command": command, "metrics": {"f1": "maximize"}} | values))


def test_a_script_receives_the_run_and_its_last_line_is_the_result(tmp_path: Path) -> None:
    source = """
import json, os, sys
told = json.load(sys.stdin)
told["arguments"], told["cwd"] = sys.argv[1:], os.getcwd()
told["environment"] = {name: value for name, value in os.environ.items() if name.startswith("SEQUIFIER_")}
json.dump(told, open("told.json", "w"))
print("scoring ...")
print(json.dumps({"f1": 0.75, "recall": 1, "other": "text"}))
print()
"""
    metrics = {"f1": "maximize", "recall": "maximize"}
    assert measure(script(tmp_path, source, metrics=metrics), trained(tmp_path)) == {"f1": 0.75, "recall": 1.0}
    told = json.loads((tmp_path / "told.json").read_text())
    environment = told.pop("environment")
    assert told == {
        "run": 3,
        "name": "demo-run-3",
        "config": str(tmp_path / "configs/demo-run-3.yaml"),
        "model": str(tmp_path / "models/best 2.onnx"),
        "files": {"best_onnx": str(tmp_path / "models/best 2.onnx")},
        "record": str(tmp_path / "logs/demo-run-3/0"),
        "project_root": str(tmp_path),
        "metrics": {"val_loss": 0.1 + 0.2},
        "arguments": ["--digits", "2"],
        "cwd": str(tmp_path),
    }
    assert set(ENVIRONMENT) <= set(environment)
    assert (environment["SEQUIFIER_RUN"], environment["SEQUIFIER_MODEL"]) == ("3", told["model"])
    assert json.loads(environment["SEQUIFIER_METRICS"]) == told["metrics"]


def test_the_metrics_of_thousands_of_steps_come_by_standard_input_alone(tmp_path: Path) -> None:
    steps = {f"val_price_mae_step_{step}": step / 7 for step in range(1, 3001)}
    run = replace(trained(tmp_path), metrics={"val_loss": 0.5, **steps})
    source = """
import json, os, sys
metrics = json.load(sys.stdin)["metrics"]
print(json.dumps({"f1": len(metrics) + metrics["val_price_mae_step_7"], **json.loads(os.environ["SEQUIFIER_METRICS"])}))
"""
    measured = measure(script(tmp_path, source, metrics={"f1": "maximize", "val_loss": "minimize"}), run)
    assert measured == {"f1": 3002.0, "val_loss": 0.5}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys; sys.exit('no such column: price')", "exit code 1: no such column: price"),
        ("import os; os.abort()", "it was ended by SIGABRT"),
        ("print('f1 = 0.5')", "the last line of its output is not a JSON object: 'f1 = 0.5'"),
        ("", "the last line of its output is not a JSON object: ''"),
        ("print([0.5])", "the last line of its output is not a JSON object: '[0.5]'"),
        ('print(\'{"f2": 1, "g": 2}\')', "it did not print `f1`, only f2, g"),
        ("print('{\"f1\": NaN}')", "its `f1` is NaN, not a finite number"),
        ('print(\'{"f1": "0.5"}\')', 'its `f1` is "0.5", not a finite number'),
        ("print('{\"f1\": true}')", "its `f1` is true, not a finite number"),
    ],
)
def test_failures_are_reported(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(RunError) as caught:
        measure(script(tmp_path, source), trained(tmp_path))
    assert caught.value.what == f"evaluation script failed: {message}"
    assert "my scripts/score.py" in caught.value.where


def test_of_a_long_traceback_the_last_lines_are_shown(tmp_path: Path) -> None:
    source = "import sys\nfor n in range(100): print('line', n, file=sys.stderr)\nraise ValueError('bad value')"
    with pytest.raises(RunError, match="evaluation script failed: exit code 1: ") as caught:
        measure(script(tmp_path, source), trained(tmp_path))
    assert caught.value.what.endswith("ValueError: bad value")
    assert "line 50" not in caught.value.what


def test_a_missing_command_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot run no-such-program: No such file or directory"):
        measure(script(tmp_path, "", command="no-such-program --fast"), trained(tmp_path))


def test_a_command_is_no_shell_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"not a JSON object: '> out\.txt; x'"):
        measure(script(tmp_path, "", command="echo '>' out.txt\\; x"), trained(tmp_path))
    assert not (tmp_path / "out.txt").exists()


def test_a_large_output_that_nobody_reads_meanwhile_does_not_hang(tmp_path: Path) -> None:
    source = "import sys\nsys.stderr.write('x' * 1_000_000)\nprint('y' * 1_000_000)\nprint('{\"f1\": 1}')"
    assert measure(script(tmp_path, source), trained(tmp_path)) == {"f1": 1.0}


CHILD_SLEEPS = """
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
open("pids", "w").write(f"{os.getpid()} {child.pid}")
os.rename("pids", "pids.txt")
"""


def test_when_its_time_is_up_it_is_killed_with_what_it_started(tmp_path: Path) -> None:
    late = script(tmp_path, CHILD_SLEEPS + "time.sleep(600)", timeout_minutes=1 / 60)
    with pytest.raises(RunError, match=r"it took longer than 0\.0166667 minutes and was ended"):
        measure(late, trained(tmp_path))
    assert all(dies(int(pid)) for pid in (tmp_path / "pids.txt").read_text().split())


def test_what_it_leaves_running_is_killed_and_not_waited_for(tmp_path: Path) -> None:
    assert measure(script(tmp_path, CHILD_SLEEPS + "print('{\"f1\": 1}')"), trained(tmp_path)) == {"f1": 1.0}
    assert all(dies(int(pid)) for pid in (tmp_path / "pids.txt").read_text().split())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_does_not_outlive_the_search(tmp_path: Path, how: signal.Signals) -> None:
    sleeping = script(tmp_path, CHILD_SLEEPS + "time.sleep(600)")
    search = f"""
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.search.test_evaluation_script import trained
from sequifier.config.search_fields import EvaluationScript
from sequifier.search.evaluation_script import measure
measure(EvaluationScript(command={sleeping.command!r}, metrics={{"f1": "maximize"}}), trained(Path({str(tmp_path)!r})))
"""
    with subprocess.Popen([sys.executable, "-c", search], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pids.txt").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        pids = [int(pid) for pid in (tmp_path / "pids.txt").read_text().split()]
        assert all(map(is_alive, pids))
        os.kill(process.pid, how)
    assert all(map(dies, pids))


@pytest.mark.parametrize("printed", ["'[' * 100000", "'{\"f1\":' * 100000", "'9' * 5000", "'\\x1b[31m'"])
def test_what_no_parser_takes_is_one_error(tmp_path: Path, printed: str) -> None:
    with pytest.raises(RunError, match="not a JSON object") as caught:
        measure(script(tmp_path, f"print({printed})"), trained(tmp_path))
    assert "\x1b" not in str(caught.value)
