"""docs/tutorial.md on little data: each command of the page works, leaves what it says and prints what it shows."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sequifier.config.loading.load import load
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.results.read import read_search
from tests.support.docs_scripts import docs_script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("tutorial")
    return folder / "demo", docs_script("tutorial").run(folder, small=True)


def shape(line: str) -> str:
    """A line without what depends on the data: its numbers, and which run is the best."""
    line = re.sub(r"\((\S+-)?run[ -]\d+\)", "(run)", line)
    return re.sub(r"\s+", " ", re.sub(r"[-+]?\d[\d.,]*", "#", line)).strip()


@pytest.mark.slow
def test_the_models_of_the_tutorial(ran: tuple[Path, list[Any]]) -> None:
    project, _ = ran
    asked = load(SearchConfig, project / "configs" / "broad.yaml").config
    following = load(SearchConfig, project / "configs" / "broad-2.yaml").config
    assert (asked.search_strategy, following.search_strategy) == ("sample", "bayesian")
    assert following.hp_search_name == "broad-2" and following.start_with
    broad, narrow = (read_search(str(project / "logs" / name)) for name in ("broad", "broad-2"))
    assert len(broad.complete) == 4 and len(narrow.complete) >= 4
    best = min((trial for table in (broad, narrow) for trial in table.complete), key=lambda trial: trial.value or 0)
    exported = yaml.safe_load((project / "configs" / "best.yaml").read_text())
    assert exported["model_name"] == f"{best.name}-best"
    rate = exported["training_spec"]["learning_rate"]
    assert rate == best.settings["learning_rate"]
    trained = load(TrainConfig, project / "logs" / "tuned" / "latest" / "config.yaml").config
    assert (trained.training_spec.learning_rate, trained.training_spec.epochs) == (rate, 6)
    assert (project / "models" / "sequifier-tuned-best-6.onnx").is_file()


@pytest.mark.slow
def test_the_samplers_of_the_tutorial(ran: tuple[Path, list[Any]]) -> None:
    project, _ = ran
    broad, grid = (read_search(str(project / "logs" / name)) for name in ("samplers", "samplers-2"))
    assert {trial.group for trial in broad.trials} == {"top_p", "min_p", "top_n_sigma"} and len(broad.complete) == 9
    asked = load(SamplerSearchConfig, project / "configs" / "samplers-2.yaml").config
    assert asked.search_strategy == "grid" and {trial.group for trial in grid.trials} == set(asked.sampler_types)
    best = max((trial for table in (broad, grid) for trial in table.complete), key=lambda trial: trial.value or 0)
    exported = yaml.safe_load((project / "samplers.yaml").read_text())
    assert exported["best_overall"]["sampler_type"] == best.group
    assert exported["best_overall"]["mean_score"] == best.value
    assert set(exported["best_by_sampler"]) == {"top_p", "min_p", "top_n_sigma"}
    predicted = pl.read_csv(project / "outputs" / "predictions" / "sequifier-tuned-best-6-predictions.csv")
    assert len(predicted) > 1000
    log = (project / "logs" / "infer" / "latest" / "experiment_log.txt").read_text()
    assert "sampler" in log


@pytest.mark.slow
def test_the_pages_of_the_tutorial(ran: tuple[Path, list[Any]]) -> None:
    project, _ = ran
    for name in ("broad", "samplers"):
        page = (project / f"{name}.html").read_text()
        assert f"<title>{name}" in page or name in page[:2000]
        assert "This page makes no network request." in page


@pytest.mark.slow
def test_what_the_tutorial_shows_is_what_commands_print(ran: tuple[Path, list[Any]]) -> None:
    """First lines and last ones, numbers apart; what lies between depends on the data, and what is generated too."""
    _, blocks = ran
    assert len(blocks) == 5 and blocks[-1].printed.strip()
    for block in blocks[:-1]:
        shown, printed = (text.strip("\n").splitlines() for text in (block.in_page, block.printed))
        for place in (0, -1):
            assert shape(shown[place]) == shape(printed[place])


def test_the_page_is_as_its_script_reads_it() -> None:
    module = docs_script("tutorial")
    text = module.PAGE.read_text(encoding="utf-8")
    kinds = [kind for kind, _, _ in module.BLOCK.findall(text)]
    assert kinds.count("bash") == 8 and kinds.count("yaml") == 1 and kinds.count("text") == 5
    assert text.count("```") == 2 * len(kinds), "no block that is not run or shown"
    for _, rule, body in (found for found in module.BLOCK.findall(text) if found[0] == "text"):
        counts = sum(int(number) for number in re.findall(r"=(\d+)", rule))
        assert 0 < len(body.splitlines()) <= counts + 1
    assert module.excerpt("a\nb\nc\nd\n", " first=1 last=2") == "a\n…\nc\nd\n"
    assert module.excerpt("a\nb\n", " first=1 last=1") == "a\nb\n"
