"""A headless Chromium that opens a page from disk and reports what it did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.lacking import lacks

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--force-device-scale-factor=1",
)


def find_browser() -> tuple[str, str]:
    """Paths of Chromium and its driver; see `lacks` for where there are none."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if not all(found):
        lacks("chromium and chromium-driver are not installed")
    return found


@contextmanager
def open_page(
    page: Path, profile: Path, *, dark: bool = False, size: tuple[int, int] = (1400, 1000)
) -> Iterator[webdriver.Chrome]:
    """Open a page in a fresh profile and wait until its explorer is ready."""
    browser, driver = find_browser()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={profile}", "--window-size={},{}".format(*size)):
        options.add_argument(flag)
    if dark:
        options.add_argument("--blink-settings=preferredColorScheme=0")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        opened.get("about:blank")
        opened.get_log("performance")
        opened.get(page.resolve().as_uri())
        opened.execute_async_script("explorerReady.then(() => arguments[0]())")
        yield opened
    finally:
        opened.quit()


def requests_of(opened: webdriver.Chrome) -> list[str]:
    """Addresses that the page asked for since the last call, without those inside of it."""
    events = [json.loads(line["message"])["message"] for line in opened.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in asked if not url.startswith(("data:", "blob:"))]
