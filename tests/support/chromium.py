"""A headless Chromium that opens files of this machine only, and tells what the page asked for."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

DRIVER = shutil.which("chromedriver")
BROWSER = shutil.which("chromium")


@contextmanager
def open_chromium(folder: Path) -> Iterator[Chrome]:
    """Yield a browser whose profile is in the folder; Debian's packages chromium and chromium-driver."""
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", f"user-data-dir={folder}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options, Service(executable_path=str(DRIVER)))
    try:
        yield browser
    finally:
        browser.quit()


def requested_urls(browser: Chrome) -> list[str]:
    """Return every address that was asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in _log(browser, "performance")]
    return [found["params"]["request"]["url"] for found in messages if found["method"] == "Network.requestWillBeSent"]


def console_errors(browser: Chrome) -> list[str]:
    """Return warnings and errors on the console since the last call."""
    return [entry["message"] for entry in _log(browser, "browser") if entry["level"] in ("SEVERE", "WARNING")]


def emulate(browser: Chrome, scheme: str, *, width: int = 1200, media: str = "") -> None:
    """Make the page prefer a colour scheme, have a width in CSS pixels, and a medium (``"print"``)."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _log(browser: Chrome, kind: str) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries
