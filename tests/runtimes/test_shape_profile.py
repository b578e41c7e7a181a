import tomllib

import pytest
from pydantic import ValidationError

from compress.errors import ConfigError, TargetError
from compress.model import TensorSpec
from compress.runtimes.build_settings import SizeRange
from compress.runtimes.shape_profile import MAX_BATCH, ShapeRange, describe_profile, profile_shapes

IDS = TensorSpec("ids", "int64", ("batch", "sequence"))
SEQUENCE = SizeRange(min=1, opt=128, max=512)


def test_the_batch_has_a_range_of_its_own() -> None:
    assert profile_shapes([IDS], {"sequence": SEQUENCE}) == {"ids": ShapeRange((1, 1), (1, 128), (MAX_BATCH, 512))}


def test_a_stated_batch_wins() -> None:
    found = profile_shapes([IDS], {"sequence": SEQUENCE, "batch": SizeRange(min=1, opt=8, max=32)})
    assert found == {"ids": ShapeRange((1, 1), (8, 128), (32, 512))}


def test_for_an_accelerator_every_size_is_fixed() -> None:
    ranges = {"sequence": SEQUENCE, "batch": SizeRange(min=1, opt=8, max=32)}
    assert profile_shapes([IDS], ranges, fixed=True) == {"ids": ShapeRange((1, 128), (1, 128), (1, 128))}
    assert describe_profile([TensorSpec("x", "float32", ("batch", 3))], {}, fixed=True) == ("Shapes: x 1×3.",)


def test_fixed_inputs_are_left_out() -> None:
    assert profile_shapes([TensorSpec("x", "float32", (1, 3)), IDS], {"sequence": SEQUENCE}).keys() == {"ids"}


def test_the_batch_is_known_by_its_name_wherever_it_stands() -> None:
    state = TensorSpec("state", "float32", (2, "batch", 8))
    assert profile_shapes([TensorSpec("x", "float32", ("batch", 4)), state], {})["state"].max == (2, MAX_BATCH, 8)


def test_the_hint_has_the_line_to_add_which_can_be_read_as_it_stands() -> None:
    mask = TensorSpec("mask", "int64", ("batch", "sequence", "a/b"))
    with pytest.raises(TargetError) as caught:
        profile_shapes([IDS, mask], {})
    assert caught.value.message == (
        "input `ids`: axis 1 (`sequence`), input `mask`: axis 1 (`sequence`), input `mask`: axis 2 (`a/b`) are dynamic;"
        " TensorRT needs a range of sizes for every axis but the batch"
    )
    assert caught.value.hint is not None
    told, _, line = caught.value.hint.partition("compress.toml: ")
    assert "under [model]" in told
    stated = tomllib.loads(line)["ranges"]
    ranges = {name: SizeRange.model_validate(sizes) for name, sizes in stated.items()}
    assert ranges.keys() == {"sequence", "a/b"}
    assert profile_shapes([IDS, mask], ranges)["mask"].opt == (1, 128, 128)


def test_a_range_for_no_axis_is_named() -> None:
    with pytest.raises(ConfigError, match="no input has a dynamic axis `sequnce`") as caught:
        profile_shapes([IDS], {"sequnce": SEQUENCE})
    assert caught.value.hint == "Did you mean `sequence`? Known: batch, sequence."


def test_a_range_where_all_shapes_are_fixed_is_named() -> None:
    with pytest.raises(ConfigError, match="no input has a dynamic axis `sequence`") as caught:
        profile_shapes([TensorSpec("x", "float32", (1, 3))], {"sequence": SEQUENCE})
    assert caught.value.hint == "all shapes are fixed: remove that line"


def test_a_batch_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="`batch` is the batch, and starts at 4") as caught:
        profile_shapes([TensorSpec("x", "float32", ("batch", 3))], {"batch": SizeRange(min=4, opt=8, max=16)})
    assert caught.value.hint == "let it start at 1, which latency is measured with: batch = [1, 8, 16]"


@pytest.mark.parametrize("value", [[1, 128, 512], {"min": 1, "opt": 128, "max": 512}])
def test_a_range_is_a_list_or_a_table(value: object) -> None:
    assert SizeRange.model_validate(value) == SEQUENCE


def test_one_number_is_a_fixed_size() -> None:
    assert SizeRange.model_validate(64) == SizeRange(min=64, opt=64, max=64)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "three sizes"),
        ([1, 512, 128], "must grow"),
        ([0, 1, 2], "greater than 0"),
        (True, "valid dictionary"),
        ("1-512", "valid dictionary"),
        ({"min": 1, "max": 2}, "opt"),
    ],
)
def test_sizes_that_make_no_range_are_refused(value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SizeRange.model_validate(value)


def test_stated_ranges_are_told_in_the_report() -> None:
    assert describe_profile([IDS], {}) == ()
    assert describe_profile([IDS], {"sequence": SEQUENCE}) == ("Shapes: ids 1×1 to 16×512, best at 1×128.",)
