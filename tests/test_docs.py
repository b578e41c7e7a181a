"""The pages say what is true: commands parse, tables of settings load, links resolve, the workflow is valid."""

import argparse
import importlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from compress.cli import COMMANDS
from compress.cli.report import FORMATS
from compress.errors import ExitCode
from compress.project import load_project
from compress.recipe import load_recipe
from compress.report.json_file import read_report
from compress.report.terminal import print_report

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Return every command line of this program in the pages, with the page's name."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in (*blocks(page, "console"), *blocks(page, "sh")) for line in block.splitlines()]
        lines += re.findall(r"`((?:[\w./]*compress|python -m compress) [^`]*)`", text)
        for line in lines:
            part = line.split("&&")[-1].strip().removeprefix("$ ")
            if re.match(r"(\S*/)?compress \w|python -m compress \w", part) and part.split()[0] != "pip":
                found.append((page.name, part))
    return found


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_in_a_page_is_one_that_the_program_takes(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[3:] if words[0] == "python" else words[1:]
    if words[0] not in COMMANDS:
        pytest.fail(f"{page} names a command that does not exist: {line}")
    if len(words) == 1:
        return
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(COMMANDS[words[0]][0]).add_parser(parser.add_subparsers())
    assert parser.parse_args(words) is not None


def test_the_report_in_the_guide_is_the_reference_reports() -> None:
    printed = io.StringIO()
    print_report(read_report(ROOT / "reports" / "reference" / "fashion"), Console(file=printed, width=200))
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    shown = guide.split("## Read the report\n\n```\n")[1].split("```")[0]
    assert shown.splitlines() == lines[: len(shown.splitlines())]


def test_every_form_of_a_report_is_in_the_guide() -> None:
    table = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8").split("| `--format` | what it is |")[1]
    told = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.split("\n\n")[0].splitlines()[2:]))
    assert sorted(told) == sorted(FORMATS)


def test_the_pages_do_have_commands() -> None:
    assert len(commands()) >= 10


def test_the_readme_has_exactly_two_commands_to_type() -> None:
    typed = [line for block in blocks(ROOT / "README.md", "console") for line in block.splitlines()]
    assert [line for line in typed if line.startswith("make ")] == ["make demo", "make test"]
    for target in ("demo", "test", "test-slow", "check", "schema", "system-deps"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_tables_of_settings_in_the_guide_load(tmp_path: Path) -> None:
    tables = [tomllib.loads(block) for block in blocks(ROOT / "docs" / "guide.md", "toml")]
    texts = blocks(ROOT / "docs" / "guide.md", "toml")
    kinds = set()
    for text, table in zip(texts, tables, strict=True):
        if "steps" in table or "attempts" in table:
            (tmp_path / "recipe.toml").write_text(text)
            load_recipe(str(tmp_path / "recipe.toml"))
            kinds.add("recipe")
        elif "source" in table:
            (tmp_path / "compress.toml").write_text("[data.calibration]\n" + text)
            load_project(tmp_path / "model.pt")
            kinds.add("samples")
        else:
            (tmp_path / "compress.toml").write_text(text)
            load_project(tmp_path / "model.pt")
            kinds.add("project")
    assert kinds == {"recipe", "samples", "project"}


def test_the_exit_codes_of_the_readme_are_those_of_the_program() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE)
    listed = {int(code) for row in rows for code in row.split(",")}
    assert listed == {int(code) for code in ExitCode}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in targets if link and not (page.parent / link).exists()] == []


def test_the_github_workflow_is_valid() -> None:
    workflow = ROOT / "docs" / "ci" / "github-actions.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    step = re.search(r"python -m compress (run .*)", workflow.read_text(encoding="utf-8"))
    assert step
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(COMMANDS["run"][0]).add_parser(parser.add_subparsers())
    assert parser.parse_args(step[1].split()).target == ["cpu", "jetson"]
