import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from pydantic import TypeAdapter, ValidationError

from compress.errors import UsageError
from compress.quantities import Size, parse_duration

SIZE = TypeAdapter[int](Size)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8ms", 0.008),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("500ns", 5e-7),
        ("1.5s", 1.5),
        (" 2 min ", 120.0),
        ("30m", 1800.0),
        (".5s", 0.5),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5MB", 5_000_000),
        ("1KB", 1000),
        ("1kB", 1000),
        ("2GB", 2 * 10**9),
        ("4MiB", 4 * 2**20),
        ("1.5KiB", 1536),
        ("7B", 7),
    ],
)
def test_sizes_are_bytes_in_thousands_or_in_1024s(text: str, size: int) -> None:
    assert SIZE.validate_python(text) == size


@pytest.mark.parametrize(
    "text", ["8", "ms", "", "-8ms", "8 parsecs", "1e3ms", "8ms8ms", "nan s", "inf s", "8MS", "٨ms"]
)
def test_durations_without_sense_are_refused_with_the_form_they_should_have(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration") as caught:
        parse_duration(text)
    assert f"`{text}`" in caught.value.message
    assert caught.value.hint == "write a number and its unit: 800us, 8ms, 1.5s"


@pytest.mark.parametrize("text", ["5", "5mb", "-1KB", "5 MB/s", "big"])
def test_sizes_without_sense_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=f"`{text}` is not a size"):
        SIZE.validate_python(text)


@pytest.mark.parametrize("text", ["0ms", "0.000s", "9" * 30 + "s"])
def test_durations_of_nothing_or_of_ages_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="that a policy can use"):
        parse_duration(text)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 10**6))
def test_a_unit_is_a_thousand_of_the_next_smaller_one(number: int) -> None:
    assert parse_duration(f"{number}ms") == pytest.approx(parse_duration(f"{number * 1000}us"))
    assert SIZE.validate_python(f"{number}MB") == SIZE.validate_python(f"{number * 1000}KB")
