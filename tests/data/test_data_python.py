"""Samples and metrics that a user's own code makes."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sample_reading import join, read_all

from compress.data.callables import load_callable
from compress.data.recipes import load_samples
from compress.data.sources.python import PythonSource
from compress.errors import DataError

ITEMS = [(np.full(3, index, np.float32), index) for index in range(5)]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Returns a function that writes a module into a project folder; what it loads is forgotten afterwards."""
    monkeypatch.setattr("compress.data.callables._imported_from", {})
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(text: str, name: str = "own_samples", folder: str = ".") -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.py").write_text(text)
        return tmp_path / folder

    yield write
    for name in set(sys.modules) - before:
        if name.split(".")[0].startswith("own_"):
            del sys.modules[name]


def open_items(make: Callable[[], object]) -> PythonSource:
    return PythonSource(make, "python:m:f", "x")


class Indexed:
    """Like a torch data set; remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], int]:
        self.asked.append(index)
        return ITEMS[index]


def generate() -> Iterator[object]:
    yield from ITEMS


@pytest.mark.parametrize(
    "make", [lambda: ITEMS, lambda: tuple(ITEMS), Indexed, generate, lambda: dict(enumerate(ITEMS)).values()]
)
def test_lists_data_sets_iterables_and_generators_give_the_same_on_every_pass(make: Callable[[], object]) -> None:
    source = open_items(make)
    assert len(source) == 5
    assert source.labelled
    for _ in range(2):
        samples = read_all(source, [0, 2, 4])
        assert [sample.inputs["x"].tolist() for sample in samples] == [[0] * 3, [2] * 3, [4] * 3]
        assert [int(str(sample.label)) for sample in samples] == [0, 2, 4]
    assert len(set(source.fingerprints(range(5)))) == 5


def test_only_the_picked_items_of_a_data_set_are_made() -> None:
    items = Indexed()
    read_all(open_items(lambda: items), [1, 3])
    assert items.asked == [1, 3]


def test_items_may_be_named_unlabelled_or_tensors() -> None:
    torch = pytest.importorskip("torch")
    named = read_all(open_items(lambda: [{"a": [1.0], "b": torch.ones(2)}]))[0]
    assert named.label is None
    assert named.inputs["b"].tolist() == [1, 1]
    assert read_all(open_items(lambda: [(torch.ones(2),)]))[0].inputs["x"].shape == (2,)
    assert read_all(open_items(lambda: [(np.zeros(2), None)]))[0].label is None
    assert read_all(open_items(lambda: [np.zeros((2, 2))]))[0].inputs["x"].shape == (2, 2)


def test_a_generator_that_ends_earlier_the_second_time_is_found_out() -> None:
    lengths = iter([5, 5, 3])

    def shrinking() -> Iterator[object]:
        yield from ITEMS[: next(lengths)]

    source = open_items(shrinking)
    assert len(source) == 5
    assert len(read_all(source)) == 5
    with pytest.raises(DataError, match=r"ended before sample 3"):
        read_all(source, range(5))


def failing() -> object:
    raise KeyError("path")


class FailingItems(Indexed):
    def __getitem__(self, index: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], int]:
        raise OSError(f"disk {index}")


class FailingLength(Indexed):
    def __len__(self) -> int:
        raise OSError("no length")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (failing, "calling it without arguments raised KeyError: 'path'"),
        (lambda: 3, "returned `int`, not samples"),
        (lambda: "abc", "returned `str`"),
        (FailingItems, "item 0 raised OSError: disk 0"),
        (FailingLength, "counting its items raised OSError: no length"),
        (lambda: [(["a"], 0)], "input `x` of item 0 of python:m:f has element type <U1"),
        (lambda: [([[1], [2, 3]], 0)], "making an array of input `x` of item 0"),
        (lambda: [([1.0], object())], "the label of item 0 of python:m:f holds pickled"),
    ],
)
def test_a_callable_that_fails_is_a_message_not_a_traceback(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_all(open_items(make))
    assert message in caught.value.message


def test_samples_come_from_a_module_beside_the_project_file(write_module: Callable[..., Path]) -> None:
    base = write_module("import numpy as np\ndef items():\n    return [(np.ones(2, 'f4') * i, i) for i in range(3)]\n")
    path_before = list(sys.path)
    samples = load_samples("python:own_samples:items", base=base)
    batch = join(samples, 2)
    assert batch.inputs["x"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1, 2]
    assert samples.name == "python:own_samples:items"
    assert sys.path == path_before


def test_two_projects_may_have_modules_of_the_same_name(write_module: Callable[..., Path]) -> None:
    first = write_module("def f():\n    return 1\n", folder="one")
    second = write_module("def f():\n    return 2\n", folder="two")
    assert [load_callable("python:own_samples:f", base)() for base in (first, second, first)] == [1, 2, 1]


def test_a_module_never_hides_one_that_is_loaded_already(write_module: Callable[..., Path]) -> None:
    base = write_module("def f():\n    return 1\n", name="json")
    with pytest.raises(DataError, match="the module `json` in"):
        load_callable("python:json:f", base)


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("python:own_samples", "is not of the form", None),
        ("python:own samples:f", "is not of the form", None),
        ("python:own_missing:f", "no module `own_missing`", "Looked in"),
        ("python:own_samples.sub:f", "no module `own_samples.sub`", "Looked in"),
        ("python:own_samples:itms", "has no callable `itms`", "Did you mean `items`?"),
        ("python:own_samples:COUNT", "has no callable `COUNT`", "Known: items"),
        ("python:own_broken:f", "importing it raised ZeroDivisionError", "python -c 'import own_broken'"),
        ("python:own_needs:f", "raised ModuleNotFoundError: No module named 'own_absent'", "import own_needs"),
    ],
)
def test_a_wrong_name_says_what_is_there(
    spec: str, message: str, hint: str | None, write_module: Callable[..., Path]
) -> None:
    write_module("COUNT = 3\ndef items():\n    return []\n")
    write_module("1 / 0\n", name="own_broken")
    base = write_module("import own_absent\n", name="own_needs")
    with pytest.raises(DataError) as caught:
        load_callable(spec, base)
    assert message in caught.value.message
    assert hint is None or hint in str(caught.value.hint)
