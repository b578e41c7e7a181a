import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from page_reports import full_report
from small_reports import cpu_target, jetson_target, report, unbuilt_target

from compress.cli import main
from compress.report.json_file import write_report
from compress.report.measurements import RawMeasurements, write_measurements
from compress.report.record import Report

Output = pytest.CaptureFixture[str]


def gate(path: Path, *flags: str) -> int:
    return main(["gate", str(path), *flags])


def test_every_rule_is_printed_with_its_outcome(stored: Path, capsys: Output) -> None:
    assert gate(stored, "--max-size", "320KB") == 12
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "policy: the default (no recipe.lock.toml beside the report), with --max-size 320KB"
    assert lines[1:3] == ["", "cpu"]
    lines = lines[2:]
    assert lines[1].split() == ["rule", "limit", "measured", "interval", "outcome"]
    assert lines[2].split() == ["accuracy", "1.00", "points", "+0.30", "points", "+0.10", "to", "+0.50", "pass"]
    assert lines[3].split() == ["size", "320", "KB", "312", "KB", "pass"]
    assert lines[4].startswith("  accuracy: The drop of top1 is +0.30 points")
    assert lines[5:8] == ["  size: The engine has 312 KB, within the limit of 320 KB.", "", "jetson-orin-nano"]
    assert "  size: The engine has 330 KB, beyond the limit of 320 KB." in lines
    assert lines[-1] == "verdict: FAIL: size, memory or energy (exit code 12)"


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
    assert "  engine: There is no engine: TensorRT-RTX is not installed." in capsys.readouterr().out


