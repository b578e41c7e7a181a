"""Small pictures of samples as addresses that carry their own data."""

import base64
import io
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_BYTES: Final = 1_000_000
"""Of all pictures of a page together, as text."""
_QUALITY: Final = 90


def embed_pictures(pictures: Mapping[int, NDArray[np.uint8]], places: list[int], budget: int) -> dict[int, str]:
    """Return the pictures of samples as ``data:`` addresses, in the order of the places until the budget is spent.

    Args:
        pictures: By sample.
        places: Samples in the order in which they are shown.
        budget: Bytes of text in all.
    """
    found: dict[int, str] = {}
    for place in places:
        if place not in pictures:
            continue
        text = _encode(pictures[place])
        if len(text) > budget:
            break
        budget -= len(text)
        found[place] = text
    return found


def _encode(picture: NDArray[np.uint8]) -> str:
    """Return a picture without loss, or as JPEG where that is smaller and the picture has colours."""
    image = Image.fromarray(picture)
    forms = {"png": _save(image, "PNG", optimize=True)}
    if picture.ndim == 3:
        forms["jpeg"] = _save(image, "JPEG", quality=_QUALITY)
    kind = min(forms, key=lambda name: len(forms[name]))
    return f"data:image/{kind};base64,{base64.b64encode(forms[kind]).decode()}"


def _save(image: Image.Image, form: str, *, optimize: bool = False, quality: int = 0) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, optimize=optimize, quality=quality)
    return buffer.getvalue()
