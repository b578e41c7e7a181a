import importlib.metadata
import stat
from pathlib import Path

import pytest

from compress.devices import prepare
from compress.devices.qemu import arm64_folder
from compress.errors import TargetError

APT_GET = """#!/bin/sh
grep -q 'APT::Architecture "arm64"' "$APT_CONFIG" || exit 9
[ "$1" = download ] || exit 0
shift
for name in "$@"; do touch "$name.deb"; done
"""
APT_CACHE = "#!/bin/sh\nprintf 'libpython3.9-minimal\\nlibpython3.11-minimal\\nlibpython3.11-dev\\n'\n"
DPKG = '#!/bin/sh\nmkdir -p "$3/usr/bin"\ntouch "$3/usr/bin/$(basename "$2" .deb)"\n'


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a folder with programs that behave like Debian's, found before the real ones, and a fresh cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("apt-get", APT_GET), ("apt-cache", APT_CACHE), ("dpkg", DPKG)):
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))

    def wheels(version: str, site: Path) -> list[str]:
        return ["mkdir", "-p", str(site / "onnxruntime" / version)]

    monkeypatch.setattr(prepare, "wheel_command", wheels)
    return folder


def test_the_folder_is_whole_and_nothing_else_is_left(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main() == 0
    folder = arm64_folder()
    unpacked = {path.name for path in (folder / "usr" / "bin").iterdir()}
    assert {"python3.11-minimal", "libpython3.11-stdlib", "libc6", "libstdc++6"} <= unpacked
    assert (folder / "site" / "onnxruntime" / "3.11").is_dir()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert str(folder) in capsys.readouterr().out


def test_a_download_that_fails_leaves_what_was_there(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.main()
    (programs / "apt-get").write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
    assert prepare.main() == 20
    assert "`apt-get update` failed: E: no network" in capsys.readouterr().err
    assert (arm64_folder() / "usr" / "bin" / "libc6").exists()


def test_a_command_that_says_nothing_is_told_by_its_code(programs: Path, tmp_path: Path) -> None:
    (programs / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    with pytest.raises(TargetError, match="exit code 100"):
        prepare.prepare(tmp_path / "x")


def test_lists_without_python_are_told(programs: Path, tmp_path: Path) -> None:
    (programs / "apt-cache").write_text("#!/bin/sh\n")
    with pytest.raises(TargetError, match="package lists for Arm64 have no Python"):
        prepare.prepare(tmp_path / "x")


def test_without_debian_the_error_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match="there is no apt-get, apt-cache, dpkg here"):
        prepare.prepare(tmp_path / "x")


def test_the_wheels_are_those_of_this_numpy_and_of_the_runtime_that_starts_there(tmp_path: Path) -> None:
    command = prepare.wheel_command("3.11", tmp_path)
    assert command[-2:] == [f"numpy=={importlib.metadata.version('numpy')}", "onnxruntime==1.27.0"]
    assert command[command.index("--python-version") + 1] == "3.11"
    assert "manylinux_2_28_aarch64" in command
