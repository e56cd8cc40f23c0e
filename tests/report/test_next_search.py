"""The next search: narrower, valid, and still around the best."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import RunError
from sequifier.report.analyse import analyse
from sequifier.report.analysis import Analysis
from sequifier.report.export import export_best, export_next
from sequifier.report.next_search import next_search
from sequifier.results.read import read_search
from sequifier.results.trials import Table
from tests.support.synthetic_search import write_search


@pytest.fixture(scope="module")
def analysis(wide: Table) -> Analysis:
    return analyse([wide])


def sections(values: dict[str, Any]) -> dict[str, Any]:
    return values.get("model_hyperparameter_sampling", {}) | values.get("training_hyperparameter_sampling", {})


def test_it_is_narrower_and_keeps_the_best(analysis: Analysis, wide: Table, tmp_path: Path) -> None:
    path = tmp_path / "next.yaml"
    assert export_next(analysis, path) == f"sequifier hyperparameter-search --config-path {path}"
    config = load(SearchConfig, path).config
    asked, best = sections(dict(wide.document)), analysis.rows[0].first.settings
    found = sections(yaml.safe_load(path.read_text()))
    assert config.hp_search_name == "wide-2" and config.search_strategy == "bayesian"
    rate = found["learning_rate"]
    assert asked["learning_rate"]["low"] < rate["low"] < float(str(best["learning_rate"])) < rate["high"] < 0.1
    middle = next(each for each in analysis.ranges if each.parameter == "learning_rate")
    assert middle.core_low is not None and middle.core_high is not None
    assert rate["low"] <= middle.core_low and middle.core_high <= rate["high"]
    for name in ("dropout", "batch_size"):
        if name in found:
            assert set(found[name]) <= set(asked[name]) and best[name] in found[name]
    assert config.start_with == [f"configs/hp_search/wide-run-{analysis.rows[0].first.number}.yaml"]
    assert "hp_search_name: wide\n" not in path.read_text()


def test_the_planted_optimum_is_inside(analysis: Analysis) -> None:
    found = sections(next_search(analysis))
    assert found["learning_rate"]["low"] < 10**-2.7 < found["learning_rate"]["high"]
    assert "AdamW" in [entry["name"] for entry in found["optimizer"]]


def test_linked_lists_keep_the_same_places(tmp_path: Path) -> None:
    model = {"dim_model": [8, 16, 16, 64], "n_head": [2, 2, 4, 4], "num_layers": 1}
    training = {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}}
    write_search(tmp_path, n_runs=40, epochs=4, model=model, training=training)
    analysis = analyse([read_search(str(tmp_path / "logs" / "wide"))])
    found = sections(next_search(analysis))
    pairs = list(zip(found.get("dim_model", []), found.get("n_head", []), strict=False))
    assert pairs and set(pairs) <= {(8, 2), (16, 2), (16, 4), (64, 4)}
    best = analysis.rows[0].first.settings
    assert (best["dim_model"], best["n_head"]) in pairs


@pytest.mark.parametrize(
    ("epochs", "doubled"), [(4, 8), ([4, 6], [8, 12]), ({"low": 4, "high": 6}, {"low": 8, "high": 12})]
)
def test_epochs_are_doubled_where_the_best_stopped_while_still_improving(
    wide: Table, epochs: Any, doubled: Any
) -> None:
    def next_epochs(curve: tuple[float, ...]) -> Any:
        trials = [replace(trial, curve=curve, value=curve[-1], state="finished") for trial in wide.trials[:8]]
        document = wide.document | {"training_hyperparameter_sampling": {"learning_rate": 0.1, "epochs": epochs}}
        table = replace(wide, trials=tuple(trials), document=document, settings=())
        return sections(next_search(analyse([table])))["epochs"]

    assert next_epochs((4.0, 3.0, 2.0, 1.0)) == doubled
    assert next_epochs((4.0, 1.0, 1.0, 1.0)) == epochs


def test_it_reaches_beyond_an_end_that_the_best_reached_within_the_bounds_of_a_field(wide: Table) -> None:
    def with_best(name: str, values: list[Any], order: list[Any]) -> Any:
        """A search over `name` alone, whose results follow `order`."""
        trials = [
            replace(
                trial,
                settings={**trial.settings, name: values[place % len(values)]},
                configuration=str(place),
                value=1.0 + order.index(values[place % len(values)]) + place / 100,
                state="finished",
                sequence_losses=None,
            )
            for place, trial in enumerate(wide.trials[:24])
        ]
        document = {**wide.document, "training_hyperparameter_sampling": {name: values, "epochs": [12]}}
        table = replace(wide, trials=tuple(trials), settings=(name,), linked={}, document=document)
        return sections(next_search(analyse([table]))).get(name)

    assert with_best("batch_size", [8, 16, 32], [32, 16, 8]) == [32, 64]
    assert with_best("batch_size", [8, 16, 32], [8, 16, 32]) == [4, 8]
    assert with_best("dropout", [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]) == [0.3, 0.4]
    assert with_best("dropout", [0.0, 0.2], [0.0, 0.2]) is None, "0, the default: there is none below"
    assert with_best("batch_size", [8, 16, 32], [16, 8, 32]) == [16]


def test_a_search_without_results_is_reported(wide: Table, analysis: Analysis) -> None:
    with pytest.raises(RunError, match=r"search\.yaml is missing"):
        next_search(replace(analysis, table=replace(wide, document={})))
    with pytest.raises(RunError, match="no run has a result"):
        empty = replace(wide, trials=tuple(replace(trial, value=None, state="failed") for trial in wide.trials))
        next_search(analyse([empty]))


def test_the_best_run_is_exported_as_a_run_of_its_own(analysis: Analysis, wide: Table, tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    assert export_best(analysis, [wide], path) == f"sequifier train --config-path {path}"
    best = analysis.rows[0].first
    config = load(TrainConfig, path).config
    assert config.model_name == f"{best.name}-best"
    assert config.training_spec.learning_rate == best.settings["learning_rate"]
    assert config.model_spec.dim_model == best.settings["dim_model"]


def test_what_a_real_search_says_next_can_be_started(real_project: Path) -> None:
    command = [sys.executable, "-m", "sequifier"]
    words = ["search-analysis", "tune", "--next", "next.yaml", "--export", "best.yaml"]
    done = subprocess.run([*command, *words], cwd=real_project, capture_output=True, text=True, check=True)
    assert "sequifier hyperparameter-search --config-path next.yaml" in done.stdout
    words = ["hyperparameter-search", "--config-path", "next.yaml", "--dry-run"]
    planned = subprocess.run([*command, *words], cwd=real_project, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr
    assert "tune-2: grid" in planned.stderr
    assert load(TrainConfig, real_project / "best.yaml").config.model_name.endswith("-best")


def test_paths_with_spaces_are_found_again_and_quoted(tmp_path: Path) -> None:
    root = tmp_path / "my project"
    write_search(root, n_runs=8, epochs=2)
    table = read_search(str(root / "logs" / "wide"))
    trials = tuple(replace(trial, config_path=str(root / trial.config_path)) for trial in table.trials)
    spaced = replace(table, trials=trials)
    analysis, path = analyse([spaced]), tmp_path / "the best.yaml"
    assert export_best(analysis, [spaced], path) == f"sequifier train --config-path '{path}'"
    assert yaml.safe_load(path.read_text())["model_name"].endswith("-best")
    assert next_search(analysis)["start_with"] == [analysis.rows[0].first.config_path]
