"""How much to take away, as people write it: ``50%macs``."""

import re
from dataclasses import dataclass
from typing import Final, Literal, cast

from compress.errors import UsageError

Quantity = Literal["macs", "params", "bytes", "latency"]
"""What is counted: multiply-accumulates, weight elements, weight bytes, or seconds on the target's own runtime."""

WORDS: Final[dict[Quantity, str]] = {
    "macs": "MACs", "params": "parameters", "bytes": "weight bytes", "latency": "latency",
}  # fmt: skip

_FORM: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*([a-zA-Z]+)\s*", re.ASCII)
_HINT: Final = "write the share to remove and of what: 50%macs, 40%params, 50%bytes or 30%latency"


@dataclass(frozen=True, slots=True)
class Amount:
    """A share of a quantity, above 0 and below 1, that pruning is to remove."""

    share: float
    quantity: Quantity

    def __str__(self) -> str:
        return f"{100 * self.share:.12g}%{self.quantity}"


def parse_amount(text: str) -> Amount:
    """Return the amount that a text says.

    >>> parse_amount("50%macs")
    Amount(share=0.5, quantity='macs')

    Raises:
        UsageError: Not a share above 0 % and below 100 % of something known.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageError(f"`{text}` is not an amount to prune", hint=_HINT)
    percent, word = float(found[1]), found[2].lower()
    if word not in WORDS:
        raise UsageError(f"`{text}`: nothing called `{found[2]}` can be pruned to", hint=_HINT)
    if not 0 < percent < 100:
        raise UsageError(
            f"`{text}`: {found[1]} % cannot be removed; the share must be above 0 % and below 100 %", hint=_HINT
        )
    return Amount(percent / 100, cast("Quantity", word))
