"""What users install: the exact list of files, and that the data folders are found in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from compress.targets import load_targets

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def tracked(*folders: str) -> list[str]:
    """Return the files that git knows, or all files where this is no checkout of git."""
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return done.stdout.split("\n")[:-1]
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return [path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts]


def test_the_wheel_has_the_package_the_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    data = {f"compress/_data/{path}" for path in tracked("targets", "calibration", "reports")}
    assert names == set(tracked("compress")) | data


def test_the_distribution_is_edge_compress_with_both_scripts_and_licenses(wheel: Path) -> None:
    assert wheel.name.startswith("edge_compress-")
    with zipfile.ZipFile(wheel) as archive:
        info = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        scripts = archive.read(info).decode()
        licenses = [name for name in archive.namelist() if "/licenses/" in name]
    assert "compress = compress.cli:main" in scripts
    assert "edge-compress = compress.cli:main" in scripts
    assert len(licenses) == 2


def test_an_unpacked_wheel_finds_its_targets_and_samples(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import compress, pathlib\n"
        "from compress.data.recipes import load_samples\n"
        "from compress.targets import load_targets\n"
        "print(compress.__file__)\n"
        "print(len(load_targets()), len(load_samples('fashion-mnist/test', base=pathlib.Path())))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    place, counts = done.stdout.splitlines()
    assert place.startswith(str(tmp_path))
    assert counts == f"{len(load_targets())} 10000"


def test_no_tracked_file_is_over_five_megabytes_and_data_folders_hold_no_code() -> None:
    files = [ROOT / name for name in tracked(".")]
    assert [path.name for path in files if path.exists() and path.stat().st_size > 5e6] == []
    assert [name for name in tracked("targets", "calibration", "reports") if name.endswith(".py")] == []
