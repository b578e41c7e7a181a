"""The GitHub Action and the GitLab snippet: valid, and their scripts do what they say, run here on a real model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from action_runner import ROOT, ActionRun, Runner, read_yaml
from published_schemas import read_junit, read_sarif
from small_reports import report

from compress.report.json_file import write_report

ACTION = ROOT / "action.yml"
GITLAB = ROOT / "docs" / "ci" / "gitlab.yml"
QUICK = "--recipe int8 --latency-seconds 0.1 --quiet"
PULL_REQUEST = {
    "event.pull_request.number": "7",
    "repository": "owner/nets",
    "action_path": str(ROOT),
}


@pytest.fixture
def runner(project: Path, tmp_path: Path) -> Runner:
    """Return a runner that stands in the folder of the small project."""
    return Runner(tmp_path / "stubs", PULL_REQUEST)


def run(runner: Runner, **inputs: str) -> ActionRun:
    given = {
        "model": "model.onnx",
        "targets": "reference/board.toml",
        "args": f"--max-drop 5 {QUICK}",
        "comment": "true",
    }
    return runner.run({**given, **{name.replace("_", "-"): value for name, value in inputs.items()}})


@pytest.mark.parametrize(
    ("schema", "path"), [("vendor.github-actions", ACTION), ("vendor.gitlab-ci", GITLAB)], ids=["github", "gitlab"]
)
def test_the_files_are_what_github_and_gitlab_take(schema: str, path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    if schema == "vendor.gitlab-ci":
        command[-1:] = ["--data-transform", "gitlab-ci", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_script_parses_and_no_input_is_pasted_into_one() -> None:
    steps = [step for step in read_yaml(ACTION)["runs"]["steps"] if "run" in step]
    assert len(steps) == 6
    for step in steps:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
        done = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_pass_is_shown_commented_uploaded_and_passed(runner: Runner, project: Path) -> None:
    done = run(runner, extras="openvino")
    assert done.code == 0, done.log
    assert done.outputs["gate"]["exit-code"] == "0"
    assert done.summary.startswith("## PASS: model.onnx\n")
    read_junit((project / done.outputs["forms"]["junit"]).read_text(encoding="utf-8"))
    read_sarif((project / done.outputs["forms"]["sarif"]).read_text(encoding="utf-8"))
    assert done.used[-1][1] == {"name": "compressed", "path": "compressed\ncompressed-ci\n"}
    assert (project / "compressed" / "report.html").exists()
    install, listed, posted = runner.calls
    assert install.endswith(f"--constraint {ROOT}/constraints.txt {ROOT}[openvino]")
    assert 'repos/owner/nets/issues/7/comments --jq .[] | select(.body | startswith("<!-- edge-compress' in listed
    assert "--method POST repos/owner/nets/issues/7/comments" in posted
    body = (runner.stubs / "body").read_text(encoding="utf-8").splitlines()
    assert (body[0], body[2]) == ("<!-- edge-compress model.onnx -->", "### PASS: model.onnx")


def test_a_drop_beyond_the_budget_is_exit_10_and_replaces_the_comment(runner: Runner) -> None:
    (runner.stubs / "ids").write_text("41\n42\n")
    done = run(runner, model="lossy.onnx", args=f"--max-drop 1 {QUICK}")
    assert done.code == 10, done.log
    assert done.summary.startswith("## FAIL: accuracy: lossy.onnx\n")
    assert len(runner.calls) == 3
    assert "--method PATCH repos/owner/nets/issues/comments/41" in runner.calls[-1]
    assert [name for name, _ in done.used] == ["actions/setup-python@v5", "actions/upload-artifact@v4"]


def test_what_nobody_measured_is_exit_13(runner: Runner, project: Path) -> None:
    (project / "compress.toml").write_text('[data]\ncalibration = "calibration.toml"\n')
    (runner.stubs / "forbidden").touch()
    done = run(runner, python_version="")
    assert done.code == 13, done.log
    assert done.summary.startswith("## NOT MEASURED: model.onnx\n")
    assert "::warning title=edge-compress::the verdict could not be written" in done.log
    assert [name for name, _ in done.used] == ["actions/upload-artifact@v4"]


def test_the_policy_judges_and_a_bad_one_is_exit_2(runner: Runner, project: Path) -> None:
    (project / "compressed").mkdir()
    write_report(report(), project / "compressed" / "report.json")
    outcome = ActionRun(outputs={"run": {"report": "compressed/report.json", "exit-code": "0"}})
    steps = {step.get("id"): step for step in read_yaml(ACTION)["runs"]["steps"]}
    policy = project / "gate.toml"
    for text, code, title in (
        ("max_size = 1", "12", "## FAIL: size, memory or energy: model.pt"),
        ("max_frop = 1", "2", "**compress ended with exit code 2 and without a verdict:**"),
    ):
        policy.write_text(f"[gate]\n{text}\n")
        (runner.stubs / "summary").unlink(missing_ok=True)
        for name in ("gate", "forms"):
            inputs = {"policy": "gate.toml", "model": "model.onnx", "out": "compressed"}
            runner.step(steps[name], inputs, outcome)
            assert outcome.code == 0, outcome.log
        assert outcome.outputs["gate"]["exit-code"] == code
        assert outcome.summary.startswith(title)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [({"model": "absent.onnx"}, "absent.onnx does not exist"), ({"args": "--data 'a"}, "args: a quote is not closed")],
)
def test_bad_input_is_exit_2_and_an_older_report_is_not_taken_for_its_own(
    runner: Runner, project: Path, inputs: dict[str, str], message: str
) -> None:
    (project / "compressed").mkdir()
    (project / "compressed" / "report.json").write_text("{}")
    done = run(runner, **inputs)
    assert done.code == 2
    assert message in done.log
    assert [name for name, _ in done.used] == ["actions/setup-python@v5"]
    assert not any(call.startswith("gh") for call in runner.calls)


def test_flags_with_spaces_and_patterns_reach_the_program_whole(runner: Runner, project: Path) -> None:
    (project / "board.toml").write_text("not = 'this one'\n")
    done = run(runner, targets="b*ard.toml", args=QUICK)
    assert (done.code, "b*ard.toml does not exist" in done.log) == (2, True), done.log
    done = run(runner, args=f"{QUICK} --metric 'python:no such:module'")
    assert (done.code, "`python:no such:module` is not of the form" in done.log) == (2, True), done.log


CURL = """#!/bin/bash
echo "curl $*" >> "$STUBS/calls"
case "$*" in
  *per_page*) cat "$STUBS/notes" ;;
esac
"""


def test_the_gitlab_script_tells_the_merge_request_and_passes_the_code_on(runner: Runner, project: Path) -> None:
    (runner.stubs / "curl").write_text(CURL)
    (runner.stubs / "curl").chmod(0o755)
    mine = {"id": 41, "body": "<!-- edge-compress lossy.onnx -->\n\n### old"}
    (runner.stubs / "notes").write_text(json.dumps([{"id": 1, "body": "hello"}, mine]))
    job = read_yaml(GITLAB)["compress"]
    url = {"CI_API_V4_URL": "https://gitlab.example/api/v4", "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "5"}
    chosen = {"MODEL": "lossy.onnx", "TARGETS": "reference/board.toml", "FLAGS": QUICK, "COMPRESS_TOKEN": "secret"}
    done = runner.shell("\n".join(job["script"]), {**job["variables"], **chosen, **url})
    assert done.returncode == 10, done.stdout + done.stderr
    for path in (*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]):
        assert (project / path).exists()
    assert runner.calls[0] == "pip install --quiet edge-compress[rtx]"
    assert runner.calls[-1].endswith("--request PUT https://gitlab.example/api/v4/projects/3/merge_requests/5/notes/41")
