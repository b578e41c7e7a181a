"""The contest for the fastest engine in words: a sentence, and rows for a table."""

from collections.abc import Sequence

from compress.report.speed_record import Contest, Contestant
from compress.report.units import format_ratio, format_seconds

CONTEST_HEAD = ("engine", "median", "times the winner's (95 % interval)", "outputs", "outcome")
"""Heads of the columns that :func:`contest_rows` fills."""


def state_finding(engines: Sequence[Contestant], settings: Sequence[Contestant]) -> str:
    """Return in a sentence what is shipped and why."""
    winner = next((each for each in engines if each.outcome == "won"), None)
    if winner is None:
        return "No engine could run in the contest: the compressed graph is shipped with default settings."
    others = [each for each in engines if each is not winner and each.ratio is not None]
    sentence = f"{_upper(winner.how)} was the only engine that could race"
    if others:
        nearest = min(others, key=lambda each: each.ratio or 0.0)
        sentence = f"{_upper(winner.how)} is the fastest of {len(others) + 1} engines: {_compare(nearest)}"
    if winner.graph == "original":
        sentence += ". The original graph is shipped: compressing it makes nothing faster on this machine"
    tuned = next((each for each in settings if each.outcome == "won" and each is not settings[0]), None)
    if tuned is not None:
        gain = f", {format_ratio(settings[0].ratio)} as fast" if settings[0].ratio else ""
        sentence += f". It runs with changed settings ({tuned.how}{gain})"
    return f"{sentence}."


def contest_rows(contest: Contest) -> list[tuple[str, str, str, str, str]]:
    """Return a row for every engine, the settings after the engines, in the order in which they were tried."""
    tuned = contest.settings[1:]
    return [_row(each) for each in (*contest.engines, *tuned)]


def _row(each: Contestant) -> tuple[str, str, str, str, str]:
    ratio = ""
    if each.ratio is not None and each.interval is not None and each.outcome != "won":
        low, high = (format_ratio(end) for end in each.interval)
        ratio = f"{format_ratio(each.ratio)} ({low} to {high})"
    outcome = each.outcome if each.reason is None else f"{each.outcome}: {each.reason}"
    return (
        each.how,
        "" if each.seconds is None else format_seconds(each.seconds),
        ratio,
        "" if each.sqnr_db is None else f"{each.sqnr_db:.1f} dB",
        outcome,
    )


def _compare(other: Contestant) -> str:
    low, high = (format_ratio(end) for end in other.interval or (1.0, 1.0))
    took = f"{other.how} took {format_ratio(other.ratio or 1.0)} its time (95 % interval {low} to {high})"
    return f"{took}, which the race was too short to be sure of" if other.outcome == "undecided" else took


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
