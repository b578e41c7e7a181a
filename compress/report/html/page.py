"""The page as text: the view of the report, the templates, and a policy for the browser that lets nothing else run."""

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import jinja2
from markupsafe import Markup

from compress.errors import ConfigError, printable
from compress.report.html.facts import data_rows, file_rows, machine_facts, source_facts, step_rows
from compress.report.html.layers import HEAD
from compress.report.html.target import TargetView, view_target
from compress.report.measurements import RawMeasurements, read_measurements
from compress.report.record import Report, TargetRecord
from compress.report.rows import name_outcome
from compress.resources import data_folder

if TYPE_CHECKING:
    from compress.gate import RuleOutcome

PLOT_STYLE: Final = "sha256-+TfQir1nvDucAdvE6XUQBt4ayUjpAWkbw2kCdSfekHM="
"""Of the style sheet that Observable Plot 0.6.17 puts into every chart of the class ``plot``."""
_SCRIPTS: Final = ("vendor/d3.min.js", "vendor/plot.umd.min.js", "templates/page.js")
_TEMPLATE: Final = "report.html.j2"


def render_page(
    report: Report,
    raw: Mapping[str, RawMeasurements | str] | None = None,
    rules: "Mapping[str, Sequence[RuleOutcome]] | None" = None,
) -> str:
    """Return a report as a page; text from models, samples and machines is escaped.

    Args:
        report: What to show.
        raw: By target, every sample's outcome and every round's seconds, or why they are not there.
        rules: By target, what each rule of the gate says.
    """
    raw, rules = raw or {}, rules or {}
    targets = [
        view_target(target, raw.get(target.target), report, number, rules.get(target.target, ()))
        for number, target in enumerate(report.targets)
    ]
    reports = data_folder("reports")
    style = (reports / "templates" / "page.css").read_text(encoding="utf-8")
    scripts = [(reports / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(reports / "templates"),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        report=report,
        outcome=name_outcome(report.verdict),
        targets=targets,
        machines=machine_facts(report.targets),
        layer_head=HEAD,
        files=file_rows(report.targets),
        steps=step_rows(report),
        data=data_rows(report.data),
        source=source_facts(report.source),
        packages=sorted(report.tool.packages.items()),
        policy=_policy(style, scripts),
        style=_inline(style, "style"),
        scripts=[_inline(script, "script") for script in scripts],
        charts=_chart_data(targets),
    )


def load_raw(targets: Sequence[TargetRecord], folder: Path) -> dict[str, RawMeasurements | str]:
    """Return what was stored beside a report, by target; where a file cannot be used, the reason in words.

    Args:
        targets: Of a report.
        folder: Where it lies.
    """
    found: dict[str, RawMeasurements | str] = {}
    for target in targets:
        if target.measurements is None:
            continue
        try:
            found[target.target] = read_measurements(target.measurements, folder)
        except ConfigError as error:
            found[target.target] = error.message
    return found


def _printable(value: object) -> object:
    """Return what stands in the page for a value; no HTML may hold control characters."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str, scripts: list[str]) -> str:
    """Return the Content Security Policy: scripts and styles of this page by their digests, pictures from inside."""
    allowed = " ".join(f"'{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src '{_digest(style)}' '{PLOT_STYLE}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"


def _inline(text: str, tag: str) -> Markup:
    """Return our own text for the inside of a tag.

    Raises:
        ValueError: It would end the tag.
    """
    if f"</{tag}" in text.lower() or "\r" in text:
        raise ValueError(f"this text cannot stand inside <{tag}>")
    return Markup(text)  # noqa: S704 - ours, from a file of the installation, checked above


def _chart_data(targets: list[TargetView]) -> Markup:
    charts = [chart for target in targets for chart in target.charts]
    text = json.dumps(charts, allow_nan=False, separators=(",", ":"))
    # Inside a script element nothing is unescaped, and only `<` can end or nest one.
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704
