"""The size budget, and that no file names a machine."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for folder in ("compress", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
LINES_OF_A_MODULE = 300
LINES_OF_A_FUNCTION = 40


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_fits_the_budget(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_A_MODULE
    tree = ast.parse(text)
    long = {node.name: length(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert {function: lines for function, lines in long.items() if lines > LINES_OF_A_FUNCTION} == {}


def length(function: ast.FunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    first = function.body[0]
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    end = function.end_lineno or function.lineno
    return end - function.lineno + 1 - ((first.end_lineno or 0) - first.lineno + 1 if text else 0)


def test_the_pipeline_fits_on_one_screen() -> None:
    text = (ROOT / "compress" / "pipeline.py").read_text(encoding="utf-8")
    run = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "run")
    assert length(run) <= 30


def test_the_pipeline_names_no_target_no_runtime_and_no_operator() -> None:
    text = (ROOT / "compress" / "pipeline.py").read_text(encoding="utf-8")
    named = re.findall(r"jetson|rtx|onnxruntime|tensorrt|\bcpu\b|Conv|Gemm|MatMul", text)
    assert named == []


def test_no_text_file_has_a_path_of_somebodys_machine() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("git is not there, or this is not a checkout")
    pattern = re.compile(rb"(/home|/Users|/root|/work)/[a-z]")
    mine = Path(__file__).name
    found = [
        line
        for line in done.stdout.splitlines()
        if Path(line).name != mine and (ROOT / line).is_file() and pattern.search((ROOT / line).read_bytes())
    ]
    assert found == []
