"""The report of a model that forecasts several steps, and of one that predicts when the next event comes."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.config.catalogue.distributions import LEVELS
from sequifier.config.train import TrainConfig
from sequifier.export.checkpoints import open_checkpoint
from sequifier.export.models import Exports
from sequifier.export.parity import open_session
from sequifier.model_report.charts import step_charts
from sequifier.model_report.found import ModelReport, OfTarget
from sequifier.model_report.measure import measure
from sequifier.model_report.page import findings, page
from sequifier.run_record import RunResult
from sequifier.training.baselines.scores import PREFIX
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged, preprocess_shop
from tests.support.small_project import Project

H, T, N_CUSTOMERS, N_VISITS = 4, 8, 6, 80
EXPORTS = Exports(predictions=True, embedding=False, onnx=True, pt=False, end_to_end=False, top_k=None)


def measured(root: Path, name: str) -> ModelReport:
    found = open_checkpoint(name, str(root), EXPORTS)
    return measure(found, found.versions(found.content["model"])[0], quiet)


def of(report: ModelReport, name: str) -> OfTarget:
    return next(target for target in report.targets if target.name == name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A model of the next steps of a noisy wave, with quantiles, and of an item; each origin has a full window.

    When there is a sale is known for the steps to come.
    """
    root, draw = tmp_path_factory.mktemp("waves"), np.random.default_rng(0)
    rows = [
        (f"c{customer}", visit, f"item{visit % 3}", 50 + 10 * np.sin(visit / 2 + customer) + draw.normal())
        for customer in range(N_CUSTOMERS)
        for visit in range(N_VISITS)
    ]
    lines = [",".join(map(str, [*row, "yes" if row[1] % 4 == 0 else "no"])) for row in rows]
    (root / "data").mkdir()
    (root / "data" / "shop.csv").write_text("\n".join(["customer,visit,item,price,sale", *lines]) + "\n")
    preprocess_shop(root, split_method="within_sequence", split_ratios=[0.8, 0.2])
    values: dict[str, Any] = {
        "project_root": str(root),
        "model_name": "wave",
        "prediction_horizon": H,
        "known_future": ["sale"],
        "window_normalization": "last",
        "window_stride": 3,
        "metric": "val_price_crps_step_2",
        "model_spec": {"distribution": {"price": "quantiles"}},
        "training_spec": {"epochs": 2, "dropout": 0.0},
    }
    return root, api.train(TrainConfig.model_validate(merged(TINY_RUN, values)), emit=quiet)


@pytest.fixture(scope="module")
def report(trained: tuple[Path, RunResult]) -> ModelReport:
    return measured(trained[0], "wave")


