"""Quantities that people write with a unit: ``8ms``, ``5MB``."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeVar

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from compress.errors import UsageError

Number = TypeVar("Number", int, float)

_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0}
_BYTES: Final = {
    "B": 1, "KB": 10**3, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_JOULES: Final = {"nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "μJ": 1e-6, "mJ": 1e-3, "J": 1.0}
_TOO_MUCH: Final = 10**18
_QUANTITY: Final = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-zµμ]+)\s*", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of a duration with its unit.

    >>> parse_duration("8ms")
    0.008

    Raises:
        UsageError: Not a positive number followed by ns, us, ms, s or min.
    """
    try:
        return _duration(text)
    except ValueError as error:
        raise UsageError(str(error), hint="write a number and its unit: 800us, 8ms, 1.5s") from None


def _duration(value: object) -> float:
    return _quantity(value, _SECONDS, "a duration")


def _size(value: object) -> int:
    return math.ceil(_quantity(value, _BYTES, "a size"))


def _energy(value: object) -> float:
    return _quantity(value, _JOULES, "an energy")


def _duration_field(value: object) -> float:
    return _in_pydantic(_duration, value)


def _size_field(value: object) -> int:
    return _in_pydantic(_size, value)


def _energy_field(value: object) -> float:
    return _in_pydantic(_energy, value)


def _in_pydantic(parse: Callable[[object], Number], value: object) -> Number:
    """Return what ``parse`` makes of a value; its error in the form that pydantic shows without a prefix."""
    try:
        return parse(value)
    except ValueError as error:
        raise PydanticCustomError("quantity", "{problem}", {"problem": str(error)}) from None


def _quantity(value: object, units: Mapping[str, float], what: str) -> float:
    """Return a quantity in its base unit: text needs a unit, a bare number (TOML) is in the base unit."""
    if isinstance(value, str):
        found = _QUANTITY.fullmatch(value)
        if found is None or found[2] not in units:
            raise ValueError(f"`{value}` is not {what}")
        # Divided where the unit is a fraction, so that 8ms is the float nearest to 0.008.
        unit = units[found[2]]
        amount = float(found[1]) * unit if unit >= 1 else float(found[1]) / round(1 / unit)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # TOML's integers have no end, floats do.
        amount = float(value) if abs(value) < _TOO_MUCH else math.inf
    else:
        raise ValueError(f"`{value}` is not {what}")
    if not 0 < amount < _TOO_MUCH:
        raise ValueError(f"`{value}` is not {what} that a policy can use")
    return amount


Duration = Annotated[float, BeforeValidator(_duration_field)]
"""Field of a person's file: seconds as a number, or text with a unit."""
Size = Annotated[int, BeforeValidator(_size_field)]
"""Field of a person's file: bytes as a number, or text with a unit (KB: thousands; KiB: 1024s)."""
Energy = Annotated[float, BeforeValidator(_energy_field)]
"""Field of a person's file: joules as a number, or text with a unit."""