def test_flags_win_over_the_policy_file(stored: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[gate]\nmax_drop = 0\nmax_size = "5MB"\n')
    assert gate(stored, "--policy", str(policy)) == 10
    assert gate(stored, "--policy", str(policy), "--max-drop", "1") == 0


def test_without_a_policy_it_judges_as_the_run_did_and_flags_replace_single_limits(
    stored: Path, tmp_path: Path, capsys: Output
) -> None:
    lock = tmp_path / "recipe.lock.toml"
    lock.write_text('seed = 0\n[gate]\nmax_drop = 0.1\nmax_size = 320000\nrequire = "simulated"\n')
    for path in (stored, stored.parent):
        assert gate(path) == 12
        assert capsys.readouterr().out.startswith("policy: that of the run (recipe.lock.toml)\n")
    assert gate(stored, "--max-size", "1MB") == 13  # the run's limit of the drop still holds
    assert capsys.readouterr().out.startswith("policy: that of the run (recipe.lock.toml), with --max-size 1MB\n")
    assert gate(stored, "--max-size", "1MB", "--max-drop", "1") == 0
    assert "with --max-drop 1, --max-size 1MB\n" in capsys.readouterr().out
    policy = tmp_path / "policy.toml"
    policy.write_text("[gate]\nmax_drop = 1\n")
    assert gate(stored, "--policy", str(policy)) == 0
    assert capsys.readouterr().out.startswith(f"policy: {policy}\n")


def test_json_says_whose_policy_it_was(stored: Path, tmp_path: Path, capsys: Output) -> None:
    assert gate(stored, "--json") == 0
    assert json.loads(capsys.readouterr().out)["policy"] == {"source": "default", "file": None, "flags": {}}
    lock = tmp_path / "recipe.lock.toml"
    lock.write_text("[gate]\nmax_drop = 1\n")
    assert gate(stored, "--json", "--max-drop", "2") == 0
    says = json.loads(capsys.readouterr().out)["policy"]
    assert says == {"source": "run", "file": str(lock), "flags": {"max_drop": "2"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [("[gate\n", "is not valid TOML"), ("seed = 0\n", "has no [gate] table"), ("[gate]\nmax_dorp = 1\n", "`max_dorp`")],
)
def test_a_damaged_lock_is_exit_2_and_no_default(
    stored: Path, tmp_path: Path, content: str, message: str, capsys: Output
) -> None:
    lock = tmp_path / "recipe.lock.toml"
    lock.write_text(content)
    assert gate(stored) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {lock}")
    assert message in captured.err
    assert "\nhint: " in captured.err


def test_json_has_every_rule_and_the_verdict(stored: Path, capsys: Output) -> None:
    assert gate(stored, "--json", "--max-latency", "8ms") == 13
    found = json.loads(capsys.readouterr().out)
    assert [target["target"] for target in found["targets"]] == ["cpu", "jetson-orin-nano"]
    assert [rule["status"] for rule in found["targets"][1]["rules"]] == ["pass", "unmeasured"]
    measured = found["targets"][0]["rules"][0]
    assert (measured["limit"], measured["measured"], measured["unit"]) == (0.01, 0.003, "points")
    assert measured["interval"] == [0.001, 0.005]
    assert found["verdict"]["exit_code"] == 13
    assert found["verdict"]["reasons"][0].startswith("jetson-orin-nano: A latency of at most 8.00 ms was asked for")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max-latency", "8"), "error: --max-latency 8: `8` is not a duration"),
        (("--policy", "absent.toml"), "error: absent.toml does not exist"),
        (
            ("--max-frop", "1"),
            "error: unknown flag `--max-frop`\nhint: did you mean `--max-drop`?",
        ),
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


@pytest.fixture
def sampled(tmp_path: Path) -> Path:
    """Return the folder of a report of one target with every sample's outcome beside it."""
    made, raw = full_report()
    outcomes = raw["cpu"]
    assert isinstance(outcomes, RawMeasurements)
    (tmp_path / "measurements").mkdir()
    file = write_measurements(outcomes, tmp_path / "measurements" / "cpu.npz", "measurements/cpu.npz")
    target = made.targets[0].model_copy(update={"measurements": file})
    write_report(made.model_copy(update={"targets": (target,)}), tmp_path / "report.json")
    return tmp_path


def test_rules_on_classes_slices_and_flips_use_the_outcomes_beside_the_report(sampled: Path, capsys: Output) -> None:
    flags = ("--max-class-drop", "99", "--max-slice-drop", "99", "--max-flip-rate", "99", "--confidence", "0.9")
    assert gate(sampled, *flags, "--json") == 13  # ten samples decide nothing
    rules = json.loads(capsys.readouterr().out)["targets"][0]["rules"]
    assert [rule["rule"] for rule in rules] == ["accuracy", "class-drop", "slice-drop", "flips"]
    assert [rule["status"] for rule in rules[1:]] == ["pass", "pass", "pass"]
    assert rules[3]["measured"] == 0.1
    assert "`camera = left`" in rules[2]["reason"]


def test_where_outcomes_were_never_stored_the_rule_is_unmeasured(stored: Path, capsys: Output) -> None:
    assert gate(stored, "--max-class-drop", "5") == 13
    assert "no outcome of every sample is stored" in capsys.readouterr().out


def test_what_a_policy_calls_undecided_is_the_exit_code(sampled: Path, tmp_path: Path) -> None:
    policy = tmp_path / "gate.toml"
    for says, code in (("undecided", 13), ("fail", 10), ("pass", 0)):
        policy.write_text(f'[gate]\nmax_drop = 50\nmax_class_drop = 10\ninconclusive = "{says}"\n')
        assert gate(sampled, "--policy", str(policy)) == code


def damage_measurements(folder: Path) -> str:
    path = folder / "measurements" / "cpu.npz"
    path.write_bytes(path.read_bytes()[:-10])
    return f"{path} is cut short"


def lose_measurements(folder: Path) -> str:
    path = folder / "measurements" / "cpu.npz"
    path.unlink()
    return f"cannot read the measurements {path}"


def truncate_report(folder: Path) -> str:
    path = folder / "report.json"
    path.write_text(path.read_text()[:500])
    return f"{path} is not JSON (line "


def age_report(folder: Path) -> str:
    path = folder / "report.json"
    path.write_text(path.read_text().replace("compress.report/1", "compress.report/9"))
    return f"{path} is not a report of schema compress.report/1: its `schema` is 'compress.report/9'"


@pytest.mark.parametrize("damage", [damage_measurements, lose_measurements, truncate_report, age_report])
def test_a_damaged_report_is_exit_2_with_the_place_and_what_to_do(
    sampled: Path, damage: Callable[[Path], str], capsys: Output
) -> None:
    place = damage(sampled)
    assert gate(sampled, "--max-class-drop", "5") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {place}")
    assert "\nhint: " in captured.err
    assert captured.out == ""


def test_a_report_whose_summary_is_enough_needs_no_file_beside_it(sampled: Path) -> None:
    lose_measurements(sampled)
    assert gate(sampled, "--max-drop", "1") == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_clas_drop = 1", "unknown key `max_clas_drop`"),
        ("max_drop_relative = 5000", "`max_drop_relative`: Input should be less than or equal to 100 (got 5000)"),
        ("max_drop = 5000", "`max_drop` is 5000 points, and the metric has 100 at most"),
    ],
)
def test_a_policy_that_makes_no_sense_is_exit_2_with_the_place(
    stored: Path, tmp_path: Path, line: str, message: str, capsys: Output
) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text(f"[gate]\n{line}\n")
    assert gate(stored, "--policy", str(policy)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {policy}: [gate]: {message}")
    assert "\nhint: " in error


def test_a_report_is_held_against_an_earlier_one(sampled: Path, capsys: Output) -> None:
    assert gate(sampled, "--max-drop", "1", "--baseline", str(sampled), "--json") == 13  # ten samples decide nothing
    rules = json.loads(capsys.readouterr().out)["targets"][0]["rules"]
    assert [rule["rule"] for rule in rules] == ["accuracy", "accuracy-regression", "latency-regression"]
    assert [rule["status"] for rule in rules] == ["pass", "inconclusive", "pass"]
    lenient = ("--max-accuracy-regression", "60", "--max-latency-regression", "10")
    assert gate(sampled, "--baseline", str(sampled), *lenient) == 0


def test_a_target_that_the_report_no_longer_has_is_told(tmp_path: Path, capsys: Output) -> None:
    for name, targets in (("old", (cpu_target(), jetson_target())), ("new", (cpu_target(),))):
        (tmp_path / name).mkdir()
        write_report(report(*targets), tmp_path / name / "report.json")
    assert gate(tmp_path / "new", "--baseline", str(tmp_path / "old")) == 13
    assert "accuracy-regression: The report has no such target" in capsys.readouterr().out


def test_another_machine_is_exit_2_unless_that_is_wanted(tmp_path: Path, capsys: Output) -> None:
    target = cpu_target()
    other = target.model_copy(update={"device": target.device.model_copy(update={"cpu": "Another CPU"})})
    for name, one in (("old", target), ("new", other)):
        (tmp_path / name).mkdir()
        write_report(report(one), tmp_path / name / "report.json")
    flags = ("--baseline", str(tmp_path / "old"), "--max-accuracy-regression", "2")
    assert gate(tmp_path / "new", *flags) == 2
    error = capsys.readouterr().err
    assert "the machines differ: cpu Imaginary CPU and Another CPU" in error
    assert "hint: measure both on one machine; --allow-other-machine" in error
    assert gate(tmp_path / "new", *flags, "--allow-other-machine") == 0


@pytest.mark.parametrize("flags", [("--allow-other-machine",), ("--max-latency-regression", "3")])
def test_flags_of_regression_need_a_baseline(stored: Path, flags: tuple[str, ...], capsys: Output) -> None:
    assert gate(stored, *flags) == 2
    assert f"{flags[0]} means nothing without --baseline" in capsys.readouterr().err


def test_a_gate_waits_for_no_library_that_it_does_not_need(sampled: Path) -> None:
    """A second is all that a pre-commit hook may take: what runs models or draws plots is not imported for it."""
    flags = ["--max-class-drop", "99", "--max-slice-drop", "99", "--max-flip-rate", "99"]
    code = (
        "import sys; from compress.cli import main; main(sys.argv[1:]);"
        "print(sorted({'torch', 'onnxruntime', 'onnx', 'onnx_ir', 'sympy', 'scipy', 'jinja2'} & set(sys.modules)))"
    )
    for more in ([], ["--baseline", str(sampled)]):
        words = [sys.executable, "-c", code, "gate", str(sampled), *flags, *more]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"
