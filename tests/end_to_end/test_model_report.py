"""`export RUN --report`: the page about what a model does well, and its numbers."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sequifier import api
from sequifier.config.train import TrainConfig
from sequifier.export.checkpoints import open_checkpoint
from sequifier.export.models import Exports
from sequifier.model_report.found import ModelReport, OfTarget
from sequifier.model_report.measure import measure
from sequifier.model_report.page import findings
from sequifier.run_record import RunResult
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged, new_shop

COLUMNS = ("item", "price")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A shop, and a tiny model of item and price."""
    root = new_shop(tmp_path_factory.mktemp("shop"))
    values: dict[str, Any] = {
        "project_root": str(root),
        "model_name": "both",
        "target_columns": list(COLUMNS),
        "metric": "val_item_ndcg_5",
        "direction": "maximize",
        "ranking": {"item": {"k": [5]}},
        "training_spec": {"epochs": 2},
    }
    return root, api.train(TrainConfig.model_validate(merged(TINY_RUN, values)), emit=quiet)


@pytest.fixture(scope="module")
def report(trained: tuple[Path, RunResult]) -> ModelReport:
    exports = Exports(predictions=True, embedding=False, onnx=True, pt=False, end_to_end=False, top_k=None)
    found = open_checkpoint("both", str(trained[0]), exports)
    return measure(found, found.versions(found.content["model"])[0], quiet)


def of(report: ModelReport, name: str) -> OfTarget:
    return next(target for target in report.targets if target.name == name)


def test_all_targets_together_have_the_metrics_of_the_run(report: ModelReport, trained: tuple[Path, RunResult]) -> None:
    exports = Exports(predictions=True, embedding=False, onnx=True, pt=False, end_to_end=False, top_k=None)
    best = open_checkpoint("both", str(trained[0]), exports).content["progress"]["best_metrics"]
    for name in COLUMNS:
        found = of(report, name).overall
        for metric, value in found.metrics.items():
            assert value == pytest.approx(best[f"val_{name}_{metric}"], rel=1e-6), metric
    assert (of(report, "item").main, of(report, "price").main) == ("ndcg_5", "mae")
    assert of(report, "item").baselines and not report.is_part


def test_groups_are_the_targets_once_each_and_their_mean_is_that_of_all(report: ModelReport) -> None:
    for name in COLUMNS:
        target = of(report, name)
        names = [grouping.by for grouping in target.groupings]
        assert names == [f"true {'class' if name == 'item' else 'value'}", "events before it", *names[2:]]
        assert {"item of the last event", "price of the last event"} <= {*names}
        for grouping in target.groupings:
            assert sum(group.n for group in grouping.groups) == target.overall.n, grouping.by
            values, n = zip(*((group.metrics[target.main], group.n) for group in grouping.groups), strict=True)
            mean = np.average(values, weights=n)
            assert mean == pytest.approx(target.overall.metrics[target.main]), grouping.by


def test_bins_of_confidence_and_the_worst_sequences(report: ModelReport) -> None:
    item, price = of(report, "item"), of(report, "price")
    assert sum(each.n for each in item.bins) == item.overall.n and not price.bins
    confidences = [each.expected for each in item.bins]
    assert confidences == sorted(confidences)
    accuracy = sum(each.n * each.observed for each in item.bins) / item.overall.n
    assert accuracy == pytest.approx(item.overall.metrics["accuracy"])
    for target in (item, price):
        losses = [each.loss for each in target.worst]
        assert losses == sorted(losses, reverse=True) and losses[0] > target.overall.metrics["loss"]
    assert item.worst[0].truth.startswith("item") and price.worst[0].predicted == ""


def test_the_order_is_compared_on_the_same_targets(report: ModelReport) -> None:
    item = of(report, "item")
    assert [each.events for each in item.shuffled] == ["all", "before_last"]
    for each in item.shuffled:
        assert each.n == item.overall.n
        assert each.ordered == pytest.approx(item.overall.metrics["ndcg_5"])
        assert each.worse == pytest.approx(each.ordered - each.value)


def test_a_group_that_is_certainly_worse_is_named(report: ModelReport) -> None:
    lines = findings(report)
    begin = r"item: ndcg_5 is 0\.\d+ ± 0\.\d+ over \d+ targets, compared with 0\.\d+ of the best"
    assert any(re.match(begin, line) for line in lines)
    for target in report.targets:
        for grouping, group in target.weak():
            assert any(f"for {grouping.by} {group.name} (" in line for line in lines)
            better = group.metrics[target.main] > target.overall.metrics[target.main]
            assert better != target.maximize


def test_the_page_is_one_file_that_needs_no_network(trained: tuple[Path, RunResult]) -> None:
    root, _ = trained
    lines: list[str] = []
    written = api.export("both", report=True, project_root=str(root), log=lines.append)
    path = root / "models" / "both-report.html"
    assert path in written and any("shuffled" in line for line in lines)
    page = path.read_text(encoding="utf-8")
    assert len(page) < 300_000
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    for heading in ("Findings", "Metrics beside the baselines", "Calibration", "The worst sequences"):
        assert f">{heading}</h2>" in page
    assert "item by events before it" in page and "1.96" not in page
