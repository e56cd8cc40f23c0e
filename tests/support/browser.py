"""Pages in a headless Chromium that has no network."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


@contextmanager
def chromium() -> Iterator[Any]:
    """A driver; the test is skipped where there is no Chromium."""
    selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install 'sequifier-search[dev]'")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        assert selenium is not None
        yield driver
    finally:
        driver.quit()


def open_page(browser: Any, path: Path) -> None:
    browser.get_log("performance")
    browser.get(f"file://{path}")


def requests_of(browser: Any, path: Path) -> list[str]:
    """What was requested besides the page."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if url != f"file://{path}" and not url.startswith("data:")]


@contextmanager
def screen(browser: Any, *, width: int = 1200, mobile: bool = False, dark: bool = False, script: bool = True) -> Any:
    """Another screen, colour scheme, or a browser without JavaScript."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
    features = [{"name": "prefers-color-scheme", "value": "dark"}] if dark else []
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def cut_off(browser: Any) -> list[str]:
    """The tables and drawings that are wider than the place that they have, and so scroll."""
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.scroll, .plot')].filter(part => part.scrollWidth > part.clientWidth)"
        ".map(part => part.getAttribute('aria-label') ?? part.className)"
    )
    return found


def drawn_outside(browser: Any) -> list[str]:
    """The texts of drawings that are not inside of them."""
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('svg.chart text')].filter(text => {"
        "const own = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();"
        "return own.left < all.left || own.right > all.right || own.top < all.top || own.bottom > all.bottom; })"
        ".map(text => text.textContent)"
    )
    return found
