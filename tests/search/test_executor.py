"""A whole search whose runs train in an engine of the test's own: no worker process, no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sequifier import api
from sequifier.artifacts.ledger import read_ledger
from sequifier.config.loading.yaml12 import parse_file
from sequifier.config.search import SearchConfig
from sequifier.search.executor import Executor
from sequifier.search.plan import Plan
from tests.support.engines import METADATA, SPLITS, Engine, result_of, write_project
from tests.support.searches import search


class Trainer:
    """Trains in this process: the loss of a run follows from its width and falls with every epoch."""

    def __init__(self, root: Path, *, stop_in: str = "") -> None:
        self.root, self.stop_in = root, stop_in
        self.calls: list[str] = []
        self.trained: dict[str, int] = {}  # epochs of each run
        self.threads: dict[str, int | None] = {}  # of each run
        self.is_stopping = False

    def start(self) -> None:
        self.calls.append("start")

    def check(self, device: str) -> None:
        self.calls.append(f"check {device}")

    def run(
        self,
        config_path: Path,
        *,
        data: str,
        resume: str,
        until_epoch: int | None = None,
        thresholds: Mapping[int, float] | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        assert parse_file(self.root / METADATA).values["sequifier"]["fingerprint"] == data
        config = parse_file(config_path).values
        name, epochs = config["model_name"], config["training_spec"]["epochs"]
        self.calls.append(name)
        yield {"event": "stage", "stage": "training"}
        last, ended = until_epoch or epochs, "paused" if until_epoch and until_epoch < epochs else "finished"
        if name == self.stop_in:
            self.stop()
            last, ended = 1, "interrupted"
        self.trained[name] = last
        self.threads[name] = config["cpu_threads"]
        curve = [self.loss(config, epoch) for epoch in range(1, last + 1)]
        for epoch, loss in enumerate(curve, start=1):
            yield {"event": "epoch", "epoch": epoch, "epochs": epochs, "val_loss": loss}
        model = self.root / "models" / f"sequifier-{name}-best-{last}.onnx"
        model.parent.mkdir(exist_ok=True)
        model.write_bytes(b"a model")
        files, baselines = {"best_onnx": f"models/{model.name}"}, {"baseline: unigram": {"val_loss": 2.0}}
        result = result_of(curve, ended, files=files, baselines=baselines)
        yield {"event": "finished", "result": result}

    def score(
        self, config_path: Path, model_path: Path, split_path: str, *, data: str, sums: Path | None = None
    ) -> dict[str, float]:
        assert model_path.read_bytes() == b"a model"
        self.calls.append(f"score {config_path.stem} on {split_path}")
        return {"val_loss": 1.25}

    def stop(self) -> None:
        self.is_stopping = True

    def close(self) -> None:
        if self.calls[-1] != "close":  # closing what is closed does nothing
            self.calls.append("close")

    def loss(self, config: Mapping[str, Any], epoch: int) -> float:
        return 1.0 + 8 / int(config["model_spec"]["dim_model"]) + 1 / epoch + int(config["seed"]) % 7 / 1000


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def widths(project: Path, **root: Any) -> SearchConfig:
    """Three widths, the widest of which is the best; `cuda` is the device that the engine says it has."""
    model = {"dim_model": [8, 16, 32], "n_head": [2, 2, 2], "dim_feedforward": 16, "num_layers": 1}
    training = {"epochs": 9, "batch_size": 16, "learning_rate": 0.01, "device": "cuda"}
    return search(model=model, training=training, project_root=str(project), seed=3, **root)


def run(config: SearchConfig, engine: Executor, cpu_threads: int | None = None) -> tuple[Any, list[str]]:
    events: list[str] = []
    serial = Engine(engine, cpu_threads=cpu_threads)
    return api.search(config, engine=serial, emit=lambda event, **fields: events.append(event)), events


def test_a_search_trains_confirms_and_scores_with_an_engine_that_is_handed_in(project: Path) -> None:
    engine = Trainer(project)
    result, events = run(widths(project, confirm_top=1), engine)
    runs = [f"demo-run-{number}" for number in range(5)]
    assert engine.calls == ["start", "check cuda", *runs, f"score demo-run-2 on {SPLITS[2]}", "close"]
    assert events.count("epoch") == 5 * 9
    assert result.ended == "complete"
    best = result.rows[0]
    assert (best.run, len(best.trials), best.test_value) == (2, 3, 1.25)
    assert best.first.values["model_spec.dim_model"] == 32
    assert (project / "logs/demo/results.csv").read_text().count("finished") == 3, "three seeds are one row"
    assert run(widths(project, confirm_top=1), Trainer(project))[0].ended == "complete", "nothing is left"


def test_the_best_run_of_a_search_that_its_budget_ends_is_scored(project: Path) -> None:
    engine = Trainer(project)
    result, _ = run(widths(project, max_epochs_total=18), engine)
    assert result.ended == "budget"
    assert engine.calls[-2:] == [f"score demo-run-{result.rows[0].run} on {SPLITS[2]}", "close"]


def test_a_pruner_pauses_and_resumes_the_runs_of_any_engine(project: Path) -> None:
    engine = Trainer(project)
    result, _ = run(widths(project, pruner={"type": "asha", "min_epochs": 1, "reduction": 3}), engine)
    assert engine.trained == {"demo-run-0": 1, "demo-run-1": 1, "demo-run-2": 9}
    assert [row.first.state for row in result.rows] == ["finished", "pruned", "pruned"]
    assert result.saved is not None and result.saved.trained == 11


def test_an_engine_that_is_stopped_ends_the_search_which_resumes_with_another_one(project: Path) -> None:
    result, _ = run(widths(project), Trainer(project, stop_in="demo-run-1"))
    assert result.ended == "stopped"
    assert [record.state for record in read_ledger(project / "logs/demo")][-1] == "interrupted"
    engine = Trainer(project)
    result, _ = run(widths(project), engine)
    assert [call for call in engine.calls if call.startswith("demo")] == ["demo-run-1", "demo-run-2"]
    assert result.ended == "complete"


def test_an_engine_that_fails_is_closed_and_the_results_so_far_are_written(project: Path) -> None:
    class Broken(Trainer):
        def run(self, config_path: Path, **rest: Any) -> Iterator[dict[str, Any]]:
            if config_path.stem == "demo-run-1":
                raise OSError("the engine is gone")
            return super().run(config_path, **rest)

    engine = Broken(project)
    with pytest.raises(OSError, match="the engine is gone"):
        run(widths(project), engine)
    assert engine.calls[-1] == "close"
    assert "demo-run-0" in (project / "logs/demo/results.csv").read_text()


@pytest.mark.parametrize(("strategy", "n_runs"), [("grid", 8), ("bayesian", 8)])
def test_the_engine_says_how_many_threads_each_run_has(project: Path, strategy: str, n_runs: int) -> None:
    """Also further seeds, proposals and confirmations, whose files are written later."""
    values: dict[str, Any] = {"search_strategy": strategy, "n_samples": 3, "repeats": 2, "confirm_top": 1}
    engine = Trainer(project)
    run(widths(project, **values), engine, cpu_threads=3)
    assert engine.threads == {f"demo-run-{number}": 3 for number in range(n_runs)}
    threads = {record.name: record.identity for record in read_ledger(project / "logs/demo")}
    assert len(set(threads.values())) == n_runs
    again = Trainer(project)
    run(widths(project, **values), again, cpu_threads=2)
    assert again.threads == {}, "the same runs: threads are no part of their identity"


def test_unfinished_runs_train_with_the_threads_of_this_start(project: Path) -> None:
    run(widths(project), Trainer(project, stop_in="demo-run-1"), cpu_threads=3)
    engine = Trainer(project)
    run(widths(project), engine)
    assert engine.threads == {"demo-run-1": None, "demo-run-2": None}
    finished = project / "configs/hp_search/demo-run-0.yaml"
    assert parse_file(finished).values["cpu_threads"] == 3, "what it was trained with"


def test_what_was_interrupted_after_the_last_planned_run_is_done_by_the_next_start(project: Path) -> None:
    config = widths(project, confirm_top=1, pruner={"type": "asha", "min_epochs": 1, "reduction": 3})
    best = "demo-run-2"
    result, _ = run(config, Trainer(project, stop_in="demo-run-3"))
    assert result.ended == "stopped", "in the first confirmation"
    engine = Trainer(project)
    result, _ = run(config, engine)
    assert [call for call in engine.calls if call.startswith("demo")] == ["demo-run-3", "demo-run-4"]
    assert f"score {best} on {SPLITS[2]}" in engine.calls
    assert [trial.state for trial in result.rows[0].trials] == ["finished"] * 3, "no pruner judges a confirmation"
    (project / "logs/demo/test.json").unlink()
    (project / "logs/demo/results.csv").unlink()
    engine = Trainer(project)
    result, _ = run(config, engine)
    assert [call for call in engine.calls if call.startswith(("demo", "score"))] == [f"score {best} on {SPLITS[2]}"]
    assert result.rows[0].test_value == 1.25
    assert (project / "logs/demo/results.csv").exists()
    more = config.model_copy(update={"confirm_top": 2})
    engine = Trainer(project)
    assert run(more, engine)[0].ended == "complete"
    assert len([call for call in engine.calls if call.startswith("demo")]) == 2, "of the second best"


def test_a_search_that_proposes_asks_before_it_trains(project: Path) -> None:
    asked: list[int] = []
    config = widths(project, search_strategy="bayesian", n_samples=2)

    def decline(plan: Plan, n_runs: int) -> bool:
        asked.append(n_runs)
        return False

    engine = Trainer(project)
    result = api.search(config, engine=Engine(engine), confirm=decline, emit=lambda event, **fields: None)
    assert (result.ended, asked, engine.calls) == ("declined", [2], [])
