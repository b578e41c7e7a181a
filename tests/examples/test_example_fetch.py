"""``examples/fetch.py``, with package clients that work on local archives."""

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

CONTENT = {"one.bin": b"first", "deep/two.bin": b"second"}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


@pytest.fixture
def fetch(load_example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    return load_example("fetch.py")


@pytest.fixture
def clients(fetch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; each leaves an archive with ``CONTENT`` where the real client would."""
    commands: list[list[str]] = []

    def run(command: list[str], folder: Path, package: object) -> None:
        commands.append(command)
        if "pip" in command:
            with zipfile.ZipFile(folder / "thing-1.0-py3-none-any.whl", "w") as wheel:
                for name, content in {**CONTENT, "other.bin": b"not wanted"}.items():
                    wheel.writestr(f"thing/data/{name}", content)
            return
        tree = folder / "tree"
        for name, content in CONTENT.items():
            (tree / "thing" / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / "thing" / "data" / name).write_bytes(content)
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN" / "control").write_text(
            "Package: thing\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: x\n"
        )
        build = ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(folder / "thing_1.0_all.deb")]
        subprocess.run(build, check=True, capture_output=True)
        shutil.rmtree(tree)

    monkeypatch.setattr(fetch, "run", run)
    return commands


def make_example(fetch: ModuleType, client: str, files: dict[str, str] | None = None, **keys: object) -> object:
    package = fetch.Package(client, "thing", "1.0", "thing/data", files or SHA256, "things", **keys)
    return fetch.Example("a thing", "MIT", (package,))


def cached(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "cache"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WHOLE = {"things/one.bin": b"first", "things/deep/two.bin": b"second"}


def test_a_wheel_gives_just_the_files_that_are_wanted(
    fetch: ModuleType, clients: list[list[str]], tmp_path: Path
) -> None:
    assert fetch.fetch(make_example(fetch, "pip"), tmp_path / "cache") == 2
    assert cached(tmp_path) == WHOLE
    assert "thing==1.0" in clients[0]
    assert {"--no-deps", "download"} <= set(clients[0])


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs the package dpkg")
def test_a_debian_archive_gives_just_the_files_that_are_wanted(
    fetch: ModuleType, clients: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    assert fetch.fetch(make_example(fetch, "apt"), tmp_path / "cache") == 2
    assert cached(tmp_path) == WHOLE
    assert clients == [["apt-get", "download", "--quiet", "thing"]]


def test_a_second_fetch_asks_nobody_and_mends_what_was_damaged(
    fetch: ModuleType, clients: list[list[str]], tmp_path: Path
) -> None:
    example = make_example(fetch, "pip")
    fetch.fetch(example, tmp_path / "cache")
    assert fetch.fetch(example, tmp_path / "cache") == 0
    assert len(clients) == 1
    (tmp_path / "cache/things/one.bin").write_bytes(b"damaged")
    assert fetch.fetch(example, tmp_path / "cache") == 1
    assert cached(tmp_path) == WHOLE


@pytest.mark.usefixtures("clients")
def test_a_file_of_another_version_never_lands_in_the_cache(fetch: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(fetch.FetchError, match=r"one.bin of thing is not the file of 1.0"):
        fetch.fetch(make_example(fetch, "pip", {"one.bin": "0" * 64}), tmp_path / "cache")
    with pytest.raises(fetch.FetchError, match=r"thing has no thing/data/gone\.bin"):
        fetch.fetch(make_example(fetch, "pip", {"gone.bin": "0" * 64}), tmp_path / "cache")
    assert cached(tmp_path) == {}


def test_an_installed_package_is_copied_instead(fetch: ModuleType, clients: list[list[str]], tmp_path: Path) -> None:
    for name, content in CONTENT.items():
        (tmp_path / "usr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr" / name).write_bytes(content)
    fetch.fetch(make_example(fetch, "apt", installed=tmp_path / "usr"), tmp_path / "cache")
    assert cached(tmp_path) == WHOLE
    assert clients == []
    assert (tmp_path / "usr" / "one.bin").exists()


def test_without_apt_it_says_what_to_install_by_hand(
    fetch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda _: None)
    with pytest.raises(fetch.FetchError, match="`apt-get` is missing: thing is a Debian package") as caught:
        fetch.fetch(make_example(fetch, "apt"), tmp_path / "cache")
    assert "apt-get install thing" in str(caught.value)
    assert cached(tmp_path) == {}


def test_a_client_that_fails_is_quoted(fetch: ModuleType, tmp_path: Path) -> None:
    package = make_example(fetch, "pip").packages[0]  # type: ignore[attr-defined]
    with pytest.raises(fetch.FetchError) as caught:
        fetch.run(["sh", "-c", "echo no such package >&2; exit 3"], tmp_path, package)
    assert "no such package" in str(caught.value)
    assert "By hand: pip download --no-deps thing==1.0" in str(caught.value)
    fetch.run(["true"], tmp_path, package)
    with pytest.raises(fetch.FetchError, match="pip left 0 archives of thing"):
        fetch.only_file(tmp_path, "*.whl", package)


@pytest.mark.usefixtures("clients")
def test_a_model_is_laid_beside_its_project_file(
    fetch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "HERE", tmp_path)
    (tmp_path / "net").mkdir()
    example = fetch.Example("x", "MIT", make_example(fetch, "pip").packages, ("things/one.bin", "net/model.pth"))  # type: ignore[attr-defined]
    for _ in range(2):
        fetch.fetch(example, tmp_path / "cache")
        assert (tmp_path / "net" / "model.pth").read_bytes() == b"first"


def test_the_command_lists_refuses_and_reports(
    fetch: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("fashion-mnist", "mobilenetv2", "photos"))
    assert fetch.main(["fashoin"]) == 2
    assert "Known: fashion-mnist, mobilenetv2, photos" in capsys.readouterr().err
    monkeypatch.setattr(fetch, "fetch", lambda example, cache: 3)
    assert fetch.main(["photos"]) == 0
    assert "photos: 3 files fetched" in capsys.readouterr().out

    def fail(example: object, cache: Path) -> int:
        raise fetch.FetchError("apt-get is missing")

    monkeypatch.setattr(fetch, "fetch", fail)
    assert fetch.main(["photos"]) == 1
    assert "photos: apt-get is missing" in capsys.readouterr().err


def test_every_file_has_a_checksum_and_no_photo_is_in_both_tables(fetch: ModuleType) -> None:
    for example in fetch.examples().values():
        for package in example.packages:
            assert package.files
            assert all(len(digest) == 64 for digest in package.files.values())
    photos = [len(package.files) for package in fetch.examples()["photos"].packages]
    assert photos == [20, 128 + 98]
