"""What goes to a board: old Python, the standard library, one archive with the sources as they are."""

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import compress.board
from compress.board import __main__ as commands
from compress.runtimes.kit.archive import NAME, pack_board

SOURCES = sorted(Path(compress.board.__file__).parent.glob("*.py"))


def test_the_archive_holds_the_sources_as_they_are() -> None:
    with zipfile.ZipFile(io.BytesIO(pack_board())) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert set(packed) == {"__main__.py", *(f"board/{path.name}" for path in SOURCES)}
    for path in SOURCES:
        assert packed[f"board/{path.name}"] == path.read_bytes()


def test_the_archive_runs_without_the_project(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(pack_board())
    # -I: no site packages of the user, no PYTHONPATH, not the working folder.
    command = [sys.executable, "-I", "-S", str(tmp_path / NAME), "facts"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"python"' in done.stdout


def test_a_wrong_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["no-such"]) == 2
    assert commands.main([]) == 2
    assert "usage: board.pyz kit [--lock-clocks]" in capsys.readouterr().err


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_module_is_python_38_and_needs_the_standard_library_only(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    assert imported_names(tree) - {"tensorrt", "onnxruntime", "numpy", "board"} <= sys.stdlib_module_names
    # Annotations are never evaluated; anywhere else `list[int]` and `a | b` of types fail in Python 3.8.
    assert "from __future__ import annotations" in source or path.name == "__init__.py"
    evaluated = without_annotations(tree)
    subscripted = {ast.unparse(n.value) for n in ast.walk(evaluated) if isinstance(n, ast.Subscript)}
    assert subscripted.isdisjoint({"list", "dict", "tuple", "set", "Callable", "subprocess.Popen"})


def imported_names(tree: ast.Module) -> set[str]:
    """Return the packages that a module imports, its own neighbours apart."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def without_annotations(tree: ast.Module) -> ast.Module:
    """Return a module without what is not evaluated when it runs: annotations, and what only type checkers read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = None if isinstance(node, ast.arg) else ast.Constant(None)
        if isinstance(node, ast.FunctionDef):
            node.returns = None
    tree.body = [n for n in tree.body if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")]
    return tree
