"""The page about a model, in a browser that has no network, from numbers that no training made."""

import re
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts.forecasts import Forecast
from sequifier.model_report.charts import calibration_chart, drawn_groups
from sequifier.model_report.found import Bin, ModelReport, OfTarget, Shuffled, Steps, Worst
from sequifier.model_report.groups import Group, Grouping
from sequifier.model_report.page import findings, page
from tests.support.browser import cut_off, drawn_outside, open_page, requests_of, screen

H = 24


def group(name: str, value: float, error: float | None = 0.02, n: int = 1200, **metrics: float) -> Group:
    return Group(name, n, {"crps": value, "mae": 1.4 * value, "coverage_80": 0.78, **metrics}, error)


def real_target() -> OfTarget:
    """A target with a distribution and a horizon, whose first steps alone are better than a baseline."""
    steps = Grouping("step", tuple(group(str(step), 1 + 0.05 * step) for step in range(1, H + 1)))
    baselines = {"last value": tuple(1.2 + 0.2 * step for step in range(H)), "seasonal mean": (1.5,) * H}
    hours = Grouping("time_hour of the last event", tuple(group(str(hour), 1 + hour / 20) for hour in range(24)))
    return OfTarget(
        name="load <of> the station",
        main="crps",
        maximize=False,
        metrics=("crps", "mae", "coverage_80", "rmse", "mase", "mse_standardised"),
        overall=group("all", 1.6, n=1200 * H, rmse=2.0, mase=0.8, mse_standardised=0.4),
        n_unknown=0,
        baselines={"last value": {"crps": 2.5}, "seasonal mean": {"crps": 1.5, "mae": 2.0}},
        steps=Steps(steps, baselines),
        groupings=(hours,),
        bins=tuple(Bin(level / 10, level / 10 + 0.03, 0.01, 900) for level in range(1, 10)),
        coverage=Bin(0.8, 0.74, 0.01, 900),
        worst=(Worst("north", 96, 3.2, 17, "71.3", ""),),
        shuffled=(Shuffled("all", 1.6, 3.0, 1.4, 0.1, 900),),
    )


def class_target() -> OfTarget:
    overall = Group("all", 1200, {"accuracy": 0.61, "log_loss": 0.67}, 0.01)
    classes = tuple(
        Group(f"class number {number} with a long name", 40, {"accuracy": number / 40, "log_loss": 1.0}, 0.05)
        for number in range(31)
    )
    return OfTarget(
        name="weather",
        main="accuracy",
        maximize=True,
        metrics=("accuracy", "log_loss"),
        overall=overall,
        n_unknown=3,
        baselines={"unigram": {"accuracy": 0.5, "log_loss": 0.7}},
        steps=None,
        groupings=(Grouping("true class", classes),),
        bins=tuple(Bin(0.1 * level, 0.1 * level, None, 120) for level in range(1, 11)),
        coverage=None,
        worst=(Worst("north", 4, 5.0, 3, "rain", "sun"),),
        shuffled=(),
    )


def report() -> ModelReport:
    values = [50.0 + step % 7 for step in range(H)]
    low, high = [value - 3 for value in values], [value + 3 for value in values]
    forecast = Forecast("load", "north", "2024-03-01 05:00", values, values, values, values, low, high)
    targets = (real_target(), class_target())
    return ModelReport(
        "load", "best weights, epoch 3", "data/x.parquet", 9000, 6, False, "blocks", targets, (forecast,) * 6
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "load-report.html"
    path.write_text(page(report(), command="sequifier export <load> --report"))
    return path


def test_sentences_compare_steps_and_intervals() -> None:
    lines = findings(report())
    assert any(
        line.endswith(
            "crps is 1.0500 at step 1 and 2.2000 at step 24; it is better than every baseline at 9 of 24 steps."
        )
        for line in lines
    )
    assert any(
        "the 80 % intervals have 74.0 % ± 1.0 % of the true values: they are too narrow." in line for line in lines
    )
    assert any("(3 others of an unknown class" in line for line in lines)


def test_bars_of_negative_values_are_places_on_one_scale() -> None:
    """The bar of the best likelihood would be the longest."""
    found = drawn_groups(
        Grouping("x", (group("a", -0.5, 0.05), group("b", 0.5, None), Group("c", 1, {}, None))), "crps"
    )
    assert all(each.bar is None for each in found) and found[2].span is None
    low, high = found[0].span, found[1].span
    assert low is not None and high is not None and low.mark is not None
    assert 0 == low.low < low.mark < low.high < 0.2 and (high.low, high.mark, high.high) == (1, 1, 1)
    (bar, _) = (each.bar for each in drawn_groups(Grouping("x", (group("a", 1.0, 0.1), group("b", 0.5, None))), "crps"))
    assert bar == pytest.approx((1 / 1.196, 0.804 / 1.196, 1.0))


def test_a_calibration_curve_is_on_the_diagonal_where_it_is_calibrated() -> None:
    chart = calibration_chart(class_target().bins, expected="confidence", observed="accuracy")
    diagonal, line, *intervals = chart.curves
    (x1, y1), (dx, dy) = (tuple(map(float, pair)) for pair in re.findall(r"(-?[\d.]+) ?(-?[\d.]+)", diagonal.path))
    for dot in chart.dots:
        share = (float(dot.x) - x1) / dx
        assert float(dot.y) == pytest.approx(y1 + share * dy, abs=0.5)
    assert line.hint == "accuracy" and intervals == [], "without standard errors"


@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_without_an_error_a_request_or_a_cut(browser: Any, path: Path, dark: bool) -> None:
    with screen(browser, width=1400, dark=dark):
        open_page(browser, path)
        assert browser.get_log("browser") == [] and requests_of(browser, path) == []
        assert cut_off(browser) == [] and drawn_outside(browser) == []
        colours = browser.execute_script(
            "return ['.line.k-best', '.line.k-s1', '.line.k-s2'].map(name =>"
            "getComputedStyle(document.querySelector('#steps ' + name)).stroke)"
        )
        assert len(set(colours)) == 3
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", paper)[:3])) < 60) == dark


def test_a_narrow_screen_does_not_scroll_sideways(browser: Any, path: Path) -> None:
    with screen(browser, width=390, mobile=True):
        open_page(browser, path)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        assert drawn_outside(browser) == []


def test_without_javascript_every_number_can_be_read(browser: Any, path: Path) -> None:
    from selenium.webdriver.common.by import By

    with screen(browser, width=1400, script=False):
        open_page(browser, path)
        assert browser.find_elements(By.CSS_SELECTOR, "button") == []
        for key in ("findings", "metrics", "steps", "forecasts", "groups", "calibration", "worst", "order"):
            assert browser.find_element(By.ID, key).is_displayed(), key
        hours = browser.find_elements(By.CSS_SELECTOR, "#groups table")[0].find_elements(By.CSS_SELECTOR, "tbody tr")
        assert len(hours) == 24 and "± 0.0200" in hours[0].text
        steps = browser.find_element(By.CSS_SELECTOR, "#steps details")
        assert not steps.find_element(By.TAG_NAME, "table").is_displayed()
        steps.find_element(By.TAG_NAME, "summary").click()
        assert len(steps.find_elements(By.CSS_SELECTOR, "tbody tr")) == H
        assert steps.find_element(By.TAG_NAME, "table").is_displayed()
        assert len(browser.find_elements(By.CSS_SELECTOR, "svg.chart")) == 2 + 6 + 2