def test_all_steps_together_and_each_step_have_the_metrics_of_the_run(
    report: ModelReport, trained: tuple[Path, RunResult]
) -> None:
    for name in ("price", "item"):
        target = of(report, name)
        expected = trained[1].metrics
        assert target.overall.n == N_CUSTOMERS * (N_VISITS // 5 - H + 1) * H
        for metric, value in target.overall.metrics.items():
            assert value == pytest.approx(expected[f"val_{name}_{metric}"], rel=1e-5), metric
        assert target.steps is not None and [group.name for group in target.steps.model.groups] == ["1", "2", "3", "4"]
        for group in target.steps.model.groups:
            assert group.n * H == target.overall.n
            assert name == "item" or group.error is not None
            of_step = {metric: expected.get(f"val_{name}_{metric}_step_{group.name}") for metric in group.metrics}
            known = {metric: value for metric, value in of_step.items() if value is not None}
            assert {metric: group.metrics[metric] for metric in known} == pytest.approx(known, rel=1e-5)
            assert target.main in known
    assert of(report, "price").main == "crps"


def test_baselines_are_the_methods_of_one_target(report: ModelReport, trained: tuple[Path, RunResult]) -> None:
    price, item = of(report, "price"), of(report, "item")
    assert {"median", "last value", "ridge"} <= {*price.baselines} and "unigram" not in price.baselines
    assert "unigram" in item.baselines and not {"median", "last value"} & {*item.baselines}
    rows = {name.removeprefix(PREFIX): metrics for name, metrics in trained[1].baselines.items()}
    of_median = next(metrics for name, metrics in rows.items() if name.endswith(", median"))
    assert price.baselines["median"]["crps"] == pytest.approx(of_median["val_price_crps"])
    assert price.steps is not None
    assert price.steps.baselines["median"] == pytest.approx(
        [of_median[f"val_price_crps_step_{n + 1}"] for n in range(H)]
    )


def test_calibration_counts_true_values_below_the_quantiles_of_the_exported_model(
    report: ModelReport, trained: tuple[Path, RunResult]
) -> None:
    root, _ = trained
    session = open_session((root / "models" / "sequifier-wave-best-2.onnx").read_bytes())
    metadata = read_metadata(root / "configs/metadata_configs/shop.json")
    scale, ids = metadata.scale("price"), metadata.id_maps["sale"]
    below = []
    for rows in pl.read_csv(root / "data" / "shop.csv").partition_by("customer", maintain_order=True):
        price = scale.standardised(rows["price"].to_numpy()).astype(np.float32)
        item = np.array([int(name[-1]) + 1 for name in rows["item"]])
        sale = np.array([ids[value] for value in rows["sale"]])
        for origin in range(N_VISITS * 4 // 5 - 1, N_VISITS - H):
            window = slice(origin + 1 - T, origin + 1)
            feed = {"price": price[None, window], "item": item[None, window], "n_events": np.array([T])}
            feed |= {"sale": sale[None, window], "future_sale": sale[None, origin + 1 : origin + 1 + H]}
            (quantiles,) = session.run(["price_quantiles"], feed)  # (1, 1, H, Q)
            below.append(price[origin + 1 : origin + 1 + H, None] <= quantiles[0, 0])
    expected = dict(zip(LEVELS, np.concatenate(below).mean(axis=0).tolist(), strict=True))
    price_bins = of(report, "price").bins
    assert [each.expected for each in price_bins] == [0.05, *(number / 10 for number in range(1, 10)), 0.95]
    # A value can be within rounding of its quantile.
    assert [each.observed for each in price_bins] == pytest.approx(
        [expected[each.expected] for each in price_bins], abs=1.5 / (len(below) * H)
    )
    coverage = of(report, "price").coverage
    assert coverage is not None and coverage.observed == pytest.approx(trained[1].metrics["val_price_coverage_80"])
    assert coverage.n == len(below) * H and of(report, "item").coverage is None


def test_groups_share_the_targets_of_all_steps(report: ModelReport) -> None:
    for target in report.targets:
        assert {"item of the last event", "price of the last event"} <= {each.by for each in target.groupings}
        for grouping in target.groupings:
            assert sum(group.n for group in grouping.groups) == target.overall.n, grouping.by
    assert [each.events for each in of(report, "price").shuffled] == ["all", "before_last"]


def test_what_is_known_of_a_step_has_groups_by_step(report: ModelReport) -> None:
    """A sale is every fourth visit, so each origin has one among its four steps."""
    (known,) = (each for each in of(report, "price").groupings if each.by == "sale at the predicted step")
    n_origins = of(report, "price").overall.n // H
    assert {group.name: group.n for group in known.groups} == {"yes": n_origins, "no": (H - 1) * n_origins}


def test_the_page_draws_steps_and_forecasts_and_compares_them_in_sentences(report: ModelReport) -> None:
    text = page(report, command="test")
    for heading in ("Step by step", "Forecasts", "Calibration"):
        assert f">{heading}</h2>" in text
    assert len(report.forecasts) >= 3 and text.count(">80 % interval</title>") == len(report.forecasts)
    charts = step_charts(of(report, "price"))
    assert charts is not None and charts.coverage is not None
    assert charts.legend[0].name == "this model" and len(charts.legend) > 3
    lines = findings(report)
    assert any(
        re.match(r"price: crps is [\d.]+ at step 1 and [\d.]+ at step 4; it is better than every", each)
        for each in lines
    )
    assert any(
        re.match(r"price: the 80 % intervals have [\d.]+ % ± [\d.]+ % of the true values", each) for each in lines
    )


def test_the_numbers_are_a_json_file_too(trained: tuple[Path, RunResult], report: ModelReport) -> None:
    written = api.export("wave", report=True, project_root=str(trained[0]), log=quiet)
    path = trained[0] / "models" / "wave-report.json"
    assert path in written
    found = json.loads(path.read_text())
    target = next(each for each in found["targets"] if each["name"] == "price")
    assert target["overall"]["metrics"] == pytest.approx(of(report, "price").overall.metrics)
    steps = {group["name"]: group["metrics"]["coverage_80"] for group in target["steps"]["model"]["groups"]}
    assert steps["3"] == pytest.approx(trained[1].metrics["val_price_coverage_80_step_3"])


def test_times_that_are_observed_until_an_end_are_reported(tmp_path: Path) -> None:
    """Each sequence ends with a lower bound of a time, which counts in the likelihood alone, and begins with START."""
    draw = np.random.default_rng(1)
    rows = [
        {"sequenceId": sequence, "at": at, "kind": "ab"[place % 2]}
        for sequence in range(24)
        for place, at in enumerate(np.sort(draw.uniform(0, 10, 6)).tolist())
    ]
    observed = {"time_features": ["gap"], "time_unit": "hours", "observation": {"start": 0, "end": 10.0}}
    split = {"split_method": "between_sequence", "split_order": "file", "split_ratios": [0.5, 0.5]}
    project = Project(tmp_path)
    project.run(project.write(pl.DataFrame(rows)), position_column="at", seq_length=8, **observed, **split)
    values: dict[str, Any] = {
        "project_root": str(tmp_path),
        "metadata_config_path": "configs/metadata_configs/events.json",
        "model_name": "gaps",
        "target_columns": ["time_gap", "kind"],
        "metric": "val_time_gap_nll_per_event",
        "model_spec": {"positional_encoding": "rope", "distribution": {"time_gap": "lognormal_mixture"}},
        "training_spec": {"epochs": 1},
    }
    result = api.train(TrainConfig.model_validate(merged(TINY_RUN, values)), emit=quiet)
    report = measured(tmp_path, "gaps")
    gap = of(report, "time_gap")
    for metric, value in gap.overall.metrics.items():
        assert value == pytest.approx(result.metrics[f"val_time_gap_{metric}"], rel=1e-5), metric
    assert "nll_per_event" in gap.metrics and gap.overall.n == 12 * 6, "without the 12 lower bounds"
    history = next(each for each in gap.groupings if each.by == "events before it")
    assert [(group.name, group.n) for group in history.groups][:2] == [("no event", 12), ("1 event", 12)]
    assert sum(group.n for group in history.groups) == gap.overall.n
    assert all("nll_per_event" not in group.metrics for each in gap.groupings for group in each.groups)
    assert gap.coverage is not None and gap.coverage.n == gap.overall.n
    assert of(report, "kind").overall.n == 12 * 6
    assert report.forecasts == () and "Step by step" not in page(report, command="")
