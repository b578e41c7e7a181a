import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from compress.report.units import (
    format_bytes,
    format_fraction,
    format_points,
    format_ratio,
    format_seconds,
    format_share,
    format_value,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00123, "1.23 ms"),
        (0.0123, "12.3 ms"),
        (0.123, "123 ms"),
        (0.9999, "1.00 s"),
        (0.999, "999 ms"),
        (61.0, "61.0 s"),
        (12.3e-6, "12.3 µs"),
        (9.9949e-6, "9.99 µs"),
        (9.996e-6, "10.0 µs"),
        (5e-9, "5.00 ns"),
        (0.0, "0 s"),
        (1e-12, "1e-12 s"),
    ],
)
def test_seconds_have_three_digits_and_the_unit_that_fits(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 KB"), (612_345, "612 KB"), (999_999, "1.00 MB"), (5 * 10**12, "5.00 TB")],
)
def test_bytes_count_in_thousands(size: int, text: str) -> None:
    assert format_bytes(size) == text


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.floats(1e-9, 1e5))
def test_a_printed_time_is_within_half_a_percent_of_the_true_one(seconds: float) -> None:
    number, unit = format_seconds(seconds).split()
    factor = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    assert float(number) * factor == pytest.approx(seconds, rel=5.1e-3)


@pytest.mark.parametrize(("fraction", "text"), [(0.0031, "+0.31"), (-0.0031, "-0.31"), (0.0, "0.00"), (-1e-9, "0.00")])
def test_points_are_signed_unless_they_round_to_zero(fraction: float, text: str) -> None:
    assert format_points(fraction) == text


def test_fractions_ratios_shares_and_plain_values() -> None:
    assert format_fraction(0.92314) == "92.31 %"
    assert format_ratio(2.7182) == "2.72×"
    assert format_share(0.034) == "3 %"
    assert (format_value(0.123456), format_value(0.5, signed=True), format_value(-0.0, signed=True)) == (
        "0.1235",
        "+0.5",
        "0",
    )
