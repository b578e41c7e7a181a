"""How long the page of a large report takes, from the report to a browser that is ready.

    python benchmarks/page_time.py [--candidates 50] [--layers 500] [--runs 5]

A made-up report of one target with that many candidates in the contest and that many layers, every section filled, is
rendered to a page; headless Chromium (Debian packages chromium and chromium-driver) opens the file. *Ready* is the
`load` event: the scripts have drawn every chart by then, and the tables sort. Medians over the runs; the profile is
warm, the page is not cached.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from chromium import BROWSER, DRIVER, open_chromium
from page_reports import full_report, rules

from compress.report.html.page import render_page

READY = "const [e] = performance.getEntriesByType('navigation'); return e.loadEventEnd"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--layers", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if not (BROWSER and DRIVER):
        sys.exit("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    report, raw = full_report(options.candidates, options.layers)
    outcomes = rules(report, raw)
    rendered: list[float] = []
    ready: list[float] = []
    with tempfile.TemporaryDirectory() as folder, open_chromium(Path(folder) / "profile") as browser:
        path = Path(folder) / "report.html"
        for _ in range(options.runs):
            start = time.perf_counter()
            page = render_page(report, raw, outcomes)
            rendered.append(time.perf_counter() - start)
            path.write_text(page, encoding="utf-8")
            browser.get("about:blank")
            browser.get(path.as_uri())
            ready.append(browser.execute_script(READY) / 1e3)
            charts = browser.execute_script("return document.querySelectorAll('svg.plot').length")
            rows = browser.execute_script("return document.querySelectorAll('.sortable tbody tr').length")
    total = [a + b for a, b in zip(rendered, ready, strict=True)]
    what = f"{options.candidates} candidates, {options.layers} layers"
    print(f"{what}: {len(page.encode()) / 1e6:.2f} MB, {charts} charts, {rows} rows of layers")
    for name, seconds in (("rendered", rendered), ("ready", ready), ("both", total)):
        print(f"{name:<9} {statistics.median(seconds):.2f} s (worst {max(seconds):.2f} s)")


if __name__ == "__main__":
    main()
