"""A search read back with Optuna itself."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from sequifier.artifacts.ledger import Ledger, Record, State
from sequifier.errors import RunError
from sequifier.report.exports.optuna import distribution, export_optuna
from sequifier.results.find import find_search

OPTIMIZERS = [{"name": "AdamW", "weight_decay": 0.1}, {"name": "SGD"}, {"name": "AdamW", "weight_decay": 0.001}]


def settings(number: int) -> dict[str, Any]:
    return {
        "input_columns": [["a"], ["a", "b"]][number % 2],
        "model_spec.dim_model": 8 + 8 * number,
        "model_spec.n_kv_heads": [None, 1][number % 2],
        "training_spec.batch_size": 16,
        "training_spec.learning_rate": 10.0 ** -(1 + number % 4),
        "training_spec.optimizer": OPTIMIZERS[number % 3],
    }


def record(run: int, state: State, **values: Any) -> Record:
    known = {"run": run, "name": f"demo-run-{run}", "identity": f"{run:064d}", "data": "d", "batch_size": 16}
    return Record.model_validate(known | {"state": state, "seed": 1010 + run, "settings": settings(run)} | values)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a search in every state."""
    monkeypatch.chdir(tmp_path)
    files = {"config": "configs/hp_search/demo-run-0.yaml", "best_onnx": "models/m.onnx"}
    records = [
        record(0, "running", time="2026-01-02T03:04:05.000+00:00"),
        record(
            0,
            "finished",
            time="2026-01-02T03:05:05.000+00:00",
            best_val_loss=0.5,
            best_epoch=2,
            curve=[0.75, 0.5],
            metrics={"val_loss": 0.5, "val_kind_accuracy": 0.25},
            seconds={"training": 1.0, "total": 1.5},
            files=files,
        ),
        record(1, "pruned", best_val_loss=1.5, curve=[1.5]),
        record(2, "failed", error="ValueError: no"),
        record(3, "diverged", best_val_loss=2.0, curve=[2.0]),
        record(4, "diverged"),
        record(5, "interrupted", curve=[1.0], error="paused after epoch 1"),
        record(6, "running"),
    ]
    with Ledger.open(tmp_path / "logs" / "demo") as ledger:
        for entry in records:
            ledger.append(entry)
    return tmp_path


def load(url: str) -> optuna.Study:
    return optuna.load_study(study_name="demo", storage=url)


URL = "sqlite:///study.db"


def test_a_search_can_be_loaded_as_a_study(project: Path) -> None:
    assert export_optuna(Path("logs/demo"), URL) == 7
    study = load(URL)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert (study.best_value, study.best_trial.user_attrs["run"]) == (0.5, 0)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE, TrialState.FAIL]
    assert [trial.state for trial in study.trials] == [*states, TrialState.RUNNING, TrialState.RUNNING]
    assert [trial.value for trial in study.trials] == [0.5, 1.5, None, 2.0, None, None, None]
    assert [trial.intermediate_values for trial in study.trials[:2]] == [{1: 0.75, 2: 0.5}, {1: 1.5}]
    first, failed = study.trials[0], study.trials[2]
    model = {"input_columns": "[a]", "dim_model": 8, "n_kv_heads": None}
    assert first.params == model | {"learning_rate": 0.1, "optimizer": "AdamW", "optimizer.weight_decay": 0.1}
    assert study.trials[1].params.keys() == first.params.keys() - {"optimizer.weight_decay"}
    assert study.trials[1].params["input_columns"] == "[a, b]"
    assert failed.params["dim_model"] == 24
    assert failed.user_attrs["error"] == "ValueError: no"
    attributes = first.user_attrs
    assert (attributes["run"], attributes["seconds"], attributes["best_epoch"]) == (0, 1.5, 2)
    assert attributes["files"]["best_onnx"] == "models/m.onnx"
    assert first.duration is not None and first.duration.total_seconds() == 60
    assert study.trials[6].datetime_complete is None


def test_optuna_can_work_with_it(project: Path) -> None:
    export_optuna(Path("logs/demo"), URL)
    study = load(URL)
    assert {trial.number for trial in study.get_trials(states=[TrialState.COMPLETE])} == {0, 3}
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    assert study.ask({"dim_model": IntDistribution(8, 56)}).params["dim_model"] >= 8


