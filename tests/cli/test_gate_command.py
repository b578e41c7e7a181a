import json
from pathlib import Path

import pytest
from small_reports import cpu_target, jetson_target, report, unbuilt_target

from compress.cli import main
from compress.report.json_file import write_report
from compress.report.record import Report

Output = pytest.CaptureFixture[str]


def gate(path: Path, *flags: str) -> int:
    return main(["gate", str(path), *flags])


def test_every_rule_is_printed_with_its_outcome(stored: Path, capsys: Output) -> None:
    assert gate(stored, "--max-size", "320KB") == 12
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cpu"
    assert lines[1].startswith("  accuracy  pass          The drop of top1 is +0.30 points")
    assert lines[2] == "  size      pass          The engine has 312 KB, within the limit of 320 KB."
    assert lines[3] == "jetson-orin-nano"
    assert lines[5] == "  size      fail          The engine has 330 KB, beyond the limit of 320 KB."
    assert lines[6] == "verdict: FAIL: size or memory (exit code 12)"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ((), 0),
        (("--max-drop", "0"), 10),
        (("--max-drop", "0.4"), 13),
        (("--max-latency", "1us"), 11),
        (("--max-latency", "8ms"), 13),  # nobody measured the jetson
        (("--min-speedup", "9"), 11),
        (("--max-size", "1KB"), 12),
        (("--require", "measured"), 13),
    ],
)
def test_the_exit_code_is_that_of_the_worst_target(stored: Path, flags: tuple[str, ...], code: int) -> None:
    assert gate(stored, *flags) == code


def test_a_target_that_was_not_built_is_exit_20(tmp_path: Path, capsys: Output) -> None:
    write_report(report(cpu_target(), unbuilt_target()), tmp_path / "report.json")
    assert gate(tmp_path) == 20
    assert "engine    fail          There is no engine: TensorRT-RTX is not installed." in capsys.readouterr().out


def test_flags_win_over_the_policy_file(stored: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[gate]\nmax_drop = 0\nmax_size = "5MB"\n')
    assert gate(stored, "--policy", str(policy)) == 10
    assert gate(stored, "--policy", str(policy), "--max-drop", "1") == 0


def test_json_has_every_rule_and_the_verdict(stored: Path, capsys: Output) -> None:
    assert gate(stored, "--json", "--max-latency", "8ms") == 13
    found = json.loads(capsys.readouterr().out)
    assert [target["target"] for target in found["targets"]] == ["cpu", "jetson-orin-nano"]
    assert [rule["status"] for rule in found["targets"][1]["rules"]] == ["pass", "unmeasured"]
    assert found["verdict"]["exit_code"] == 13
    assert found["verdict"]["reasons"][0].startswith("jetson-orin-nano: A latency of at most 8.00 ms was asked for")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max-latency", "8"), "error: --max-latency 8: `8` is not a duration"),
        (("--policy", "absent.toml"), "error: absent.toml does not exist"),
        (("--max-frop", "1"), "error: unrecognized arguments: --max-frop 1"),
    ],
)
def test_a_users_mistake_is_exit_2_with_a_message_and_a_hint(
    stored: Path, flags: tuple[str, ...], message: str, capsys: Output
) -> None:
    assert gate(stored, *flags) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert "\nhint: " in captured.err
    assert "Traceback" not in captured.err


def test_a_report_that_is_not_there_or_empty_is_exit_2(tmp_path: Path, capsys: Output) -> None:
    assert gate(tmp_path / "absent.json") == 2
    empty: Report = report().model_copy(update={"targets": ()})
    write_report(empty, tmp_path / "report.json")
    assert gate(tmp_path) == 2
    assert "has no targets" in capsys.readouterr().err


def test_a_stored_verdict_is_not_believed(tmp_path: Path) -> None:
    claimed = jetson_target().model_copy(update={"accuracy": None})
    write_report(report(claimed), tmp_path / "report.json")
    assert gate(tmp_path) == 13
