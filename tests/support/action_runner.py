"""Runs the shell steps of a composite action here, as GitHub's runner would: expressions, outputs, conditions.

It knows as much of the expression language as `action.yml` uses: paths, comparisons with a text, and `&&`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]

PYTHON = """#!/bin/bash
if [ "$1 $2" = "-m pip" ]; then echo "pip ${@:3}" >> "$STUBS/calls"; exit 0; fi
exec "$REAL_PYTHON" "$@"
"""
GH = """#!/bin/bash
echo "gh $*" >> "$STUBS/calls"
if [ -e "$STUBS/forbidden" ]; then exit 1; fi
for word in "$@"; do
  case "$word" in
    body=@*) cp "${word#body=@}" "$STUBS/body" ;;
    --paginate) cat "$STUBS/ids" ;;
  esac
done
"""


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


@dataclass
class ActionRun:
    """What a run of the action left: its exit code, outputs by step, the summary, what `uses` steps were given."""

    code: int = 0
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    summary: str = ""
    log: str = ""
    used: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@dataclass
class Runner:
    """A folder to run the action in, with commands in the place of `pip` and `gh`."""

    stubs: Path
    github: Mapping[str, str]

    def __post_init__(self) -> None:
        self.stubs.mkdir()
        for name, text in (("python", PYTHON), ("gh", GH)):
            (self.stubs / name).write_text(text)
            (self.stubs / name).chmod(0o755)
        (self.stubs / "ids").touch()

    @property
    def calls(self) -> list[str]:
        """What was called in the place of `pip` and `gh`."""
        path = self.stubs / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, inputs: Mapping[str, str]) -> ActionRun:
        """Run the steps until one fails."""
        action, done = read_yaml(ROOT / "action.yml"), ActionRun()
        defaults = {name: str(one.get("default", "")) for name, one in action["inputs"].items()}
        unknown = set(inputs) - set(defaults)
        assert not unknown, unknown
        given = {name: self._fill(text, {}, done) for name, text in defaults.items()} | dict(inputs)
        for step in action["runs"]["steps"]:
            if done.code == 0 and self._holds(step.get("if", ""), given, done):
                self.step(step, given, done)
        return done

    def step(self, step: Mapping[str, Any], given: Mapping[str, str], done: ActionRun) -> None:
        """Run one step, whatever its condition says."""
        if "uses" in step:
            values = {name: self._fill(text, given, done) for name, text in step["with"].items()}
            done.used.append((step["uses"], values))
            return
        output, summary = self.stubs / "output", self.stubs / "summary"
        output.write_text("")
        env = {name: self._fill(text, given, done) for name, text in step.get("env", {}).items()}
        ran = self.shell(step["run"], {**env, "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)})
        done.code, done.log = ran.returncode, done.log + ran.stdout + ran.stderr
        done.outputs[step.get("id", "")] = dict(line.split("=", 1) for line in output.read_text().splitlines())
        done.summary = summary.read_text(encoding="utf-8") if summary.exists() else ""

    def shell(self, text: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a script as a runner's shell would, with the commands in the place of `pip` and `gh` first."""
        script = self.stubs / "script.sh"
        script.write_text(text)
        own = {"PATH": f"{self.stubs}:{os.environ['PATH']}", "STUBS": str(self.stubs), "REAL_PYTHON": sys.executable}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        return subprocess.run(command, env={**os.environ, **env, **own}, capture_output=True, text=True, check=False)

    def _fill(self, text: str, given: Mapping[str, str], done: ActionRun) -> str:
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: self._look_up(found[1], given, done), str(text))

    def _look_up(self, path: str, given: Mapping[str, str], done: ActionRun) -> str:
        kind, _, rest = path.partition(".")
        if kind == "inputs":
            return given[rest]
        if kind == "github":
            return self.github.get(rest, "")
        found = re.fullmatch(r"steps\.(\w+)\.outputs\.([\w-]+)", path)
        assert found, path
        return done.outputs.get(found[1], {}).get(found[2], "")

    def _holds(self, condition: str, given: Mapping[str, str], done: ActionRun) -> bool:
        for term in condition.split(" && ") if condition else ():
            found = re.fullmatch(r"([\w.-]+)(?: (==|!=) '(.*)')?", term)
            assert found, term
            value = self._look_up(found[1], given, done)
            if not (bool(value) if found[2] is None else (value == found[3]) == (found[2] == "==")):
                return False
        return True
