"""The page as a file, and in a browser that has no network."""

import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sequifier.report.page.learning_curves import visualize
from sequifier.report.page.packed_curves import DIGITS, packed_curves
from sequifier.report.report import read_report
from tests.support.browser import cut_off, drawn_outside, open_page, requests_of, screen
from tests.support.synthetic_search import BASELINES, write_search


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 200 runs of 100 epochs."""
    root = tmp_path_factory.mktemp("report")
    states: dict[int, Any] = dict.fromkeys(range(7, 200, 6), "pruned") | {11: "failed", 23: "oom"}
    write_search(root, n_runs=200, epochs=100, states=states)
    path = root / "report.html"
    read_report([str(root / "logs" / "wide")]).write_html(path, command="sequifier search-analysis <wide>")
    return path


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in ("meta", "link", "br", "wbr", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1] if self.open else ''}>"
        self.open.pop()


def test_it_is_one_well_formed_file_below_a_megabyte(report: Path) -> None:
    text = report.read_text()
    assert len(text.encode()) < 1_000_000
    tags = _Tags()
    tags.feed(text)
    assert tags.open == [] and len(tags.ids) == len(set(tags.ids))
    links = {value for _, name, value in tags.attributes if name == "href" and value and value.startswith("#")}
    assert {link[1:] for link in links} <= set(tags.ids)
    assert "&lt;wide&gt;" in text and "<wide>" not in text


def test_it_names_no_other_place(report: Path) -> None:
    text = report.read_text()
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|<(?:iframe|object|embed|form)", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:;") and "connect-src" not in policy[1]


def test_without_a_script_every_number_is_there(report: Path) -> None:
    text = re.sub(r"<script.*?</script>", "", report.read_text(), flags=re.DOTALL)
    assert text.count("<tr data-key=") == 200 + len(BASELINES)
    for name, scores in BASELINES.items():
        assert name.removeprefix("baseline: ") in text and f"{scores['val_loss']:.4f}" in text
    assert text.count('class="line k-') >= 2 * 190 and text.count("<circle") > 400
    assert "sequifier train --config-path configs/hp_search/wide-run-" in text
    for heading in ("Findings", "Runs", "Importance", "Best ranges", "Learning curves", "Trade-offs", "Next search"):
        assert f">{heading}</h2>" in text


# In a browser


def column(browser: Any, name: str) -> list[str]:
    script = """
    const table = document.querySelector('#runs table');
    const place = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent === arguments[0]);
    return [...table.tBodies[0].rows].map(row => row.cells[place].dataset.v);
    """
    return list(browser.execute_script(script, name))


def test_it_opens_without_an_error_or_a_request(browser: Any, report: Path) -> None:
    open_page(browser, report)
    assert browser.get_log("browser") == []
    assert requests_of(browser, report) == []
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('svg.chart')].map(svg => {"
        "const box = svg.getBoundingClientRect();"
        "return [box.width, box.height, svg.querySelectorAll('.line, .dot').length, "
        "[...svg.querySelectorAll('.line, .dot, .step')].filter(mark => { const b = mark.getBBox();"
        "return b.width + b.height > 0; }).length]; })"
    )
    assert len(drawn) == 5
    for width, height, marks, seen in drawn:
        assert width > 200 and height > 100 and marks > 100 and seen > 100
    wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert wide, "the page itself does not scroll sideways"


def test_the_table_sorts_by_click_and_by_keyboard(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, report)
    assert column(browser, "rank")[:3] == ["1", "2", "3"]
    heads = {
        head.text.split()[0]: head for head in browser.find_elements(By.CSS_SELECTOR, "#runs thead th") if head.text
    }
    button = heads["learning_rate"].find_element(By.TAG_NAME, "button")
    button.click()
    rates = [float(value) for value in column(browser, "learning_rate") if value]
    assert rates == sorted(rates) and heads["learning_rate"].get_attribute("aria-sort") == "ascending"
    assert heads["rank"].get_attribute("aria-sort") is None
    button.send_keys(Keys.ENTER)
    rates = [float(value) for value in column(browser, "learning_rate") if value]
    assert rates == sorted(rates, reverse=True)
    assert heads["learning_rate"].get_attribute("aria-sort") == "descending"
    heads["optimizer.momentum"].find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    values = column(browser, "optimizer.momentum")
    known = [value for value in values if value]
    assert known == sorted(known, key=float) and set(values[len(known) :]) == {""}, "empty ones at the end"


def test_curves_are_read_off_with_the_keyboard_and_the_pointer(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, report)
    figure = browser.find_element(By.CSS_SELECTOR, "figure.curves")
    plot, readout = figure.find_element(By.CSS_SELECTOR, ".plot"), figure.find_element(By.CSS_SELECTOR, ".readout")
    hint = readout.text
    data = json.loads(browser.find_element(By.ID, "data").get_attribute("textContent"))
    first, second = data["charts"]["curves"]["lines"][:2]
    browser.execute_script("arguments[0].focus()", plot)
    assert readout.text.startswith(f"{first['name']}, epoch 100: val_loss {first['y'][99]:.4f}"[:24])
    assert "training loss" in readout.text
    plot.send_keys(Keys.ARROW_LEFT)
    assert f"epoch 99: val_loss {first['y'][98]:g}" in readout.text
    plot.send_keys(Keys.ARROW_DOWN)
    assert readout.text.startswith(f"{second['name']}, epoch ")
    assert browser.find_elements(By.CSS_SELECTOR, f"#runs tr.lit[data-key={second['key']}]"), "lit in the table too"
    browser.execute_script("arguments[0].blur()", plot)
    assert readout.text == hint
    ActionChains(browser).move_to_element(figure.find_element(By.TAG_NAME, "svg")).perform()
    assert re.match(r"run \d+, epoch \d+: val_loss [\d.]+", readout.text)
    assert browser.get_log("browser") == []


def test_colours_follow_the_system_and_the_button(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By

    def paper() -> str:
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    with screen(browser, dark=True):
        open_page(browser, report)
        dark = paper()
        button = browser.find_element(By.CSS_SELECTOR, "button.theme")
        button.click()
        light = paper()
        assert dark != light and button.text == "Colours: light"
        button.click()
        assert paper() == dark


def test_a_narrow_screen_does_not_scroll_sideways(browser: Any, report: Path) -> None:
    with screen(browser, width=360, mobile=True):
        open_page(browser, report)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360


def test_nothing_is_cut_off_on_a_usual_screen(browser: Any, report: Path) -> None:
    """With nine settings, and with all their names as they are."""
    with screen(browser, width=1400):
        open_page(browser, report)
        assert cut_off(browser) == [] and drawn_outside(browser) == []


def test_commands_are_copied(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By

    open_page(browser, report)
    button = browser.find_element(By.CSS_SELECTOR, "#next pre + button.copy")
    button.click()
    browser.execute_script("return new Promise(done => setTimeout(done, 50))")
    assert button.text == "Copied"
    names = [b.get_attribute("aria-label") for b in browser.find_elements(By.CSS_SELECTOR, "#runs button.copy")[:2]]
    assert all(re.fullmatch(r"Copy the command for run \d+", name) for name in names)


def test_every_part_that_scrolls_or_acts_has_a_name(browser: Any, report: Path) -> None:
    open_page(browser, report)
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('button, [tabindex], svg[role=img], section, nav')].filter(part =>"
        "!(part.getAttribute('aria-label') || part.getAttribute('aria-labelledby') || part.textContent.trim()))"
        ".map(part => part.outerHTML.slice(0, 80))"
    )
    assert nameless == []
    levels = browser.execute_script("return [...document.querySelectorAll('h1, h2, h3')].map(h => h.tagName)")
    assert levels[0] == "H1" and levels.count("H1") == 1


def test_curves_of_runs_open_alike(browser: Any, report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(report.parent)
    path = visualize(["wide-run-1", "wide-run-2"], log_scale=True)
    assert path == Path("outputs/curves-wide-run-1-wide-run-2.html")
    open_page(browser, path.absolute())
    assert browser.get_log("browser") == [] and requests_of(browser, path.absolute()) == []
    lines = browser.execute_script("return document.querySelectorAll('svg.chart .line').length")
    assert lines == 4, "validation and training of both"


def test_points_of_one_epoch_stay_apart_when_the_axis_changes(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selenium.webdriver.common.by import By

    monkeypatch.chdir(tmp_path)
    for name, entry in (("one", {"val_loss": 0.5, "train_loss": 0.9}), ("two", {"val_loss": 0.7, "train_loss": 0.1})):
        record = tmp_path / "logs" / name / "latest"
        record.mkdir(parents=True)
        (record / "metrics.jsonl").write_text(json.dumps({"epoch": 1, **entry}) + "\n")
    open_page(browser, visualize(["one", "two"]).absolute())

    def heights() -> dict[str, float]:
        dots = browser.find_elements(By.CSS_SELECTOR, "figure.curves circle.dot")
        return {dot.get_attribute("class"): round(float(dot.get_attribute("cy")), 1) for dot in dots}

    before, button = heights(), browser.find_element(By.CSS_SELECTOR, "figure.curves button.plain")
    browser.execute_script("arguments[0].click()", button)
    in_order = sorted(before, key=lambda name: before[name])
    other = heights()
    assert len({*other.values()}) == 4 and sorted(other, key=lambda name: other[name]) == in_order
    browser.execute_script("arguments[0].click()", button)
    assert heights() == before


def test_another_metric_is_shown_and_sorts(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    open_page(browser, report)
    known = json.loads(browser.find_element(By.ID, "data").get_attribute("textContent"))["runs"]
    select = Select(browser.find_element(By.CSS_SELECTOR, "#runs select"))
    assert [option.text for option in select.options] == known["metrics"]
    first = column(browser, "val_loss")
    select.select_by_visible_text("val_kind_accuracy")
    values = [float(value) for value in column(browser, "val_kind_accuracy") if value]
    place = known["metrics"].index("val_kind_accuracy")
    expected = [run["metrics"][place] for run in known["runs"].values()]
    assert values == sorted((value for value in expected if value is not None), reverse=True), "the highest first"
    assert set(column(browser, "± se")) == {""}, "that is known of the metric that ranks alone"
    skills = [float(share) for share in column(browser, "skill") if share]
    best = max(scores["val_kind_accuracy"] for scores in BASELINES.values())
    runs = [value for value in values if value not in {scores["val_kind_accuracy"] for scores in BASELINES.values()}]
    assert skills == pytest.approx([(value - best) / best for value in runs])
    select.select_by_visible_text("val_loss")
    assert [value for value in column(browser, "val_loss") if value] == [value for value in first if value]


def test_the_filter_takes_words_and_comparisons(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, report)
    box = browser.find_element(By.CSS_SELECTOR, "#runs input")

    def left(words: str) -> list[Any]:
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(Keys.DELETE, words)
        shown = "return [...document.querySelectorAll('#runs tbody tr')].filter(row => row.offsetParent !== null)"
        found: list[Any] = browser.execute_script(shown)
        return found

    states, sizes, losses = (column(browser, name) for name in ("state", "dim_model", "val_loss"))
    assert len(left("pruned")) == states.count("pruned")
    assert len(left("dim_model=64")) == sizes.count("64")
    below = sum(size == "64" and bool(loss) and float(loss) < 1.2 for size, loss in zip(sizes, losses, strict=True))
    assert 0 < below == len(left("dim_model=64 val_loss<1.2"))
    assert browser.find_element(By.CSS_SELECTOR, "#runs .controls .note").text == f"{below} of 200"
    curves = "return document.querySelectorAll('#curves path[data-key]:not(.off)').length"
    assert browser.execute_script(curves) == below, "of the others no curve is drawn"
    assert left("nothing-is-called-this") == []
    assert browser.execute_script(curves) == 0
    assert len(left("")) == 200 + len(BASELINES)
    assert browser.execute_script(curves) > 190


def test_a_click_on_a_run_shows_what_is_known_of_it(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, report)
    known = json.loads(browser.find_element(By.ID, "data").get_attribute("textContent"))["runs"]["runs"]
    row = browser.find_elements(By.CSS_SELECTOR, "#runs tbody tr")[3]
    run = known[row.get_attribute("data-key")]
    button = row.find_element(By.CSS_SELECTOR, "button.open")
    button.send_keys(Keys.ENTER)
    details = browser.find_element(By.CSS_SELECTOR, "#runs tr.details")
    assert run["differs"] and all(f"{own} (best: {best})" in details.text for _, own, best in run["differs"])
    assert all(f"{value:.4g}" in details.text for value in run["metrics"] if value is not None)
    assert all(path in details.text for path in run["files"].values())
    assert details.find_elements(By.CSS_SELECTOR, "svg.little path")
    assert button.get_attribute("aria-expanded") == "true"
    button.send_keys(Keys.ENTER)
    assert browser.find_elements(By.CSS_SELECTOR, "#runs tr.details") == []
    failed = browser.find_element(By.CSS_SELECTOR, "#runs tr[data-key=r11]")
    failed.find_element(By.CSS_SELECTOR, "button.open").send_keys(Keys.ENTER)
    error = browser.find_element(By.CSS_SELECTOR, "#runs tr.details .error").text
    assert error == known["r11"]["error"] != ""
    browser.find_element(By.CSS_SELECTOR, "#runs thead button").send_keys(Keys.ENTER)
    assert browser.find_elements(By.CSS_SELECTOR, "#runs tr.details") == [], "closed before the rows are sorted"
    assert browser.get_log("browser") == []


def test_curves_change_their_axis(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By

    open_page(browser, report)
    figure = browser.find_element(By.CSS_SELECTOR, "figure.curves")
    data = json.loads(browser.find_element(By.ID, "data").get_attribute("textContent"))["charts"]["curves"]
    key, values = data["lines"][0]["key"], data["lines"][0]["y"]

    def heights() -> list[float]:
        path = figure.find_element(By.CSS_SELECTOR, f'path[data-key="{key}"]').get_attribute("d")
        place, found = 0.0, []
        for command, numbers in re.findall(r"([MLl])([^MLl]+)", path):
            height = float(re.findall(r"-?[\d.]+", numbers)[1])
            place = place + height if command == "l" else height
            found.append(place)
        return found

    before = heights()
    button = figure.find_element(By.CSS_SELECTOR, "button.plain")
    assert button.text == "Logarithmic axis"
    browser.execute_script("arguments[0].click()", button)
    after = heights()
    shown = [text.text for text in figure.find_elements(By.CSS_SELECTOR, "text.tick[text-anchor=end]")]
    assert shown == [text for _, text in data["scales"]["other"]["ticks"]]
    assert len(before) == len(after) == len(values)
    ratio = (after[0] - after[50]) / (after[0] - after[99])
    logs = [math.log(values[place]) for place in (0, 50, 99)]
    assert ratio == pytest.approx((logs[0] - logs[1]) / (logs[0] - logs[2]), abs=0.01)
    browser.execute_script("arguments[0].click()", button)
    assert heights() == pytest.approx(before, abs=0.6)


def test_curves_are_those_of_the_chosen_metric(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    open_page(browser, report)
    figure = browser.find_element(By.CSS_SELECTOR, "figure.curves")
    data = json.loads(browser.find_element(By.ID, "data").get_attribute("textContent"))["charts"]["curves"]
    assert list(data["others"]) == ["val_kind_accuracy"], "the one that the table has besides val_loss"
    packed = data["others"]["val_kind_accuracy"]
    select = Select(browser.find_element(By.CSS_SELECTOR, "#runs select"))
    select.select_by_visible_text("val_kind_accuracy")
    assert figure.find_element(By.CSS_SELECTOR, "text.name[transform]").text == "val_kind_accuracy"
    ticks = [text.text for text in figure.find_elements(By.CSS_SELECTOR, "text.tick[text-anchor=end]")]
    assert ticks == [text for _, text in packed["scales"]["y"]["ticks"]]
    key, name = data["lines"][0]["key"], data["lines"][0]["name"]
    run = int(key.removeprefix("r"))
    lines = (report.parent / f"logs/wide-run-{run}/latest/metrics.jsonl").read_text().splitlines()
    expected = [json.loads(line)["val_kind_accuracy"] for line in lines]
    scale = packed["scales"]["y"]
    drawn = figure.find_element(By.CSS_SELECTOR, f'path[data-key="{key}"]').get_attribute("d")
    heights = [float(pair.split()[1]) for pair in re.findall(r"[ML]([^ML]+)", drawn)]
    fraction = [(height - scale["start"]) / (scale["end"] - scale["start"]) for height in heights]
    values = [scale["low"] + each * (scale["high"] - scale["low"]) for each in fraction]
    assert values == pytest.approx(expected, abs=0.001 * (scale["high"] - scale["low"]))
    browser.execute_script("arguments[0].focus()", figure.find_element(By.CSS_SELECTOR, ".plot"))
    said = figure.find_element(By.CSS_SELECTOR, ".readout").text
    assert said.startswith(f"{name}, epoch 100: val_kind_accuracy ")
    assert float(said.split()[-1]) == pytest.approx(expected[-1], abs=0.001)
    select.select_by_visible_text("val_loss")
    assert figure.find_element(By.CSS_SELECTOR, "text.name[transform]").text == "val_loss"
    assert browser.get_log("browser") == []


def test_curves_of_many_metrics_are_those_of_the_best_runs_that_have_room() -> None:
    curve = (*(float(epoch % 7) for epoch in range(100)), None)
    runs = {f"r{number}": {f"val_{name}": curve for name in "abcdefgh"} for number in range(200)}
    found = packed_curves(runs, {f"val_{name}": False for name in "abcdefgh"} | {"of_a_script": True})
    assert list(found) == [f"val_{name}" for name in "abcdefgh"]
    n_characters = sum(len(text) for each in found.values() for text in each["lines"].values())
    assert 190_000 < n_characters <= 200_000
    kept = [*found["val_a"]["lines"]]
    assert kept == [f"r{number}" for number in range(len(kept))], "the best are first"
    text, scale = found["val_a"]["lines"]["r0"], found["val_a"]["scales"]["y"]
    assert text.endswith("..")
    places = [64 * DIGITS.index(text[at]) + DIGITS.index(text[at + 1]) for at in range(0, 200, 2)]
    values = [scale["low"] + place / 4095 * (scale["high"] - scale["low"]) for place in places]
    assert values == pytest.approx(curve[:100], abs=0.001)
    assert packed_curves({"r0": {}}, {"val_a": False}) == {}
    without = {"r0": {"val_a": (None, None)}, "r1": {"val_a": (1.0, None)}}
    assert [*packed_curves(without, {"val_a": False})["val_a"]["lines"]] == ["r1"], "a curve without a value is none"


def test_a_run_of_one_epoch_is_a_point(browser: Any, tmp_path: Path) -> None:
    write_search(tmp_path, n_runs=6, epochs=1)
    path = tmp_path / "report.html"
    read_report([str(tmp_path / "logs" / "wide")]).write_html(path)
    open_page(browser, path)
    points = browser.execute_script("return document.querySelectorAll('#curves circle').length")
    assert points == 6
    assert browser.get_log("browser") == []


def test_searches_are_compared_on_one_page(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    write_search(tmp_path, name="early", n_runs=6, epochs=5)
    write_search(tmp_path, name="late", n_runs=4, epochs=5, seed=1, training={"learning_rate": [0.002, 0.004]})
    path = tmp_path / "report.html"
    names = [str(tmp_path / "logs" / name) for name in ("early", "late")]
    read_report(names).write_html(path)
    with screen(browser, width=1400):
        open_page(browser, path)
        rows = browser.find_elements(By.CSS_SELECTOR, "#compare tbody tr")
        assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == ["early", "late"]
        swatches = browser.find_elements(By.CSS_SELECTOR, "#curves .legend .swatch")
        counts = [len(browser.find_elements(By.CSS_SELECTOR, f"#curves path.k-s{place}")) for place in (0, 1)]
        assert len(swatches) == 2 and counts == [6, 4]
        colours = [
            browser.execute_script("return getComputedStyle(arguments[0]).backgroundColor", swatch)
            for swatch in swatches
        ]
        assert colours[0] != colours[1]
        assert cut_off(browser) == [] and drawn_outside(browser) == []
        browser.execute_script("document.querySelector('#curves button.plain').click()")
        assert drawn_outside(browser) == [], "names of curves stay in the chart"
    text = path.read_text()
    best = re.search(r"((?:early|late)-run-\d+) is best", text)
    assert best is not None and f"(se), {best[1]}</small>" in text, "not by its number in the common table"


def test_the_page_links_to_the_report_of_the_model_to_deploy(tmp_path: Path) -> None:
    write_search(tmp_path, n_runs=3, epochs=2)
    report = read_report([str(tmp_path / "logs" / "wide")])
    best = report.rows[0]
    model = tmp_path / "models" / f"sequifier-{best.first.name}-best-2.onnx"
    own = model.parent / f"{best.first.name}-report.html"
    model.parent.mkdir()
    model.write_text("")
    page = tmp_path / "pages" / "my report.html"
    page.parent.mkdir()

    def written() -> str:
        read_report([str(tmp_path / "logs" / "wide")]).write_html(page)
        return page.read_text()

    assert f">sequifier export {best.first.name} --report</code>" in written()
    own.write_text("")
    assert f'<a href="../models/{best.first.name}-report.html">' in written()
    os.utime(own, (0, 0))
    assert "-report.html" not in written(), "the report is of an earlier model"
