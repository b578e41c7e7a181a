import numpy as np
import pytest
from hand_coupled import each, group
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.prune.groups import Family, Group
from compress.prune.rounding import Rounding


def of(family: Family, units: int, blocks: int = 1) -> Group:
    return group("g", family, [("w", 0, each(units), "output")], blocks)


@pytest.mark.parametrize(
    ("family", "units", "blocks", "multiple"),
    [
        ("convolution", 128, 1, 16),
        ("convolution", 64, 1, 16),
        ("convolution", 48, 1, 8),
        ("convolution", 96, 6, 48),
        ("matmul", 300, 1, 1),
        ("matmul", 384, 12, 12),
        ("recurrent", 100, 1, 1),
        ("heads", 12, 1, 1),
    ],
)
def test_multiples_are_those_that_a_family_likes_and_every_block_loses_the_same(
    family: Family, units: int, blocks: int, multiple: int
) -> None:
    assert Rounding().multiple_of(of(family, units, blocks)) == multiple


def test_a_stated_multiple_wins_for_convolutions_only() -> None:
    assert Rounding(multiple=4).multiple_of(of("convolution", 128)) == 4
    assert Rounding(multiple=4).multiple_of(of("matmul", 128)) == 1
    assert Rounding(multiple=4, finer=2).multiple_of(of("convolution", 128)) == 4


def test_finer_multiples_are_a_part_of_the_automatic_ones_and_never_below_one() -> None:
    assert [Rounding(finer=finer).multiple_of(of("convolution", 32)) for finer in (1, 2, 8, 16)] == [8, 4, 1, 1]


def test_levels_go_down_in_multiples_to_the_floor() -> None:
    assert Rounding().levels(of("convolution", 72)) == (72, 64, 48, 32, 16)
    assert Rounding(floor=0.5).levels(of("convolution", 64)) == (64, 48, 32)
    assert Rounding().levels(of("heads", 4)) == (4, 3, 2, 1)
    assert Rounding().levels(of("matmul", 40)) == tuple(range(40, 3, -1))


def test_a_group_that_is_no_larger_than_its_multiple_stays() -> None:
    assert Rounding().levels(of("convolution", 8)) == (8,)
    assert Rounding(floor=0.99).levels(of("heads", 4)) == (4,)


def test_the_floor_is_a_share_of_what_there_was_before_the_first_round() -> None:
    assert Rounding(floor=0.5).levels(of("matmul", 6), original=10) == (6, 5)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    units=st.integers(1, 40), blocks=st.sampled_from([1, 2, 3, 8]), finer=st.sampled_from([1, 2, 4, 8, 16]),
    floor=st.floats(0, 0.99), family=st.sampled_from(["convolution", "matmul"]),
)  # fmt: skip
def test_every_level_but_the_first_is_a_multiple_at_or_above_the_floor(
    units: int, blocks: int, finer: int, floor: float, family: Family
) -> None:
    whole = of(family, units * blocks, blocks)
    rounding = Rounding(finer=finer, floor=floor)
    levels = rounding.levels(whole)
    multiple = rounding.multiple_of(whole)
    assert levels[0] == whole.units
    assert (np.diff(levels) < 0).all()
    assert all(level % multiple == 0 and level >= max(multiple, floor * whole.units - 1e-6) for level in levels[1:])
