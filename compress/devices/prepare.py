"""Fetches and unpacks an Arm64 Python with NumPy and ONNX Runtime, for ``--device emulated:cortex-a76`` and its like.

    python -m compress.devices.prepare

It needs Debian or Ubuntu: apt fetches the Arm64 packages of the release that runs here into a folder of its own (the
system's own lists and packages are not touched), ``dpkg -x`` unpacks them, pip fetches the wheels. Nothing is
installed.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from compress.devices.qemu import arm64_folder
from compress.errors import CompressError, TargetError
from compress.store import replace_folder

ONNXRUNTIME = "1.27.0"
"""The newest that starts under QEMU 7.2: later ones crash while they are imported."""

_LIBRARIES = (
    *("libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5"),
    *("libssl3", "libuuid1"),
)
_PROGRAMS = ("apt-get", "apt-cache", "dpkg")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux2014_aarch64")


def prepare(folder: Path) -> None:
    """Fill the folder; one that is there is replaced only once the new one is whole.

    Raises:
        TargetError: A program is missing, or a package cannot be fetched.
    """
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise TargetError(
            f"an Arm64 Python is made from Debian packages, and there is no {', '.join(missing)} here",
            hint="run it on Debian or Ubuntu and copy the folder, or measure on the device itself",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".arm64-") as scratch:
        work = Path(scratch)
        environment = _apt_environment(work)
        _call(["apt-get", "update"], work, environment)
        version = newest_python(_call(["apt-cache", "pkgnames", "libpython3."], work, environment))
        packages = [f"python{version}-minimal", f"libpython{version}-minimal", f"libpython{version}-stdlib"]
        _call(["apt-get", "download", *packages, *_LIBRARIES], work, environment)
        root = work / "root"
        for package in sorted(work.glob("*.deb")):
            _call(["dpkg", "-x", str(package), str(root)], work, environment)
        _call(wheel_command(version, root / "site"), work, os.environ)
        replace_folder(root, folder)


def newest_python(names: str) -> str:
    """Return the version of the newest Python, ``"3.11"``, in a list of package names.

    Raises:
        TargetError: There is none.
    """
    found = re.findall(r"^libpython3\.(\d+)-minimal$", names, re.MULTILINE)
    if not found:
        raise TargetError(
            "the package lists for Arm64 have no Python", hint="check /etc/apt/sources.list.d and the network"
        )
    return f"3.{max(map(int, found))}"


def wheel_command(version: str, folder: Path) -> list[str]:
    """Return the command that unpacks NumPy (this environment's version) and ONNX Runtime for Arm64 into a folder."""
    numpy = importlib.metadata.version("numpy")
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    return [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)),
        *(*platforms, "--python-version", version, "--only-binary=:all:", "--no-deps"),
        *(f"numpy=={numpy}", f"onnxruntime=={ONNXRUNTIME}"),
    ]


def _apt_environment(work: Path) -> dict[str, str]:
    """Return the environment that makes apt work on lists of its own, for Arm64."""
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    settings = {"APT::Architecture": "arm64", "Dir::State": work, "Dir::State::lists": work / "lists"}
    settings |= {"Dir::State::status": work / "status", "Dir::Cache": work / "cache", "APT::Sandbox::User": "root"}
    lines = [f'{key} "{value}";' for key, value in settings.items()] + ['APT::Architectures { "arm64"; };']
    (work / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {**os.environ, "APT_CONFIG": str(work / "apt.conf")}


def _call(command: Sequence[str], work: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(  # noqa: S603 - fixed programs, names from above
        command, cwd=work, env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise TargetError(f"`{' '.join(command[:2])}` failed: {said[-1]}", hint="see the message; then try again")
    return done.stdout


def main() -> int:
    """Fill the cache folder and say where."""
    try:
        prepare(arm64_folder())
    except CompressError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    print(f"Arm64 Python with ONNX Runtime {ONNXRUNTIME} in {arm64_folder()}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
