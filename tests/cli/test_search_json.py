"""`hyperparameter-search --json`: what a program can rely on."""

import json
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import latest_by_run, read_ledger
from tests.support.command_line import Run
from tests.support.shop import WriteConfig


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_events_and_result_agree_with_ledger_and_analysis(run: Run, shop: Path, search_config: WriteConfig) -> None:
    search_config()
    done = run("hyperparameter-search", "--json")
    assert (done.code, done.err) == (0, "")
    events = lines(done.out)
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("planned", "result")
    assert [kinds.count(kind) for kind in ("run_started", "epoch", "run_ended", "step")] == [2, 4, 2, 0]
    assert (events[0]["search"], events[0]["n_runs"], events[0]["to_train"]) == ("tune", 2, [0, 1])
    records = latest_by_run(read_ledger(shop / "logs" / "tune"))
    ended = {event["run"]: event["record"] for event in events if event["event"] == "run_ended"}
    assert ended == {number: record.model_dump(mode="json") for number, record in records.items()}
    result = events[-1]
    assert (result["ended"], result["metric"], result["direction"]) == ("complete", "val_loss", "minimize")
    assert Path(result["best_model"]).is_file()
    assert Path(result["results"]).is_file()
    analysed = json.loads(run("search-analysis", "tune", "--json").out)
    for row in (*result["rows"], *analysed["rows"]):
        for read_from_its_record in ("train_curve", "record", "sequence_losses"):
            del row["first"][read_from_its_record]
    assert (result["rows"], result["baselines"]) == (analysed["rows"], analysed["table"]["baselines"])
    best = result["rows"][0]["first"]
    assert best["value"] == min(record.best_val_loss or 9 for record in records.values())


def test_a_dry_run_has_a_plan_and_an_empty_table(run: Run, search_config: WriteConfig) -> None:
    search_config()
    events = lines(run("hyperparameter-search", "--json", "--dry-run").out)
    assert [event["event"] for event in events] == ["planned", "result"]
    assert (events[1]["ended"], events[1]["rows"], events[1]["best_model"]) == ("planned", [], None)


def test_verbose_adds_steps_and_logs(run: Run, search_config: WriteConfig) -> None:
    search_config(training_hyperparameter_sampling={"log_interval": 1})
    kinds = {event["event"] for event in lines(run("hyperparameter-search", "--json", "--verbose").out)}
    assert {"step", "stage", "run_log"} <= kinds


def test_an_error_is_on_stderr_and_there_is_no_result(run: Run, search_config: WriteConfig) -> None:
    search_config(metric="val_nonsense")
    done = run("hyperparameter-search", "--json")
    assert (done.code, done.out) == (1, "")
    assert "val_nonsense" in done.err
