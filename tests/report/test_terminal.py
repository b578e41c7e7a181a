import io

from rich.console import Console
from small_reports import cpu_target, jetson_target, report, unbuilt_target

from compress.errors import ExitCode
from compress.report.record import Report, VerdictRecord
from compress.report.terminal import print_report


def printed(made: Report, *, terminal: bool = False, quiet: bool = False, width: int = 80) -> str:
    file = io.StringIO()
    print_report(made, Console(file=file, force_terminal=terminal, width=width, legacy_windows=False), quiet=quiet)
    return file.getvalue()


def test_a_pipe_gets_plain_text_with_one_line_a_row() -> None:
    text = printed(report(cpu_target(), jetson_target()))
    assert "\x1b" not in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "cpu onnxruntime, u8s8 PASS (exit code 0)"
    assert "original INT8 difference (95 % interval)" in lines
    assert "top1 (simulated) 92.31 % 92.01 % drop +0.30 points (+0.10 to +0.50)" in lines
    assert "top1 92.31 % 92.01 % drop +0.30 points (+0.10 to +0.50)" in lines
    assert "latency not measured (no device)" in lines
    assert "note: The ratio is known to 5.0% only." in lines
    assert lines[-2:] == ["verdict: PASS (exit code 0)", "All is well."]


def test_what_is_wrong_with_the_samples_is_said_first() -> None:
    made = report(cpu_target())
    made = made.model_copy(update={"data": made.data.model_copy(update={"notes": ("calibrated on 3 samples only",)})})
    assert printed(made).splitlines()[0] == "samples: calibrated on 3 samples only"
    assert "samples:" not in printed(made, quiet=True)


def test_a_terminal_gets_colours() -> None:
    failed = VerdictRecord(status="fail", exit_code=ExitCode(10), reasons=("Too much was lost.",))
    assert "\x1b[1;31mFAIL: accuracy (exit code 10)\x1b[0m" in printed(report(verdict=failed), terminal=True)


def test_long_reasons_stay_on_one_line_in_a_pipe() -> None:
    reason = "word " * 60 + "end."
    verdict = VerdictRecord(status="inconclusive", exit_code=ExitCode(13), reasons=(reason,))
    assert f"  {reason}\n" in printed(report(verdict=verdict))


def test_quiet_prints_the_verdict_only() -> None:
    assert printed(report(), quiet=True) == "verdict: PASS (exit code 0)\n  All is well.\n"


def test_a_target_without_an_engine_has_no_table() -> None:
    text = printed(report(unbuilt_target()))
    assert "original" not in text
    assert "FAIL: the target cannot be built or reached here (exit code 20)" in text


def test_text_from_outside_is_not_read_as_markup() -> None:
    target = cpu_target().model_copy(update={"target": "[bold red]x[/]"})
    verdict = VerdictRecord(status="pass", exit_code=ExitCode(0), reasons=("[link=http://x]y[/link]",))
    text = printed(report(target, verdict=verdict))
    assert "[bold red]x[/]" in text
    assert "[link=http://x]y[/link]" in text
