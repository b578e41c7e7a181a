import re
from pathlib import Path

import pytest
from page_reports import NASTY, full_report, raw
from small_reports import jetson_target, report, unbuilt_target

from compress.report.html.charts import pareto_front
from compress.report.html.flips import find_changes
from compress.report.html.layers import join_layers, select_layers
from compress.report.html.page import load_raw, render_page
from compress.report.record import EngineFile


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(*full_report())


def test_the_page_is_one_file_of_less_than_three_megabytes_even_with_500_layers() -> None:
    assert len(render_page(*full_report(50, 500)).encode()) < 3_000_000


def test_text_from_outside_is_escaped_everywhere(page: str) -> None:
    assert NASTY not in page
    assert page.count("<script") == page.count("</script>") == 4


def test_the_policy_allows_no_network_and_no_other_script(page: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_drop_is_held_against_the_budget_in_words(page: str) -> None:
    assert "interval +0.10 points to +0.50 points: all of it within the budget of 1.00 points." in page


def test_what_was_not_built_or_not_measured_is_said() -> None:
    text = render_page(report(jetson_target(), unbuilt_target()))
    assert "Latency was not measured." in text
    assert "No engine: TensorRT-RTX is not installed." in text
    assert "does not hold the budget" in text


def test_missing_measurements_are_said_and_the_rest_is_there(tmp_path: Path) -> None:
    made, _ = full_report()
    stored = EngineFile(path="measurements/cpu.npz", sha256="0" * 64, bytes=5)
    made = made.model_copy(update={"targets": (made.targets[0].model_copy(update={"measurements": stored}),)})
    text = render_page(made, load_raw(made, tmp_path))
    assert "What became of every sample cannot be shown: cannot read the measurements" in text
    assert 'id="target-1-layers"' in text


def test_changes_of_the_samples_are_counted_by_class() -> None:
    changes = find_changes(raw())
    assert changes is not None
    assert (changes.samples, changes.changed, changes.lost, changes.gained) == (10, 3, 1, 1)
    assert [(each.samples, each.lost, each.gained) for each in changes.classes] == [(4, 1, 0), (3, 0, 1)]
    assert changes.classes[0].change == pytest.approx(-0.25)
    assert [(flip.index, flip.after, flip.slices) for flip in changes.flips] == [(0, "dog", (("camera", "left"),))]


def test_no_candidate_beats_one_of_the_front_in_both() -> None:
    contest = full_report()[0].targets[0].contest
    assert contest is not None
    front = pareto_front(contest)
    assert [each.sqnr_db for each in front] == [20.0, 21.0, 22.0, None]


def test_layers_are_joined_by_name_and_the_slowest_stay_where_all_are_too_many() -> None:
    rows = join_layers(full_report()[0].targets[0])
    assert len(rows) == 12
    assert (rows[5].precision, rows[5].sqnr_db) == ("float32", 42.0)
    assert rows[5].seconds == pytest.approx(3e-5)
    assert sum(row.share or 0 for row in rows) == pytest.approx(1.0)
    kept = select_layers(rows, 2)
    assert [row.number for row in kept] == [4, 7]
