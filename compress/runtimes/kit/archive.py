"""``board.pyz``: the package that runs on boards, as one file that Python starts."""

import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Final

import compress.board

NAME: Final = "board.pyz"

_MAIN = "import sys\n\nfrom board.__main__ import main\n\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@cache
def pack_board() -> bytes:
    """Return the archive's bytes: the sources as they are, equal sources give equal bytes."""
    folder = Path(compress.board.__file__).parent
    contents = {f"board/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"__main__.py": _MAIN.encode(), **contents}.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