def test_another_metric_can_be_the_value(project: Path) -> None:
    export_optuna(Path("logs/demo"), URL, metric="val_kind_accuracy", direction="maximize")
    study = load(URL)
    assert (study.best_value, study.user_attrs["metric"]) == (0.25, "val_kind_accuracy")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_the_config_beside_the_ledger_says_what_ranks(project: Path) -> None:
    with Ledger.open(project / "logs" / "demo") as ledger:
        ledger.append(record(6, "finished", best_val_loss=0.25, metrics={"val_kind_accuracy": 0.5, "reach": 3.0}))
        ledger.append(record(5, "finished", best_val_loss=0.125, metrics={"val_kind_accuracy": 0.75, "reach": 2.0}))
    script = "evaluation_script: {command: x, metrics: {reach: maximize, seconds: minimize}}\n"
    (project / "logs" / "demo" / "search.yaml").write_text(f"{script}metric: reach\ndirection: maximize\n")
    export_optuna(Path("logs/demo"), URL)
    study = load(URL)
    assert (study.best_value, study.direction) == (3.0, optuna.study.StudyDirection.MAXIMIZE)
    export_optuna(Path("logs/demo"), URL, metric="val_kind_accuracy")
    study = load(URL)
    assert (study.best_value, study.direction) == (0.75, optuna.study.StudyDirection.MAXIMIZE)
    export_optuna(Path("logs/demo"), URL, metric="val_loss")
    assert load(URL).best_value == 0.125
    with pytest.raises(RunError, match="no run has the metric `reech`") as caught:
        export_optuna(Path("logs/demo"), URL, metric="reech")
    assert caught.value.fix == "did you mean `reach`?"


def test_a_metric_whose_direction_nobody_says_needs_one(project: Path) -> None:
    with Ledger.open(project / "logs" / "demo") as ledger:
        ledger.append(record(6, "finished", best_val_loss=0.25, metrics={"reach": 3.0}))
    with pytest.raises(RunError, match="the direction of `reach` is unknown"):
        export_optuna(Path("logs/demo"), URL, metric="reach")
    export_optuna(Path("logs/demo"), URL, metric="reach", direction="maximize")
    assert load(URL).best_value == 3.0


def test_the_planned_batch_is_a_parameter_not_what_fitted_into_memory(project: Path) -> None:
    with Ledger.open(project / "logs" / "demo") as ledger:
        ledger.append(record(0, "finished", best_val_loss=0.5, batch_size=8), record(6, "running", batch_size=4))
    export_optuna(Path("logs/demo"), URL)
    assert all("batch_size" not in trial.params for trial in load(URL).trials), "all runs were planned with 16"


def test_exporting_again_replaces_the_study(project: Path) -> None:
    export_optuna(Path("logs/demo"), URL)
    with Ledger.open(project / "logs" / "demo") as ledger:
        ledger.append(record(6, "finished", best_val_loss=0.25))
    export_optuna(project / "logs" / "demo", URL)
    study = load(URL)
    assert (len(study.trials), study.best_value) == (7, 0.25)
    assert len(optuna.get_all_study_names(storage=URL)) == 1


def test_a_study_of_somebody_else_is_left_alone(project: Path) -> None:
    optuna.create_study(study_name="demo", storage=URL).ask()
    with pytest.raises(RunError, match="a study `demo` that is not an export of this search"):
        export_optuna(Path("logs/demo"), URL)
    assert len(load(URL).trials) == 1


def test_what_cannot_be_written_is_reported(project: Path) -> None:
    for url in ("study.db", "sqlite:////no/such/folder/study.db", "no-such-database://x"):
        with pytest.raises(RunError, match="cannot write to the Optuna storage") as caught:
            export_optuna(Path("logs/demo"), url)
        assert caught.value.where == url
    with pytest.raises(RunError, match="has no runs yet"):
        export_optuna(Path("logs/other"), URL)


def test_an_older_search_whose_run_files_are_gone_keeps_its_results(project: Path) -> None:
    with Ledger.open(project / "logs" / "demo") as ledger:
        older = [record.model_copy(update={"settings": None}) for record in ledger.latest().values()]
        ledger.append(*older)
    export_optuna(Path("logs/demo"), URL)
    assert (load(URL).best_value, load(URL).best_params) == (0.5, {})


def test_a_parameter_has_the_smallest_space_of_its_values() -> None:
    assert distribution([8, 32, 16]) == IntDistribution(8, 32)
    assert distribution([16, 4096]) == IntDistribution(16, 4096, log=True)
    assert distribution([0, 0.5]) == FloatDistribution(0.0, 0.5)
    assert distribution([1e-5, 1e-2]) == FloatDistribution(1e-5, 1e-2, log=True)
    assert distribution(["rope", "learned"]) == CategoricalDistribution(["learned", "rope"])
    assert distribution([None, 2]) == CategoricalDistribution([2, None])
    assert distribution([True, False]) == CategoricalDistribution([False, True])


def test_a_search_is_found_by_its_name_its_folder_or_its_ledger(project: Path) -> None:
    for name in ("demo", "logs/demo", "logs/demo/ledger.jsonl", str(project / "logs" / "demo")):
        assert find_search(name).resolve() == project / "logs" / "demo"
    with pytest.raises(RunError, match="there is no search `demi`") as caught:
        find_search("demi")
    assert caught.value.fix == "did you mean `demo`?"
    (project / "logs" / "demo" / "results.csv").write_text("")
    with pytest.raises(RunError):
        find_search("logs/demo/results.csv")
