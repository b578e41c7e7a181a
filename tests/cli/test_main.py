import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_project import Compress

from compress.cli import COMMANDS, main
from compress.recipe import RECIPES


def test_help_lists_every_command(compress: Compress) -> None:
    with pytest.raises(SystemExit) as stopped:
        compress("--help")
    assert stopped.value.code == 0


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_that_names_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"compress {command}" in capsys.readouterr().out


def test_the_help_of_run_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    help_text = capsys.readouterr().out.rpartition("--recipe NAME|FILE")[2].partition("--quantizer")[0]
    assert set(RECIPES) <= set(re.findall(r"[a-z0-9+-]+", " ".join(help_text.split())))


def test_an_unknown_command_is_named_with_the_nearest(compress: Compress) -> None:
    done = compress("rum")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[0] == "error: unknown command `rum`"
    assert "Did you mean `run`?" in done.err


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("run", "m.onnx", "--outt", "x"), "unknown flag `--outt`", "did you mean `--out`? see `compress run --help`"),
        (("gate", "r", "--max-frop=1"), "unknown flag `--max-frop`", "did you mean `--max-drop`? "),
        (("inspect", "m.onnx", "--zzz"), "unknown flag `--zzz`", "see `compress inspect --help`"),
        (("inspect", "m.onnx", "other.onnx"), "unknown argument `other.onnx`", "see `compress inspect --help`"),
    ],
)
def test_what_a_command_does_not_take_is_named_with_the_nearest_flag(
    compress: Compress, arguments: tuple[str, ...], error: str, hint: str
) -> None:
    done = compress(*arguments)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first == f"error: {error}"
    assert second.startswith(f"hint: {hint}")


def test_an_unknown_flag_before_the_command_is_an_error(compress: Compress) -> None:
    done = compress("--frobnicate")
    assert done.code == 2
    assert "--frobnicate" in done.err


def test_our_own_bug_is_exit_1_with_a_traceback_and_a_request(
    compress: Compress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("compress.cli.doctor.run", broken)
    done = compress("doctor")
    assert done.code == 1
    assert "ZeroDivisionError: a bug" in done.err
    assert "please report it" in done.err


def test_python_dash_m_compress_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "compress", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("edge-compress ")
    bare = subprocess.run([sys.executable, "-m", "compress"], capture_output=True, text=True, check=False)
    assert "usage: compress" in bare.stdout


def test_output_into_a_closed_pipe_is_not_an_error() -> None:
    command = f"{sys.executable} -m compress targets | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1


def test_importing_and_asking_for_help_loads_no_heavy_library() -> None:
    code = (
        "import sys, compress, compress.cli\n"
        "try: compress.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'onnx_ir', 'numpy', 'scipy', 'pydantic', 'rich', 'tensorrt'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


@pytest.mark.parametrize(
    "module", ["pipeline", "options", "recipe", "gate", "targets", "runtimes", "cli.run", "report.record"]
)
def test_modules_import_without_torch_and_runtimes(module: str) -> None:
    code = f"import sys, compress.{module}; print(sorted({{'torch', 'onnxruntime', 'scipy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_wrong_sub_command_leaves_the_folder_as_it_was(compress: Compress, project: Path) -> None:
    before = sorted(project.iterdir())
    assert compress("run").code == 2
    assert sorted(project.iterdir()) == before
