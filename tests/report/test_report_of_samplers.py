"""Sampler searches go through the same table and the same analysis."""

import json
import shlex
from pathlib import Path

import polars as pl
import pytest
import yaml

from sequifier.artifacts.sampler_results import SamplerLedger, infer_command, search_results
from sequifier.config.inference import InferConfig
from sequifier.config.loading.load import load
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.errors import RunError
from sequifier.inference.sampling import find_sampler
from sequifier.report.analyse import analyse
from sequifier.report.analysis import as_json
from sequifier.report.export import export_best, export_next
from sequifier.report.exports.optuna import export_optuna
from sequifier.report.page.render import render
from sequifier.results.read import read_search
from tests.support.sampler_records import RANGES, records

CONFIG = """
sampler_search_name: hot
model_path: m.onnx
search_strategy: random
n_samples: 30
sampler_types: [top_p, min_p, top_k]
sections: {quick_test: {n_samples: 2}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The ledger of two searches, of which the second one counts, and its result file."""
    folder = tmp_path / "logs" / "hot"
    with SamplerLedger.open(folder) as ledger:
        for record in [*records(3, seed=5, search="b" * 16), *records()]:
            ledger.append(record)
    (folder / "hyper_search_random_20260102_030405.json").write_text(json.dumps(search_results(records())))
    (folder / "search.yaml").write_text(CONFIG)
    return folder


def test_performance_of_samplers_matches_a_group_by(folder: Path) -> None:
    analysis = analyse([read_search(str(folder))])
    done = [record for record in records() if record.mean_score is not None]
    frame = pl.DataFrame({"sampler": [r.sampler_type for r in done], "score": [r.mean_score for r in done]})
    expected = frame.group_by("sampler").agg(
        mean=pl.col("score").mean(), deviation=pl.col("score").std(), best=pl.col("score").max(), count=pl.len()
    )
    found = {group.name: group for group in analysis.groups.groups}
    assert analysis.groups.name == "sampler" and analysis.groups.groups[0].name == "min_p"
    for row in expected.to_dicts():
        group = found[row["sampler"]]
        for key in ("mean", "deviation", "best"):
            assert getattr(group, key) == pytest.approx(row[key])
        assert group.count == row["count"]
    assert analysis.overview.best == max(frame["score"]) and analysis.table.maximize
    assert analysis.overview.states == {"finished": 29, "failed": 1}


def test_each_sampler_has_its_own_importance_and_ranges(folder: Path) -> None:
    analysis = analyse([read_search(str(folder))])
    assert [group.name for group in analysis.in_groups] == ["top_p", "min_p", "top_k"]
    for group in analysis.in_groups:
        names = {each.parameter for each in group.ranges}
        assert names == {"temperature", RANGES[group.name][0]}
        assert {each.parameter for each in group.importances.parameters} == names
    assert analysis.table.settings[0] == "sampler" and "max_tokens" not in analysis.table.settings


def test_a_result_file_says_the_same_as_the_ledger(folder: Path) -> None:
    by_ledger = analyse([read_search(str(folder))])
    by_file = analyse([read_search(str(folder / "hyper_search_random_20260102_030405.json"))])
    assert [row.first.number for row in by_file.rows] == [row.first.number for row in by_ledger.rows]
    assert by_file.importances == by_ledger.importances and by_file.ranges == by_ledger.ranges
    assert any(row.is_indistinguishable for row in by_ledger.rows), "by its prompts"
    (folder / "other.json").write_text("{}")
    with pytest.raises(RunError, match="not a result file"):
        read_search(str(folder / "other.json"))


