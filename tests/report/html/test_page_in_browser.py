"""The page in headless Chromium, opened from a file (Debian packages chromium and chromium-driver)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from page_reports import full_page

pytest.importorskip("selenium")
from chromium import BROWSER, DRIVER, console_errors, emulate, open_chromium, requested_urls
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed")
AXE = Path(__file__).parents[2] / "support" / "axe" / "axe.min.js"
SECTIONS = ("rules", "drop", "latency", "candidates", "time", "layers", "slices", "classes", "samples", "conditions")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(full_page(), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Chrome, path: Path) -> Chrome:
    emulate(chromium, "light")
    chromium.get("about:blank")
    requested_urls(chromium)
    console_errors(chromium)
    chromium.get(path.as_uri())
    return chromium


def test_it_opens_without_an_error_or_a_request_and_has_every_section(browser: Chrome, path: Path) -> None:
    assert console_errors(browser) == []
    assert {url for url in requested_urls(browser) if not url.startswith("data:")} == {path.as_uri()}
    wanted = ["verdict", "steps", "machine", "files", "reproduce", *(f"target-1-{name}" for name in SECTIONS)]
    assert [name for name in wanted if not browser.find_elements(By.ID, name)] == []
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg.plot")) == 5


def test_layers_sort_and_filter_by_keyboard(browser: Chrome) -> None:
    (button,) = [
        each for each in browser.find_elements(By.CSS_SELECTOR, ".sortable th button") if each.text[:4] == "time"
    ]
    head = button.find_element(By.XPATH, "..")
    browser.execute_script("arguments[0].focus()", button)
    for direction in ("ascending", "descending"):
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        assert head.get_attribute("aria-sort") == direction
        script = "return [...document.querySelectorAll('.sortable tbody tr')].map(r => Number(r.cells[5].dataset.v))"
        values = browser.execute_script(script)
        assert values == sorted(values, reverse=direction == "descending")
    field = browser.find_element(By.CSS_SELECTOR, ".filter-text")
    field.send_keys("block.1")
    assert browser.find_element(By.CSS_SELECTOR, ".matches").text == "3 of 12 layers."


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag_aa(browser: Chrome, scheme: str) -> None:
    emulate(browser, scheme)
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    script = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(arguments[arguments.length - 1])"
    found = browser.execute_async_script(script)
    assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []
    assert len(found["passes"]) > 15


def test_a_narrow_window_needs_no_sideways_scrolling(browser: Chrome) -> None:
    emulate(browser, "light", width=400)
    browser.refresh()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    widths = browser.execute_script(
        "return [...document.querySelectorAll('svg.plot')].map(s => +s.getAttribute('width'))"
    )
    # Drawn for this width, not drawn large and scaled down to letters that nobody can read.
    assert max(widths) <= 400
