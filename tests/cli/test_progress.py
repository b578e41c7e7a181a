"""The bars on a terminal: names come from models and boards, and command nothing."""

import pytest

from compress.cli.progress import show_progress


def test_a_tasks_name_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with show_progress(enabled=True) as (_, tell):
        tell("[fe80::1]: [/red] \x1b]0;t\x07", 0, 1)
    shown = capfd.readouterr().err
    assert "[fe80::1]: [/red] \\x1b]0;t\\x07" in shown
    assert "\x1b]0;" not in shown