def test_a_measure_in_its_own_unit_can_rank(folder: Path) -> None:
    table = read_search(str(folder), metric="mae")
    assert table.direction == "minimize"
    assert analyse([table]).rows[0].first.number == analyse([read_search(str(folder))]).rows[0].first.number
    assert read_search(str(folder), metric="standard_error").direction == "minimize"
    assert read_search(str(folder), metric="score_token_accuracy").direction == "maximize"
    assert read_search(str(folder), metric="mae", direction="maximize").maximize
    file = folder / "hyper_search_random_20260102_030405.json"
    assert not read_search(str(file), direction="minimize").maximize
    content = json.loads(file.read_text())
    for each in content["all_results"]:
        each["measures"]["mae_price"] = each["measures"]["mae"]
    file.write_text(json.dumps(content))
    assert read_search(str(file), metric="mae_price").direction == "minimize"
    with pytest.raises(RunError, match="no configuration has the measure `may`"):
        read_search(str(folder), metric="may")


def test_the_best_samplers_are_exported_as_infer_takes_them(folder: Path, tmp_path: Path) -> None:
    table = read_search(str(folder))
    analysis, path = analyse([table]), tmp_path / "best.yaml"
    assert export_best(analysis, [table], path) == shlex.join(
        ["sequifier", "infer", "--model-path", "m.onnx", "-D", f"sampler={path}", "autoregression=true"]
    )
    written = yaml.safe_load(path.read_text())
    best = analysis.rows[0].first
    assert written["best_overall"]["sampler_type"] == best.group == "min_p"
    assert written["best_overall"]["mean_score"] == best.value
    assert set(written["best_by_sampler"]) == {"top_p", "min_p", "top_k"}
    assert written["search_metadata"]["total_configurations"] == 29
    config = InferConfig.model_validate({"model_path": "m.onnx", "sampler": f"{path}:min_p"})
    taken = find_sampler(config)
    assert (taken.min_p, taken.temperature) == (best.settings["min_p"], best.settings["temperature"])


def test_the_next_search_is_a_grid_around_the_best(folder: Path, tmp_path: Path) -> None:
    analysis, path = analyse([read_search(str(folder))]), tmp_path / "next.yaml"
    assert export_next(analysis, path) == f"sequifier sampler-search --config-path {path}"
    config = load(SamplerSearchConfig, path).config
    assert (config.sampler_search_name, config.search_strategy) == ("hot-2", "grid")
    assert "min_p" in config.sampler_types
    ranges = yaml.safe_load(path.read_text())["parameter_ranges"]["min_p"]
    found = next(group for group in analysis.in_groups if group.name == "min_p")
    temperature = next(each for each in found.ranges if each.parameter == "temperature")
    assert ranges["temperature"][0] == pytest.approx(temperature.low, rel=0.01)
    assert ranges["temperature"][-1] == pytest.approx(temperature.high, rel=0.01)
    assert ranges["max_tokens"] == [32]
    assert set(yaml.safe_load(path.read_text())) == {
        *("sampler_search_name", "model_path", "search_strategy", "sampler_types", "parameter_ranges")
    }, "defaults are left out"


def test_it_is_drawn_and_written_as_json(folder: Path) -> None:
    analysis = analyse([read_search(str(folder))])
    page = render(analysis)
    assert "Within min_p" in page and "sequifier infer --model-path m.onnx -D sampler.temperature=" in page
    assert json.loads(json.dumps(as_json(analysis), allow_nan=False))["kind"] == "sampler"


def test_commands_name_the_model_and_whether_the_history_is_true(folder: Path) -> None:
    (folder / "search.yaml").write_text(CONFIG + 'history: "true"\n')
    assert "autoregression" not in read_search(str(folder)).trials[0].command
    assert infer_command("my models/m.onnx", {"sampler": "b.yaml"}, is_true_history=False) == (
        "sequifier infer --model-path 'my models/m.onnx' -D sampler=b.yaml autoregression=true"
    )
    assert infer_command("m at http://localhost:5001/v1", {"sampler": "b.yaml"}, is_true_history=False) == ""


def test_a_sampler_search_is_no_optuna_study(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="sampler search is not written as an Optuna study"):
        export_optuna(folder, f"sqlite:///{tmp_path / 'study.db'}")
    assert not (tmp_path / "study.db").exists()
