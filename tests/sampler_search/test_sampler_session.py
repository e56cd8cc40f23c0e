"""A whole search on a model of ours: what it leaves, how it goes on, and that `infer` takes what it found."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sequifier import api
from sequifier.artifacts.ledger import read_ledger
from sequifier.artifacts.sampler_results import (
    SamplerRecord,
    export,
    read_search_results,
    search_results,
    write_export,
)
from sequifier.config.inference import InferConfig
from sequifier.errors import ConfigError, RunError
from sequifier.results.read import read_search
from sequifier.sampler_search.search import TrialQueue
from sequifier.sampler_search.setup import set_up
from tests.support.quiet import quiet
from tests.support.trained_text import config_of, search, write_search

COMMAND = [sys.executable, "-m", "sequifier", "sampler-search"]
LOGS = Path("logs/sampler-search")


def records() -> list[SamplerRecord]:
    return read_ledger(LOGS, SamplerRecord)


def results_of(path: Path | None) -> dict[str, Any]:
    assert path is not None
    return read_search_results(path)


def comparable(path: Path | None) -> Any:
    """What a result file says, without times."""
    content = results_of(path)
    content["search_metadata"].pop("timestamp")
    for result in [content["best_configuration"], *content["all_results"]]:
        result.pop("evaluation_time")
    return content


def test_a_search_leaves_its_results_sorted_with_everything_in_them(text_project: Path) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    result = search(events, n_samples=6)
    assert result.ended == "complete" and result.results is not None
    assert result.results.parent == LOGS
    assert result.results.name.startswith("hyper_search_random_") and result.results.suffix == ".json"
    content = json.loads(result.results.read_text())
    metadata = content["search_metadata"]
    assert {"timestamp", "total_configurations", "best_score", "strategy", "seed", "model"} <= set(metadata)
    assert (metadata["total_configurations"], metadata["strategy"], metadata["seed"]) == (6, "random", 42)
    assert metadata["model"] == "models/text.onnx"
    scores = [each["mean_score"] for each in content["all_results"]]
    assert scores == sorted(scores, reverse=True) and metadata["best_score"] == scores[0]
    assert content["best_configuration"] == content["all_results"][0]
    for each in content["all_results"]:
        assert {"parameters", "mean_score", "std_score", "scores", "sampler_type", "evaluation_time"} <= set(each)
        assert (each["sample_count"], each["missing"]) == (8, 0)
        assert set(each["scores"]) == {
            *("token_accuracy", "edit_similarity", "likelihood", "ngram_divergence", "distinct_n", "repetition")
        }
        assert all(0 <= part <= 10 for part in each["scores"].values())
    assert [row.rank for row in result.rows] == [1, 2, 3, 4, 5, 6]
    assert (LOGS / "results.csv").exists() and (LOGS / "search.yaml").exists()
    assert json.loads((LOGS / "latest" / "experiment_meta.json").read_text())["status"] == "done"
    assert (LOGS / "latest" / "experiment_log.txt").read_text().count(" finished, score ") == 6
    assert [name for name, _ in events if name != "note"] == [
        "planned",
        "checked",
        *["trial_started", "trial_ended"] * 6,
    ]
    lines = [json.loads(line) for line in (LOGS / "generations" / "run-0.jsonl").read_text().splitlines()]
    assert len(lines) == 8 and all(len(line["text"]) == 8 for line in lines)


def test_the_same_command_again_tries_nothing_and_more_samples_go_on(text_project: Path) -> None:
    first = search(n_samples=3)
    count = len(records())
    events: list[tuple[str, dict[str, Any]]] = []
    again = search(events, n_samples=3)
    assert len(records()) == count and again.results == first.results
    assert not [name for name, _ in events if name in ("trial_started", "checked")]
    longer = search(n_samples=5)
    assert longer.results == first.results
    assert len(results_of(longer.results)["all_results"]) == 5
    whole = search(n_samples=5, sampler_search_name="whole")
    assert comparable(longer.results)["all_results"] == comparable(whole.results)["all_results"]


@pytest.mark.parametrize("strategy", ["grid", "random", "bayesian"])
def test_a_killed_search_resumes_with_the_same_proposals(text_project: Path, strategy: str) -> None:
    ranges = {"min_p": {"temperature": [0.5, 0.8, 1.0, 1.5, 2.0], "min_p": [0.01, 0.05, 0.1]}}
    values = {"search_strategy": strategy, "n_samples": 15, "sampler_types": ["min_p"], "parameter_ranges": ranges}
    whole = search(sampler_search_name="whole", **values)

    class Killed(BaseException):
        pass

    def emit(event: str, **fields: Any) -> None:
        if event == "trial_started" and fields["trial"].number in (2, 11):
            stopped.append(fields["trial"].number)
            if stopped.count(fields["trial"].number) == 1:
                raise Killed

    stopped: list[int] = []
    for _ in range(2):
        with pytest.raises(Killed):
            api.sampler_search(config_of(**values), emit=emit)
    finished = api.sampler_search(config_of(**values), emit=emit)
    one, other = comparable(finished.results), comparable(whole.results)
    assert one["all_results"] == other["all_results"]
    assert len(one["all_results"]) == 15


def test_kill_9_at_any_moment_loses_one_configuration_at_most(text_project: Path) -> None:
    values: dict[str, Any] = {"n_samples": 9, "n_prompts": 8, "samples_per_config": 4, "max_tokens": 24}
    write_search(text_project, **values)
    whole = search(sampler_search_name="whole", **values)
    ledger = LOGS / "ledger.jsonl"
    started = subprocess.Popen([*COMMAND, "--yes"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not (ledger.exists() and ledger.read_bytes().count(b'"finished"') >= 2):
            assert time.monotonic() < until and started.poll() is None
            time.sleep(0.005)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    with ledger.open("ab") as file:
        file.write(b'{"run": 7, "torn')
    done = sum(record.state == "finished" for record in records())
    assert 2 <= done < 9, "it was killed in the middle"
    resumed = search(**values)
    assert comparable(resumed.results)["all_results"] == comparable(whole.results)["all_results"]
    assert sum(record.state == "finished" for record in records()) == 9, "what was done is not done again"


def test_a_second_process_is_refused(text_project: Path) -> None:
    from sequifier.artifacts.sampler_results import SamplerLedger

    with SamplerLedger.open(LOGS), pytest.raises(RunError, match="is running this search"):
        search()


def test_another_strategy_takes_over_what_is_known(text_project: Path) -> None:
    lists = {"min_p": {"temperature": [0.5, 1.0], "min_p": [0.05, 0.1]}}
    values = {"sampler_types": ["min_p"], "parameter_ranges": lists}
    search(n_samples=3, **values)
    result = search(search_strategy="grid", **values)
    tried = [record for record in records() if record.state == "running"]
    assert len(tried) == 4
    assert len(results_of(result.results)["all_results"]) == 4
    assert len(list(LOGS.glob("hyper_search_*.json"))) == 2


def test_other_prompts_are_another_search_in_the_same_ledger(text_project: Path) -> None:
    first, other = search(n_samples=2), search(n_samples=2, n_prompts=3)
    assert first.results is not None and len(results_of(other.results)["all_results"]) == 2
    assert {record.run for record in records()} == {0, 1, 2, 3}
    assert len({record.data for record in records()}) == 2


def test_a_drawn_seed_is_recorded_and_used_again(text_project: Path) -> None:
    search(seed=None, n_samples=2)
    again = search(seed=None, n_samples=3)
    assert len({record.seed for record in records()}) == 1
    asked = yaml.safe_load((LOGS / "search.yaml").read_text())
    assert (asked["seed"], asked["history"]) == (again.seed, "generated")
    meta = json.loads((LOGS / "latest" / "experiment_meta.json").read_text())
    assert meta["parameters"]["seed"] == again.seed
    assert len(results_of(again.results)["all_results"]) == 3


def test_onnx_and_torch_models_come_to_the_same_scores(text_project: Path) -> None:
    one, other = (
        comparable(search(model_path=f"models/text.{ending}", sampler_search_name=ending).results)["all_results"]
        for ending in ("onnx", "pt")
    )
    for first, second in zip(one, other, strict=True):
        assert first["parameters"] == second["parameters"]
        assert first["mean_score"] == pytest.approx(second["mean_score"], rel=1e-3)


def test_sensible_samplers_score_better_than_silly_ones(text_project: Path) -> None:
    lists = {"temperature": {"temperature": [0.7, 20.0]}}
    result = search(search_strategy="grid", sampler_types=["temperature"], parameter_ranges=lists, n_prompts=8)
    found = results_of(result.results)["all_results"]
    assert [each["parameters"]["temperature"] for each in found] == [0.7, 20.0]
    assert found[0]["mean_score"] > 1.2 * found[1]["mean_score"]


def test_infer_takes_the_export_whole_or_by_sampler(text_project: Path) -> None:
    result = search(n_samples=6, parameter_ranges={"min_p": {"temperature": [0.9], "min_p": [0.08], "max_tokens": [8]}})
    assert result.best == LOGS / "best.yaml"
    best = yaml.safe_load(result.best.read_text())
    assert set(best) == {"best_overall", "best_by_sampler", "search_metadata"}
    overall = results_of(result.results)["best_configuration"]
    assert best["best_overall"]["parameters"] == overall["parameters"]
    assert set(best["best_by_sampler"]) == {"top_p", "min_p", "top_n_sigma"}
    parameters = best["best_by_sampler"]["min_p"]["parameters"]
    assert parameters == {"temperature": 0.9, "min_p": 0.08, "max_tokens": 8}

    def predicted(sampler: Any) -> str:
        config = {
            "model_path": "models/text.onnx",
            "sampler": sampler,
            "seed": 3,
            "device": "cpu",
            "autoregression": True,
        }
        inference = api.infer(InferConfig.model_validate(config), log=quiet)[0]
        return inference.predictions.read_text()

    assert predicted(f"{result.best}:min_p") == predicted({"temperature": 0.9, "min_p": 0.08})
    wanted = {name: value for name, value in overall["parameters"].items() if name != "max_tokens"}
    assert predicted(str(result.best)) == predicted(wanted)
    with pytest.raises(ConfigError, match="has no sampler `minp`"):
        predicted(f"{result.best}:minp")


def test_the_command_of_a_trial_runs(text_project: Path) -> None:
    search(n_samples=1)
    (text_project / "configs" / "infer.yaml").write_text("{device: cpu, model_path: models/other.onnx}")
    command = shlex.split(read_search("sampler-search").trials[0].command)
    assert command[:4] == ["sequifier", "infer", "--model-path", "models/text.onnx"]
    done = subprocess.run(
        [sys.executable, "-m", "sequifier", *command[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_exports_of_several_searches_have_the_best_of_all(text_project: Path, tmp_path: Path) -> None:
    several = [results_of(search(sampler_types=[name]).results) for name in ("min_p", "top_p")]
    found = export(several)
    best = max((each for one in several for each in one["all_results"]), key=lambda each: each["mean_score"])
    assert found["best_overall"]["parameters"] == best["parameters"]
    assert set(found["best_by_sampler"]) == {"min_p", "top_p"} and len(found["search_metadata"]) == 2
    write_export(tmp_path / "best.yaml", several)
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == found
    with pytest.raises(RunError, match="no configuration has a score"):
        export([])


def test_a_result_file_is_a_reading_of_the_ledger(text_project: Path) -> None:
    result = search()
    assert results_of(result.results) == search_results(records())
    (text_project / "other.json").write_text("{}")
    with pytest.raises(RunError, match="not a result file"):
        read_search_results(text_project / "other.json")
    with pytest.raises(RunError, match="cannot read"):
        read_search_results(text_project / "none.json")


def test_a_script_judges_and_configurations_without_a_score_fail(text_project: Path) -> None:
    (text_project / "judge.py").write_text(
        "import json, sys\ntold = json.load(sys.stdin)\n"
        "cold = told['parameters']['temperature'] < 1\n"
        "print(json.dumps({'scores': [None if cold else 7.5 for _ in told['generations']]}))\n"
    )
    values = {
        "judge": {"type": "script", "command": "python judge.py"},
        "search_strategy": "grid",
        "sampler_types": ["temperature"],
        "parameter_ranges": {"temperature": {"temperature": [0.5, 1.5]}},
    }
    result = search(**values)
    content = results_of(result.results)
    assert [each["mean_score"] for each in content["all_results"]] == [7.5]
    assert content["all_results"][0]["scores"] == {"judge": 7.5}
    assert content["without_score"][0]["parameters"] == {"temperature": 0.5}
    assert "8 of 8 are missing" in content["without_score"][0]["error"]
    assert content["search_metadata"]["failed_configurations"] == 1
    assert [row.state for row in result.rows] == ["finished", "failed"]
    assert len(records()) == 4 and search(**values).ended == "complete" and len(records()) == 4
    search(retry_failed=True, **values)
    assert len(records()) == 6, "one more attempt of the failed one"


def test_the_check_ends_a_search_whose_judge_is_broken_before_anything_is_generated(text_project: Path) -> None:
    values = {"judge": {"type": "script", "command": "python -c 'raise SystemExit(2)'"}}
    with pytest.raises(RunError, match="the judge does not answer as it should: judge script failed: exit code 2"):
        search(**values)
    assert records() == []
    config = config_of(judge={"type": "script", "command": "python -c 'print({\"scores\": [1]})'"})
    with pytest.raises(RunError, match="cannot be used"):
        api.sampler_search(config, check_only=True, emit=quiet)


def test_three_configurations_in_a_row_without_a_score_end_the_search(text_project: Path) -> None:
    (text_project / "judge.py").write_text(
        "import json, sys\nprint(json.dumps({'scores': [None] * len(json.load(sys.stdin)['generations'])}))\n"
    )
    with pytest.raises(RunError, match="3 configurations in a row have no score"):
        search(n_samples=9, judge={"type": "script", "command": "python judge.py"})
    assert sum(record.state == "failed" for record in records()) == 3


def test_ctrl_c_finishes_the_configuration_and_the_same_command_resumes(text_project: Path) -> None:
    write_search(text_project, n_samples=200, n_prompts=16, max_tokens=16)
    started = subprocess.Popen([*COMMAND, "--yes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not ((LOGS / "ledger.jsonl").exists() and b"finished" in (LOGS / "ledger.jsonl").read_bytes()):
        assert time.monotonic() < until and started.poll() is None
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    out, _ = started.communicate(timeout=60)
    assert started.returncode == 130
    assert records()[-1].state == "finished"
    assert "hyper_search_random_" in out and len(list(LOGS.glob("hyper_search_*.json"))) == 1


def test_proposals_follow_from_the_ledger_alone(text_project: Path) -> None:
    search(n_samples=2)
    setup = set_up(config_of(n_samples=4), seed=42, log=quiet)
    trials = [TrialQueue(setup, retry_failed=False).next(records()) for _ in range(2)]
    assert trials[0] == trials[1] and trials[0] is not None and trials[0].number == 2
