"""`search-analysis` and `visualize-training` as a person calls them."""

import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sequifier.artifacts.ledger import LEDGER_FILE, Ledger
from sequifier.cli import search_analysis
from sequifier.cli.main import cli
from sequifier.errors import RunError
from tests.support.synthetic_search import write_search


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.fixture
def project(wide_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(wide_project)
    return wide_project


def test_the_summary_says_what_was_found(project: Path) -> None:
    done = run("search-analysis", "wide")
    assert done.exit_code == 0, done.exception
    for words in ("best val_loss 0.", "learning_rate", "best quarter", "feature set", "time: ", "• Run "):
        assert words in done.output, words
    assert "\x1b" not in done.output, "plain in a pipe"
    assert run("search-analysis", "--latest").output == done.output
    assert run("search-analysis", "logs/wide/ledger.jsonl").output == done.output


def test_json_is_all_numbers_and_nothing_else(project: Path) -> None:
    values = json.loads(run("search-analysis", "wide", "--json").output)
    keys = {"overview", "rows", "groups", "importances", "ranges", "interactions", "curves", "fronts", "seeds"}
    assert keys | {"recommendations", "name", "metric", "table"} <= set(values)
    assert values["overview"]["n_trials"] == 60 == len(values["table"]["trials"])
    assert values["rows"][0]["value"] == values["overview"]["best"]


def test_files_are_written_to_the_given_paths(project: Path, tmp_path: Path) -> None:
    page, best, following = tmp_path / "new" / "r.html", tmp_path / "b.yaml", tmp_path / "n.yaml"
    words = ["--html", str(page), "--export", str(best), "--next", str(following)]
    done = run("search-analysis", "wide", *words)
    assert done.exit_code == 0, done.exception
    for path in (page, best, following):
        assert path.stat().st_size > 500 and str(path) in done.output
    assert "This page makes no network request." in page.read_text()


def test_searches_are_read_one_by_one_or_compared(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_search(tmp_path, name="one", n_runs=6, epochs=3)
    write_search(tmp_path, name="two", n_runs=6, epochs=3, seed=7, sampler_seed=5)
    monkeypatch.chdir(tmp_path)
    alone = run("search-analysis", "one", "two").output
    assert "one: 6 finished" in alone and "two: 6 finished" in alone
    together = run("search-analysis", "one", "two", "--html", "c.html")
    assert together.exit_code == 0, together.exception
    assert "one + two: 12 finished" in together.output and "in the best quarter" in together.output
    assert ">Searches</h2>" in Path("c.html").read_text()
    assert run("search-analysis", "one", "two", "--compare").output in together.output
    for words in (["--next", "x.yaml"], ["--json"], ["--watch"]):
        assert "add --compare" in run("search-analysis", "one", "two", *words).output
    assert run("search-analysis").exit_code == 2
    assert run("search-analysis", "one", "--json", "--watch").exit_code == 2


def test_the_log_of_a_run_is_shown(project: Path) -> None:
    record = next((project / "logs" / "wide-run-3").glob("2*"))
    (record / "experiment_log.txt").write_text("2026  it began\n")
    assert run("search-analysis", "wide", "--log", "3").output == "2026  it began\n"
    missing = run("search-analysis", "wide", "--log", "60")
    assert isinstance(missing.exception, RunError) and missing.exception.fix == "it has 0 to 59"


def test_watching_draws_until_the_search_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_search(tmp_path, n_runs=4, epochs=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search_analysis, "WATCH_SECONDS", 0.02)
    sleep, looked = time.sleep, threading.Semaphore(0)

    def asleep(seconds: float) -> None:
        looked.release()
        sleep(seconds)

    monkeypatch.setattr("sequifier.cli.search_analysis.time.sleep", asleep)
    path = Path("logs/wide") / LEDGER_FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))
    ledger = Ledger.open(Path("logs/wide"))

    def until_looked() -> None:
        while looked.acquire(blocking=False):
            pass
        for _ in range(2):  # the second look began after the last line was written
            assert looked.acquire(timeout=60)

    def go_on() -> None:
        for place in range(3, len(lines)):
            until_looked()
            with path.open("a") as file:
                file.write(lines[place])
        until_looked()
        ledger.close()

    worker = threading.Thread(target=go_on)
    worker.start()
    try:
        done = run("search-analysis", "--latest", "--watch", "--html", "live.html")
    finally:
        worker.join()
    assert done.exit_code == 0, done.exception
    changes = [line for line in done.output.splitlines() if line.startswith("wide: ")]
    assert changes[0].startswith("wide: 1 running, 1 finished") or changes[0].startswith("wide: 1 finished, 1 running")
    assert (
        len(changes) == len(set(changes)) >= 4 and "4 finished" in changes[-1] and changes[-1].endswith("not running")
    )
    assert 'http-equiv="refresh"' not in Path("live.html").read_text(), "the last page is of a search that has ended"


def test_nothing_heavy_is_loaded(project: Path, tmp_path: Path) -> None:
    words = ["-m", "sequifier", "search-analysis", "wide", "--html", str(tmp_path / "r.html")]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True, env={**os.environ}
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "numpy" in loaded and not loaded & {"torch", "polars", "onnx", "optuna", "sklearn", "onnxruntime", "scipy"}


def test_curves_of_runs_and_searches_are_drawn(project: Path, tmp_path: Path) -> None:
    page = tmp_path / "c.html"
    done = run("visualize-training", "wide-run-1,wide-run-2", "--log-scale", "-o", str(page))
    assert done.output == f"{page}\n", done.exception
    assert page.read_text().count('class="line k-s') == 4 and "(log)" in page.read_text()
    done = run("visualize-training", "wide", "-o", str(page))
    assert page.read_text().count('class="line ') == 58, "two runs ended before their first epoch"
    assert run("visualize-training", "wide-run-1", "--metric", "val_kind_accuracy", "-o", str(page)).exit_code == 0
    text = page.read_text()
    assert "best val_kind_accuracy" in text and "Dashed" not in text


def test_curves_of_a_search_are_those_of_its_runs_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "my [search]"
    write_search(tmp_path, name=name, n_runs=11, epochs=2)
    logs = tmp_path / "logs"
    shutil.copytree(logs / f"{name}-run-1", logs / f"{name}-run-1-verify", symlinks=True)
    monkeypatch.chdir(tmp_path.parent)
    done = run("visualize-training", str(logs / name), "-o", "curves.html")
    assert done.exit_code == 0, done.exception
    page = Path("curves.html").read_text()
    assert sorted(re.findall(r"</span>my \[search\]-run-([^<]*)</th>", page), key=int) == [*map(str, range(11))]
    assert shlex.join(["sequifier", "visualize-training", str(logs / name)]) in html.unescape(page)


def test_what_cannot_be_drawn_is_reported(project: Path) -> None:
    for words, message in (
        (["wide-run-999"], "there is no run or search `wide-run-999`"),
        (["wide-run-1", "--metric", "val_loss_"], "no run has `val_loss_` after an epoch"),
    ):
        done = run("visualize-training", *words)
        assert isinstance(done.exception, RunError) and message in str(done.exception)
        assert done.exception.fix
    assert run("visualize-training", ",").exit_code == 2
