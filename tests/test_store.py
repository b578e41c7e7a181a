import os
from pathlib import Path

import pytest

from compress.errors import DataError, UsageError
from compress.store import Store, open_workspace, write_atomically, write_output


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_what_a_user_names_stays_a_link_or_a_pipe(tmp_path: Path) -> None:
    file, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    write_output(file, b"first")
    link.symlink_to(file)
    write_output(link, b"second")
    assert link.is_symlink()
    assert file.read_bytes() == b"second"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_output(pipe, b"third")
        assert os.read(reader, 10) == b"third"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_an_entry_is_whole_or_absent_and_the_first_one_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "steps")
    assert store.get("key") is None
    store.put("key", {"a": b"1", "b": b"2"})
    store.put("key", {"a": b"other"})
    assert store.get("key") == {"a": b"1", "b": b"2"}
    assert [entry.name for entry in (tmp_path / "steps").iterdir()] == ["key"]


def test_the_users_mistake_leaves_no_folder_that_was_not_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError), open_workspace(out, resume=False) as work:
        (work.staging / "model.onnx").write_bytes(b"x")
        work.store.put("key", {"a": b"1"})
        raise DataError("NaN in the samples")
    assert not out.exists()


def test_a_crash_leaves_the_finished_steps_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError), open_workspace(out, resume=False) as work:
        (work.staging / "model.onnx").write_bytes(b"x")
        work.store.put("key", {"a": b"1"})
        raise ZeroDivisionError
    assert [entry.name for entry in out.iterdir()] == [".steps"]
    with open_workspace(out, resume=True) as work:
        assert work.store.get("key") == {"a": b"1"}
    with open_workspace(out, resume=False) as work:
        assert work.store.get("key") is None


def test_results_of_an_earlier_run_stay_until_the_new_ones_are_published(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_workspace(out, resume=False) as work:
        (work.staging / "engine").mkdir()
        (work.staging / "engine" / "old").write_text("1")
        (work.staging / "report.json").write_text("first")
        work.publish()
    with pytest.raises(DataError), open_workspace(out, resume=False) as work:
        (work.staging / "report.json").write_text("second")
        raise DataError("no")
    assert (out / "report.json").read_text() == "first"
    with open_workspace(out, resume=False) as work:
        (work.staging / "engine").mkdir()
        (work.staging / "engine" / "new").write_text("2")
        (work.staging / "report.json").write_text("third")
        work.publish()
    assert (out / "report.json").read_text() == "third"
    assert [entry.name for entry in (out / "engine").iterdir()] == ["new"]


def test_staging_that_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".staging-dead" / "results").mkdir(parents=True)
    with open_workspace(out, resume=True):
        pass
    assert not out.exists() or not list(out.glob(".staging-*"))


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"cannot write to the folder .*file/out: ") as caught,
        open_workspace(tmp_path / "file" / "out", resume=False),
    ):
        pass
    assert caught.value.hint == "choose another folder with --out"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("a file")
    with pytest.raises(UsageError, match="is a file"), open_workspace(out, resume=False):
        pass
    assert out.read_text() == "a file"


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_is_refused_takes_no_finished_step_of_an_earlier_one_away(tmp_path: Path, *, resume: bool) -> None:
    out = tmp_path / "out"
    with open_workspace(out, resume=False) as work:
        work.store.put("earlier", {"model.onnx": b"trained for hours"})
        write_atomically(work.staging / "report.json", b"{}")
        work.publish()
    with pytest.raises(DataError), open_workspace(out, resume=resume) as work:
        assert (work.store.get("earlier") is not None) == resume
        work.store.put("later", {"model.onnx": b"of the run that is refused"})
        raise DataError("no", hint="none")
    with open_workspace(out, resume=True) as work:
        assert work.store.get("earlier") == {"model.onnx": b"trained for hours"}
        assert (work.store.get("later") is not None) == resume


def test_a_resumed_run_that_is_refused_and_found_nothing_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError), open_workspace(out, resume=True) as work:
        work.store.put("later", {"model.onnx": b""})
        raise DataError("no", hint="none")
    assert not out.exists()


def test_what_an_earlier_run_put_there_and_this_one_does_not_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_workspace(out, resume=False) as work:
        for name in ("report.json", "report.md", "signature"):
            (work.staging / name).write_text("1")
        (work.staging / "engine").mkdir()
        work.publish()
    (out / "mine.txt").write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (out / "engine").rmdir()
    (out / "engine").symlink_to(outside)
    with open_workspace(out, resume=False) as work:
        (work.staging / "report.json").write_text("2")
        work.publish(["report.json", "report.md", "engine", "signature", "gone"])
    assert {path.name for path in out.iterdir()} == {"report.json", "mine.txt"}
    assert (out / "report.json").read_text() == "2"
    assert (outside / "kept").exists()
