"""Units for people: the only place where seconds, bytes and fractions are rounded and named."""

from typing import Final

_TIMES: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_ENERGIES: Final = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"))
_SIZES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB"))


def format_seconds(seconds: float) -> str:
    """Return seconds with three significant digits.

    >>> format_seconds(0.0012345)
    '1.23 ms'
    """
    return _scale(seconds, _TIMES)


def format_bytes(size: int) -> str:
    """Return bytes in decimal units, as disks and data sheets count.

    >>> format_bytes(612_345)
    '612 KB'
    """
    for unit, name in _SIZES:
        if size >= unit * 0.9995:
            return f"{_three_digits(size / unit)} {name}"
    return f"{size} B"


def format_joules(joules: float) -> str:
    """Return joules with three significant digits.

    >>> format_joules(0.0123)
    '12.3 mJ'
    """
    return _scale(joules, _ENERGIES)


def format_fraction(fraction: float) -> str:
    """Return a fraction in percent.

    >>> format_fraction(0.92314)
    '92.31 %'
    """
    return f"{100 * fraction:.2f} %"


def format_points(fraction: float) -> str:
    """Return a difference of fractions in percentage points, signed.

    >>> format_points(0.0031)
    '+0.31'
    """
    return _signed(100 * fraction, 2)


def format_value(value: float, *, signed: bool = False) -> str:
    """Return a number without a unit, with four significant digits.

    >>> format_value(0.123456)
    '0.1235'
    """
    text = f"{value:+.4g}" if signed else f"{value:.4g}"
    return "0" if float(text) == 0 else text


def format_ratio(ratio: float) -> str:
    """Return a ratio of latencies or sizes.

    >>> format_ratio(2.7182)
    '2.72×'
    """
    return f"{ratio:.2f}×"


def format_share(fraction: float) -> str:
    """Return a share in whole percent, for machine facts.

    >>> format_share(0.034)
    '3 %'
    """
    return f"{100 * fraction:.0f} %"


def _scale(amount: float, units: tuple[tuple[float, str], ...]) -> str:
    for unit, name in units:
        if abs(amount) >= unit * 0.9995:
            return f"{_three_digits(amount / unit)} {name}"
    base = units[0][1]
    return f"0 {base}" if amount == 0 else f"{amount:.3g} {base}"


def _three_digits(value: float) -> str:
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{decimals}f}"


def _signed(value: float, decimals: int) -> str:
    # A rounded zero has no sign.
    rounded = round(value, decimals)
    return f"{0:.{decimals}f}" if rounded == 0 else f"{rounded:+.{decimals}f}"
