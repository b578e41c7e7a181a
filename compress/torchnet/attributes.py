"""Attributes of a node that must all be understood."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_MISSING = object()


class Attributes:
    """Reads attributes and remembers which; :meth:`unread` names those that nobody asked for."""

    def __init__(self, attributes: Mapping[str, ir.Attr]) -> None:
        self._attributes = dict(attributes)
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._attributes

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer; KeyError where it is absent and there is no default."""
        return cast("int", self._get(name, _MISSING if default is None else default))

    def number(self, name: str, default: float | None = None) -> float:
        """Return a float."""
        return cast("float", self._get(name, _MISSING if default is None else default))

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string."""
        return cast("str", self._get(name, _MISSING if default is None else default))

    def integers(self, name: str) -> tuple[int, ...] | None:
        """Return integers, or None where the attribute is absent."""
        value = self._get(name, None)
        return None if value is None else tuple(cast("tuple[int, ...]", value))

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """Return floats, or None where the attribute is absent."""
        value = self._get(name, None)
        return None if value is None else tuple(cast("tuple[float, ...]", value))

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return strings, or None where the attribute is absent."""
        value = self._get(name, None)
        return None if value is None else tuple(cast("tuple[str, ...]", value))

    def optional_integer(self, name: str) -> int | None:
        """Return an integer, or None where the attribute is absent."""
        return cast("int | None", self._get(name, None))

    def optional_number(self, name: str) -> float | None:
        """Return a float, or None where the attribute is absent."""
        return cast("float | None", self._get(name, None))

    def tensor(self, name: str) -> NDArray[np.generic] | None:
        """Return a tensor, or None where the attribute is absent."""
        value = self._get(name, None)
        return None if value is None else cast("ir.TensorProtocol", value).numpy()

    def skip(self, *names: str) -> None:
        """Count attributes as read that make no difference to what is computed."""
        self._read.update(names)

    def unread(self) -> list[str]:
        """Return the names that nobody asked for."""
        graphs = {name for name, attr in self._attributes.items() if attr.type == ir.AttributeType.GRAPH}
        return sorted(set(self._attributes) - self._read - graphs)

    def _get(self, name: str, default: object) -> object:
        self._read.add(name)
        if name in self._attributes:
            return self._attributes[name].value
        if default is _MISSING:
            raise KeyError(name)
        return default
