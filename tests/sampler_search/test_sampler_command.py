"""The command as a user types it: the founding page's sessions with our names, and its flags."""

import json
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml

from sequifier.report.groups import group_performance
from sequifier.results.read import read_search
from tests.support.command_line import Run, run_here
from tests.support.trained_text import write_search

LOGS = Path("logs/sampler-search")
RANGES = {"min_p": {"temperature": [1.0, 1.1], "min_p": [0.01, 0.03], "max_tokens": [8]}}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `sequifier sampler-search WORDS...`."""
    return partial(run_here, monkeypatch, capfd, "sampler-search")


def newest() -> dict[str, Any]:
    path = max(LOGS.glob("hyper_search_*.json"), key=lambda path: path.stat().st_mtime_ns)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture
def config(text_project: Path) -> Path:
    return write_search(text_project, n_samples=4, sections={"quick_test": {"n_samples": 2, "samples_per_config": 1}})


def test_the_complete_workflow(run: Run, config: Path) -> None:
    quick = run("--model-path", "models/text.onnx", "--config-section", "quick_test")
    assert quick.code == 0, quick.err
    assert newest()["search_metadata"]["total_configurations"] == 2
    full = run("--model-path", "models/text.onnx", "--strategy", "bayesian", "--iterations", "5")
    assert full.code == 0
    assert (newest()["search_metadata"]["strategy"], newest()["search_metadata"]["total_configurations"]) == (
        "bayesian",
        5,
    )
    assert "all results: logs/sampler-search/hyper_search_bayesian_" in full.out
    assert "best samplers: logs/sampler-search/best.yaml" in full.out
    assert "sequifier infer --model-path models/text.onnx -D sampler=logs/sampler-search/best.yaml" in full.out
    assert "[5/5] run" in full.err and "best so far" in full.err
    shown = {f"± {each['standard_error']:.3f}" for each in newest()["all_results"]}
    assert all(any(error in line for error in shown) for line in full.err.splitlines() if "] run" in line)
    assert "rank run sampler" in full.out


def test_grid_search_over_one_sampler(run: Run, text_project: Path) -> None:
    write_search(text_project, parameter_ranges=RANGES)
    done = run("--strategy", "grid", "--samplers", "min_p")
    assert done.code == 0
    assert len(newest()["all_results"]) == 4
    assert {each["parameters"]["max_tokens"] for each in newest()["all_results"]} == {8}
    scores = [each["mean_score"] for each in newest()["all_results"]]
    spread = f"deviation {stdev(scores):.3f}, range {min(scores):.3f} to {max(scores):.3f}, of 4 configurations"
    assert f"min_p: mean score {fmean(scores):.3f}, {spread}\n" in done.out
    (group,) = group_performance(read_search(str(LOGS))).groups
    assert (group.name, group.mean, group.count) == ("min_p", pytest.approx(fmean(scores)), 4)


def test_overrides_of_the_command_line(run: Run, config: Path) -> None:
    words = [
        "--strategy",
        "random",
        "--iterations",
        "3",
        "--samples-per-config",
        "1",
        "--samplers",
        "min_p",
        "top_n_sigma",
    ]
    done = run(*words, "--custom-prompts", "the cat ", "a dog ")
    assert done.code == 0
    content = newest()
    assert content["search_metadata"]["total_configurations"] == 3
    assert {each["sampler_type"] for each in content["all_results"]} == {"min_p", "top_n_sigma"}
    assert all(each["sample_count"] == 2 for each in content["all_results"])
    assert set(content["all_results"][0]["scores"]) == {"distinct_n", "repetition"}


def test_a_custom_search_space_in_a_file_of_its_own(run: Run, text_project: Path) -> None:
    custom = {
        "search_strategy": "grid",
        "sampler_types": ["min_p"],
        "parameter_ranges": RANGES,
        "test_prompts": ["my bird "],
    }
    (text_project / "custom_search.yaml").write_text(yaml.safe_dump(custom))
    assert run("--config-path", "custom_search.yaml", "--model-path", "models/text.onnx").code == 0
    assert len(newest()["all_results"]) == 4


def test_a_seed_makes_a_search_reproducible(run: Run, config: Path) -> None:
    found = []
    for name in ("one", "two"):
        assert run("--seed", "7", "-D", f"sampler_search_name={name}").code == 0
        path = next(Path(f"logs/{name}").glob("hyper_search_*.json"))
        found.append([(each["parameters"], each["mean_score"]) for each in json.loads(path.read_text())["all_results"]])
    assert found[0] == found[1]
    assert run("--seed", "8", "-D", "sampler_search_name=three").code == 0
    other = json.loads(next(Path("logs/three").glob("hyper_search_*.json")).read_text())
    assert other["best_configuration"]["parameters"] != found[0][0][0]


def test_check_says_that_all_is_ready_and_tries_nothing(run: Run, config: Path) -> None:
    done = run("--check")
    assert (done.code, done.out.strip()) == (0, "ready")
    assert "checked model: models/text.onnx continues" in done.err
    assert not list(LOGS.glob("*.json")) and "nothing" not in done.err


def test_a_finished_search_says_so(run: Run, config: Path) -> None:
    run("--quiet")
    again = run()
    assert again.code == 0 and "nothing is left to try: 4 configurations are done" in again.err
    assert run("--quiet").err == ""


def test_exit_codes(run: Run, text_project: Path, config: Path) -> None:
    wrong = run("-D", "n_sampels=3")
    assert wrong.code == 1 and "did you mean `n_samples`" in wrong.err and "Traceback" not in wrong.err
    assert run("--strategy", "gird").code == 2
    assert run("--model-path", "models/none.onnx").code == 1
    (text_project / "judge.py").write_text(
        "import json, sys\ntold = json.load(sys.stdin)\n"
        "score = None if told['parameters']['temperature'] < 1 else 5\n"
        "print(json.dumps({'scores': [score] * len(told['generations'])}))\n"
    )
    path = write_search(
        text_project,
        "judged.yaml",
        search_strategy="grid",
        sampler_types=["temperature"],
        parameter_ranges={"temperature": {"temperature": [0.5, 1.5]}},
        judge={"type": "script", "command": "python judge.py"},
    )
    some_failed = run("--config-path", str(path))
    assert some_failed.code == 3
    assert "run 0 failed: 8 of 8 are missing: the judge had nothing to score" in some_failed.out
