"""What a run leaves, however it ends: folders, statuses, data that can be read at every moment."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sequifier.errors import ConfigError, RunError
from sequifier.experiment import Experiment, file_namespace, folder, folder_path, random_string, run_experiment
from sequifier.experiment.record import local_now
from tests.support.experiment_files import folders, last, start, write_experiment
from tests.support.processes import wait_for


def quiet(base: Path, **options: Any) -> Experiment:
    return Experiment(base, "exp", echo=lambda line: None, **options)


def test_folders_made_at_the_same_time_are_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder.random_string
    # Two ids alone, so that nearly every run meets a taken one.
    monkeypatch.setattr(folder, "random_string", lambda n=4: made(n) if n == 12 else made(1, "ab") * n)

    def run(number: int) -> Path:
        with quiet(tmp_path) as e:
            e["number"] = number
            return e.path

    with ThreadPoolExecutor(16) as pool:
        paths = list(pool.map(run, range(24)))
    assert len(set(paths)) == 24
    assert [Experiment.load(path)["number"] for path in paths] == list(range(24))
    assert sorted((tmp_path / "exp").iterdir()) == sorted(paths), "nothing else is left"


def test_processes_started_at_the_same_time_get_folders_of_their_own(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, "e['pid'] = __import__('os').getpid()")
    processes = [subprocess.Popen([sys.executable, path], stdout=subprocess.DEVNULL) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert {Experiment.load(path)["pid"] for path in folders(tmp_path)} == {process.pid for process in processes}


def test_a_seeded_experiment_has_its_random_numbers_for_itself(tmp_path: Path) -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    with quiet(tmp_path):
        assert random.random() == expected
    assert len({random_string(8) for _ in range(50)}) == 50


def test_helpers_for_paths(tmp_path: Path) -> None:
    assert folder_path("some/exp.py") == Path.cwd() / "some"
    assert file_namespace("/a/my.exp.py") == "results/my.exp"
    assert file_namespace("exp.py", prefix="out") == "out/exp"


ENDS = {
    "e['x'] = 1": (0, "done"),
    "raise SystemExit": (0, "done"),
    "raise SystemExit(3)": (3, "failed"),
    "raise KeyboardInterrupt": (-signal.SIGINT, "interrupted"),
    "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)": (143, "interrupted"),
    "raise ValueError('three\\nlines')": (1, "failed"),
    "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)": (-signal.SIGKILL, "running"),
}


@pytest.mark.parametrize("body", ENDS)
def test_the_status_says_how_it_ended(tmp_path: Path, body: str) -> None:
    code, status = ENDS[body]
    ended = start(write_experiment(tmp_path, f"e.log('begun')\n{body}"), check=False)
    e = last(tmp_path)
    assert (ended.returncode, e.metadata["status"]) == (code, status)
    assert Experiment.is_archive(e.path) == (status == "done")
    assert "begun" in e.log_path.read_text()
    if status == "failed":
        assert e.error == e.metadata["error"]
        assert e.error.partition(":")[0] in e.log_path.read_text()
    if "three" in body:
        assert "ValueError: three" in ended.stderr
        assert 'exp.py", line' in e.log_path.read_text(), "the traceback is in the log"


def test_analyses_of_a_failed_run_are_left_out_and_a_failed_analysis_fails_the_run(tmp_path: Path) -> None:
    below = "@experiment.analysis\ndef analysis(e): e['analysed'] = 1 / e['x']\n"
    with pytest.raises(ZeroDivisionError):
        run_experiment(write_experiment(tmp_path, "1 / 0", below=below))
    assert "analysed" not in last(tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_experiment(write_experiment(tmp_path, "e['x'] = 0", below=below))
    e = last(tmp_path)
    assert (e["x"], e.metadata["status"]) == (0, "failed")


def test_values_reach_the_disk_while_the_experiment_is_busy(tmp_path: Path) -> None:
    body = "e['a'] = 1\nfor n in range(3): e.track('metrics/loss', n)\nprint('kept', flush=True)\n"
    path = write_experiment(tmp_path, body + "import time\ntime.sleep(100)")
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "kept\n":
            pass
        (run,) = folders(tmp_path)
        wait_for(lambda: Experiment.load(run).data == {"a": 1, "metrics": {"loss": [0, 1, 2]}})
        process.send_signal(signal.SIGKILL)
    assert Experiment.load_metadata(run)["status"] == "running"


def test_a_process_killed_at_any_moment_leaves_nothing_or_a_record_that_can_be_read(tmp_path: Path) -> None:
    body = """
    import itertools
    for n in itertools.count():
        e.track("n", n)
        e["group/last"] = n
        e.log(n, echo=False)
        if n % 100 == 0:
            e.commit_json("artifact.json", list(range(n)))
            e.save_data()
    """
    path = write_experiment(tmp_path, body)
    draw = random.Random(0)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, path], stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.05, 0.6))
        process.kill()
        process.wait()
    found = folders(tmp_path) if (tmp_path / "results" / "exp").exists() else []
    for run in found:
        e = Experiment.load(run)
        assert e.metadata["status"] == "running"
        series = e.data.get("n", [])
        assert series == list(range(len(series)))
        lines = [line.split("  ")[-1] for line in e.log_path.read_text().splitlines()[1:-1]]
        assert lines == [str(n) for n in range(len(lines))]
        if (run / "artifact.json").exists():
            assert isinstance(json.loads((run / "artifact.json").read_text()), list)


def test_a_thread_that_changes_data_meanwhile_breaks_nothing(tmp_path: Path) -> None:
    with quiet(tmp_path) as e:

        def work(number: int) -> None:
            for n in range(200):
                e.track(f"series/{number}", n)
                e[f"values/{number}/{n}"] = n

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            e.save_data()
        for thread in threads:
            thread.join()
    assert Experiment.load(e.path)["series"] == {str(number): list(range(200)) for number in range(4)}


def test_names_make_groups_and_wrong_ones_say_why(tmp_path: Path) -> None:
    e = quiet(tmp_path)
    e["a/b"] = 1
    e["a/c"] = {"d": 2}
    assert (e["a"], e["a/c/d"], "a/c/d" in e, "a/x" in e) == ({"b": 1, "c": {"d": 2}}, 2, True, False)
    with pytest.raises(KeyError, match=r"a/bb: there is no `bb`; did you mean `b`\?"):
        _ = e["a/bb"]
    with pytest.raises(ValueError, match="`b` is not a group"):
        e["a/b/c"] = 1
    with pytest.raises(ValueError, match="is not a series"):
        e.track("a/b", 1)
    for name in ("", "a//b", "/a"):
        with pytest.raises(ValueError, match="is not a name"):
            e[name] = 1


def test_values_that_json_does_not_know(tmp_path: Path) -> None:
    import numpy as np

    with quiet(tmp_path) as e:
        e["array"] = np.arange(4).reshape(2, 2)
        e["number"] = np.float32(0.5)
        e["path"], e["day"], e["set"] = Path("a/b"), date(2026, 1, 31), {2, 1}
        e.track("loss", np.float64(0.25))
        e["_model"] = model = object()
        with pytest.raises(TypeError, match="JSON cannot represent a value of type object"):
            e["model"] = model
        e.data["unasked"] = model
        assert e["_model"] is model
    data = Experiment.load(e.path).data
    assert data.pop("unasked").startswith("<object")
    assert data == {
        "array": [[0, 1], [2, 3]],
        "number": 0.5,
        "path": "a/b",
        "day": "2026-01-31",
        "set": [1, 2],
        "loss": [0.25],
    }


def test_artifacts_are_at_the_root_under_the_given_name(tmp_path: Path) -> None:
    with quiet(tmp_path) as e:
        e.commit_json("sub/numbers.json", {"a": {1, 2}})
        with e.open("sub/text.txt", "w") as file:
            file.write("ü")
        e.commit_fig("plot.svg", SimpleNamespace(figure=SimpleNamespace(savefig=lambda path: path.write_text("svg"))))
        for name in ("experiment_data.json", "code/x.py", "../x", "/etc/x", ""):
            with pytest.raises(ValueError):
                e.commit_raw(name, "x")
        with pytest.raises(TypeError, match=r"pip install sequifier-search\[experiment\]"):
            e.commit_fig("plot.png", 3)  # type: ignore[arg-type]
    assert (e.path / "sub/text.txt").read_text(encoding="utf-8") == "ü"
    assert (e.path / "plot.svg").read_text() == "svg"
    assert not (tmp_path / "exp" / "x").exists()


def test_a_figure_of_matplotlib_is_saved_by_its_name(tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed").Figure()
    axes = figure.subplots()
    axes.plot([1, 2, 3])
    with quiet(tmp_path) as e:
        e.commit_fig("whole.png", figure)
        e.commit_fig("axes.pdf", axes)
    assert (e.path / "whole.png").read_bytes().startswith(b"\x89PNG")
    assert (e.path / "axes.pdf").read_bytes().startswith(b"%PDF")


def test_a_run_again_begins_anew(tmp_path: Path) -> None:
    e = quiet(tmp_path)
    e["note"] = "from before the run"
    paths = []
    for _ in range(2):
        with e:
            e.track("n", 1)
            paths.append(e.path)
    assert [Experiment.load(path).data for path in paths] == [{"note": "from before the run", "n": [1]}, {"n": [1]}]


def test_a_name_of_ones_own_and_a_prefix(tmp_path: Path) -> None:
    e = quiet(tmp_path)
    e.name = "mine"
    with e:
        assert e.path == tmp_path / "exp" / "mine"
    again = quiet(tmp_path)
    again.name = "mine"
    with pytest.raises(RunError, match="the folder `mine` exists already"):
        again.start()
    with quiet(tmp_path, parameters={"__PREFIX__": "lr"}) as e:
        assert e.name is not None and e.name.startswith("lr__2")
    with pytest.raises(ConfigError, match="__PREFIX__"):
        quiet(tmp_path, parameters={"__PREFIX__": "../x"}).start()


def test_debug_can_be_switched_on_from_the_command_line(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, "e['debug'] = e.debug")
    for _ in range(2):
        start(path, "--__DEBUG__", "true")
    assert [run.name for run in folders(tmp_path)] == ["debug"]
    assert last(tmp_path)["debug"] is True


def test_the_debug_folder_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    with quiet(tmp_path, debug=True) as first:
        first["number"] = 1
        with pytest.raises(RunError, match="another run is using the folder `debug`"):
            quiet(tmp_path, debug=True).start()
        with quiet(tmp_path) as other:
            assert other.path != first.path
    assert Experiment.load(tmp_path / "exp" / "debug").data == {"number": 1}
    with quiet(tmp_path, debug=True) as later:
        later["number"] = 2
    assert Experiment.load(tmp_path / "exp" / "debug").data == {"number": 2}


def test_a_change_of_the_working_folder_changes_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with quiet(Path("results")) as e, chdir("elsewhere"):
        e["number"] = 1
        e.commit_raw("note.txt", "note")
        assert e.cache.cached("answer")(lambda: 42)() == 42
        e.finish("done")
    (path,) = (path for path in (tmp_path / "results" / "exp").iterdir() if path.name != "cache")
    assert Experiment.load(path).data == {"number": 1} and Experiment.is_archive(path)
    assert (path / "note.txt").exists() and (path.parent / "cache" / "answer.pkl.gz").exists()
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_base_path_that_cannot_be_written_to_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make a folder") as caught:
        quiet(tmp_path / "file").start()
    assert str(tmp_path / "file") in caught.value.where
    (tmp_path / "results").write_text("")
    done = start(write_experiment(tmp_path, "pass"), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot make a folder") and "Traceback" not in done.stderr


def test_what_is_no_record_is_an_error_and_no_archive(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not the record of a run"):
        Experiment.load(tmp_path)
    assert not Experiment.is_archive(tmp_path)
    (tmp_path / "experiment_meta.json").write_text("{")
    with pytest.raises(RunError, match="cannot read experiment_meta"):
        Experiment.load_metadata(tmp_path)
    assert not Experiment.is_archive(tmp_path)


def test_a_loaded_record_takes_more(tmp_path: Path) -> None:
    with quiet(tmp_path, parameters={"SIZE": 3}) as e:
        e["x"] = 1
    loaded = Experiment.load(e.path)
    assert (loaded.SIZE, loaded.name, loaded.base_path, loaded.namespace) == (3, e.name, tmp_path, "exp")
    loaded["y"] = loaded["x"] + 1
    loaded.save_data()
    loaded.commit_raw("later.txt", "later")
    assert Experiment.load(e.path).data == {"x": 1, "y": 2}


def test_a_reproducible_run_keeps_packages_environment_and_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helper_of_exp.py").write_text("VALUE = 1\n")
    (tmp_path / "late_of_exp.py").write_text("VALUE = 2\n")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    path = write_experiment(
        tmp_path, "import late_of_exp", above="import helper_of_exp\n__REPRODUCIBLE__: bool = True\n"
    )
    start(path)
    (run,) = folders(tmp_path)
    code = {file.relative_to(run / "code").as_posix() for file in (run / "code").rglob("*.py")}
    assert {"exp.py", "helper_of_exp.py", "late_of_exp.py"} <= code
    assert json.loads((run / "dependencies.json").read_text())["numpy"]["version"]
    assert "numpy==" in (run / "requirements.txt").read_text()
    assert json.loads((run / "environment.json").read_text())["python"] == sys.version
    assert not any("hunter2" in file.read_text() for file in run.rglob("*") if file.is_file())


def test_importing_it_is_light() -> None:
    code = "import sys, sequifier.experiment as x; x.Experiment; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    ours = set(loaded.split()) - set(sys.stdlib_module_names)
    assert {name for name in ours if not name.startswith("_")} - {"sequifier", "apport_python_hook"} == set()


def test_numbers_that_json_has_not_are_null(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    with quiet(tmp_path, parameters={"LIMIT": inf}) as e:
        e["results"] = {"loss": nan, "array": np.array([1.5, -inf])}
        e.track("series", nan)
        e.add_metrics({"epoch": 1, "val_loss": nan})
        e.commit_json("a.json", {"x": inf, "é": [nan, 1]})
    texts = {path.name: path.read_text(encoding="utf-8") for path in e.path.glob("*.json*")}
    assert len(texts) == 4
    for text in texts.values():
        json.loads(text, parse_constant=pytest.fail)
    assert json.loads(texts["a.json"]) == {"x": None, "é": [None, 1]}
    again = Experiment.load(e.path)
    assert again["results"] == {"loss": None, "array": [1.5, None]}
    assert (again["series"], again["metrics/val_loss"], again.LIMIT) == ([None], [None], None)


def test_a_folder_called_latest_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "exp" / "latest").mkdir(parents=True)
    with quiet(tmp_path, latest=True) as e:
        e["x"] = 1
    assert "warning: `latest` does not point to this folder" in e.log_path.read_text()
    assert {path.name for path in (tmp_path / "exp").iterdir()} == {"latest", e.path.name}


def test_a_time_zone_that_there_is_not_counts_as_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-25:99")
    time.tzset()
    try:
        assert local_now().utcoffset() == timedelta(0)
    finally:
        monkeypatch.undo()
        time.tzset()
