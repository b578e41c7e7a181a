import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page_reports import NASTY, full_page, full_report, mixed, raw
from PIL import Image
from small_reports import cpu_target, jetson_target, latency, report, unbuilt_target

from compress.report.html.charts import pareto_front
from compress.report.html.flips import find_changes
from compress.report.html.layers import join_layers, select_layers
from compress.report.html.page import load_raw, render_page
from compress.report.html.pictures import embed_pictures
from compress.report.html.slices import compare_slices
from compress.report.html.trials import find_trials
from compress.report.record import EngineFile


@pytest.fixture(scope="module")
def page() -> str:
    return full_page()


def test_the_page_is_one_file_of_less_than_three_megabytes_even_with_500_layers() -> None:
    assert len(full_page(50, 500).encode()) < 3_000_000


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


def test_an_engine_is_called_slower_only_where_the_whole_interval_is() -> None:
    for speedup, interval, words in (
        (0.99, (0.95, 1.05), "0.99× as fast, speed-up 0.99×"),
        (0.8, (0.7, 0.9), "1.25× slower, speed-up 0.80×"),
    ):
        timed = cpu_target().model_copy(update={"latency": latency(speedup=speedup, interval=interval)})
        assert words in render_page(report(timed))


def test_missing_measurements_are_said_and_the_rest_is_there(tmp_path: Path) -> None:
    made, _ = full_report()
    stored = EngineFile(path="measurements/cpu.npz", sha256="0" * 64, bytes=5)
    made = made.model_copy(update={"targets": (made.targets[0].model_copy(update={"measurements": stored}),)})
    text = render_page(made, load_raw(made.targets, tmp_path))
    assert "What became of every sample cannot be shown: cannot read the measurements" in text
    assert 'id="target-1-layers"' in text


def test_changes_of_the_samples_are_counted_by_class() -> None:
    changes = find_changes(raw())
    assert changes is not None
    assert (changes.samples, changes.changed, changes.lost, changes.gained) == (10, 3, 1, 1)
    assert [(each.samples, each.lost, each.gained) for each in changes.classes] == [(4, 1, 0), (3, 0, 1)]
    assert changes.classes[0].change == pytest.approx(-0.25)
    assert [(flip.index, flip.after, flip.slices) for flip in changes.flips] == [(0, "dog", (("camera", "left"),))]
    assert changes.flips[0].texts[0].startswith("a long text")


def test_the_worst_sample_is_shown_as_a_picture_and_with_its_text(page: str) -> None:
    (found,) = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="Sample 0, in truth cat ', page)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found))))
    assert np.array_equal(picture, raw().pictures[0])
    assert '<blockquote tabindex="0">a long text &lt;/script&gt;' in page


def test_pictures_end_where_their_budget_does(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    pictures = dict(enumerate(noise))
    found = embed_pictures(pictures, [2, 9, 0, 1], 1_000_000)
    assert list(found) == [2, 0, 1]
    assert all(text.startswith("data:image/jpeg;base64,") for text in found.values())
    assert list(embed_pictures(pictures, [2, 0, 1], len(found[2]) + 10)) == [2]
    flat = embed_pictures({0: np.zeros((64, 64, 3), np.uint8)}, [0], 1000)
    assert flat[0].startswith("data:image/png;base64,")


def test_every_rule_is_in_a_table_with_its_limit_and_its_reason(page: str) -> None:
    section = page[page.index('id="target-1-rules"') : page.index('id="target-1-drop"')]
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th><td><span class=\"badge is-(\w+)\"", section)
    assert dict(rows) == {"accuracy": "pass", "slice-drop": "inconclusive", "latency": "pass", "memory": "unmeasured"}
    assert '<td class="number">1.00 points</td>' in section
    assert "A peak of at most 1.0 KB was asked for" in section or "was asked for" in section


def test_slices_lose_the_samples_that_are_theirs_the_worst_first() -> None:
    left, right = compare_slices(raw())
    assert (left.value, left.samples, left.lost, left.gained) == ("left", 5, 1, 0)
    assert [left.before, left.after, left.change] == pytest.approx([0.8, 0.6, -0.2])
    assert left.interval[0] < left.change < left.interval[1]
    assert (right.value, right.lost, right.gained) == ("right", 0, 1)
    assert right.change == pytest.approx(0.2)
    scores = np.array([1.0] * 9 + [0.5], np.float32)
    # A metric that counts no samples: the predicted class says what is right, as for the gate.
    graded = replace(raw(), baseline_score=scores, compressed_score=scores)
    assert len(compare_slices(graded)) == 2
    assert compare_slices(replace(graded, label=None)) == []


def test_what_mixed_precision_tried_stands_beside_the_candidates(page: str) -> None:
    made, _ = full_report()
    target = made.targets[0]
    assert target.latency is not None
    rows = find_trials(target, made)
    told = [(row.layers, row.sqnr_db, row.within) for row in rows]
    assert told == [(1, None, False), (2, 30.0, True), (3, 35.0, True)]
    assert rows[0].seconds == pytest.approx(0.5 * target.latency.baseline.p50)
    assert "3 engines that the search for mixed precision tried" in page
    counted = mixed().model_copy(update={"metrics": {**mixed().metrics, "latency": "counted"}})
    assert find_trials(target.model_copy(update={"steps": (counted,)}), made) == []
    broken = mixed().model_copy(update={"metrics": {"latency": "measured", "tried": ["x", {"latency": "fast"}]}})
    assert find_trials(target.model_copy(update={"steps": (broken,)}), made) == []
    alone = made.model_copy(update={"targets": (target.model_copy(update={"contest": None}),)})
    assert 'id="target-1-candidates-chart"' in render_page(alone)


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
