"""Pictures of forecasts: their file, their charts, and where they are drawn."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sequifier.artifacts.forecasts import FILE, Forecast, read_forecasts, write_forecasts
from sequifier.errors import DataError, RunError
from sequifier.report.page.forecast_charts import forecast_chart
from sequifier.report.page.learning_curves import visualize
from sequifier.report.report import read_report
from tests.support.synthetic_search import write_search

HORIZON = 24


def forecast(target: str = "load", *, begin: int = 0, is_point: bool = False) -> Forecast:
    """Return a forecast of a wave, whose interval widens."""

    def wave(first: int, n: int, size: float = 10.0) -> list[float]:
        return [50 + size * math.sin((begin + first + step) * math.pi / 12) for step in range(n)]

    middle = wave(1, HORIZON, 9.0)
    low, high = ([m + sign * (1 + step / 6) for step, m in enumerate(middle)] for sign in (-1, 1))
    found = Forecast(
        target, "north", "2024-03-01 05:00", wave(-59, 60), wave(1, HORIZON), middle, wave(1, HORIZON, 7.0)
    )
    return found if is_point else replace(found, low=low, high=high)


def test_a_file_of_forecasts_is_read_back_and_numbers_that_json_lacks_are_gaps(tmp_path: Path) -> None:
    whole = forecast()
    write_forecasts(tmp_path, [whole, replace(forecast(is_point=True), predicted=[math.nan, math.inf] + [1 / 3] * 22)])
    one, two = read_forecasts(tmp_path)
    assert one.low is not None and one.low == pytest.approx(whole.low)
    assert (one.target, one.sequence, one.origin) == (whole.target, whole.sequence, whole.origin)
    assert two.low is None and two.predicted[:3] == [None, None, pytest.approx(1 / 3)]
    assert read_forecasts(tmp_path / "none") == []


@pytest.mark.parametrize(
    "edit", [{"truth": [1.0]}, {"predicted": None}, {"origin": 3}, {"low": "abc"}, {"truth": [[]]}, {"more": 1}]
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, edit: dict[str, object]) -> None:
    path = write_forecasts(tmp_path, [forecast()])
    content = json.loads(path.read_text())
    content["forecasts"][0] |= edit
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="forecasts") as caught:
        read_forecasts(tmp_path)
    assert str(path) in str(caught.value)


def places(path: str) -> list[tuple[float, float]]:
    """Return the places of a path of relative lines."""
    found: list[tuple[float, float]] = []
    for letter, x, y in re.findall(r"([Ml]) ?(-?[\d.]+) ?(-?[\d.]+)", path):
        before = found[-1] if letter == "l" else (0.0, 0.0)
        found.append((before[0] + float(x), before[1] + float(y)))
    return found


def test_the_band_is_around_the_forecast_and_the_truth_runs_through_the_origin() -> None:
    chart = forecast_chart(forecast())
    curves = {curve.hint: places(curve.path) for curve in chart.curves}
    assert set(curves) == {"80 % interval", "seasonal mean", "truth", "forecast"}
    band, middle = curves["80 % interval"], curves["forecast"]
    assert len(band) == 2 * HORIZON
    for low, point, high in zip(band[:HORIZON], middle, reversed(band[HORIZON:]), strict=True):
        assert low[0] == point[0] == high[0] and low[1] > point[1] > high[1], "places count from the top"
    truth = curves["truth"]
    assert len(truth) == 2 * HORIZON + HORIZON, "of the past at most two horizons are drawn"
    (origin,) = (float(rule.x1) for rule in chart.axes if rule.x1 == rule.x2)
    assert truth[2 * HORIZON - 1][0] == pytest.approx(origin, abs=0.5) and middle[0] > (origin, 0)


def test_gaps_interrupt_lines_and_bands() -> None:
    found = forecast()
    assert found.low is not None
    chart = forecast_chart(replace(found, low=[None, *found.low[1:10], None, *found.low[11:]]))
    (band,) = (curve.path for curve in chart.curves if curve.kind == "band")
    assert band.count("M") == band.count("Z") == 2
    assert {curve.hint for curve in forecast_chart(forecast(is_point=True)).curves} == {
        "seasonal mean",
        "truth",
        "forecast",
    }


def test_the_report_draws_the_forecasts_of_the_best_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_search(tmp_path, n_runs=4, epochs=3)
    report = read_report([str(tmp_path / "logs" / "wide")])
    records = [row.first.record for row in report.rows]
    assert records[0] is not None and records[1] is not None
    assert 'id="forecasts"' not in page(tmp_path)
    write_forecasts(records[1], [forecast("temperature")])
    write_forecasts(records[0], [forecast("load"), forecast("wind <b>", begin=5)])
    found = page(tmp_path)
    assert 'id="forecasts"' in found and "temperature" not in found
    assert "wind &lt;b&gt; of north after 2024-03-01 05:00" in found
    (records[0] / FILE).write_text("[")
    assert 'id="forecasts"' not in page(tmp_path), "a damaged file is no reason to be without a report"

    monkeypatch.chdir(tmp_path)
    (records[0] / FILE).unlink()
    path = visualize(["wide"], forecasts=True)
    assert "temperature of north" in path.read_text() and "--forecasts" in path.read_text()
    (records[1] / FILE).unlink()
    assert 'id="forecasts"' not in visualize(["wide"]).read_text()
    with pytest.raises(RunError, match="no run has forecasts to draw"):
        visualize(["wide"], forecasts=True)


def page(root: Path) -> str:
    report = read_report([str(root / "logs" / "wide")])
    report.write_html(root / "report.html")
    return (root / "report.html").read_text()
