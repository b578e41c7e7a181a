import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.distill.augment import ImageAugmentation, draw_numbers
from compress.errors import UsageError
from compress.model import TensorSpec

IMAGE = TensorSpec("image", "float32", ("batch", 1, 4, 4))
TOKENS = TensorSpec("ids", "int64", ("batch", 8))


def images(count: int) -> torch.Tensor:
    return torch.arange(count * 32, dtype=torch.float32).reshape(count, 2, 4, 4)


def test_nothing_is_changed_unless_asked_and_only_images_are() -> None:
    assert ImageAugmentation().for_inputs([IMAGE]) is None
    augment = ImageAugmentation(mirror=True).for_inputs([IMAGE, TOKENS])
    assert augment is not None
    feed = {"image": images(3)[:, :1], "ids": torch.arange(24).reshape(3, 8)}
    changed = augment(feed, torch.zeros(3, 3, dtype=torch.float64))
    assert torch.equal(changed["image"], feed["image"].flip(3))
    assert changed["ids"] is feed["ids"]


def test_a_model_without_images_cannot_be_mirrored() -> None:
    with pytest.raises(UsageError, match=r"no input is an image .* but ids: int64\[batch, 8\]"):
        ImageAugmentation(mirror=True).for_inputs([TOKENS])


def test_each_image_is_mirrored_by_its_own_number() -> None:
    numbers = torch.tensor([[0.1, 0, 0], [0.9, 0, 0]], dtype=torch.float64)
    found = ImageAugmentation(mirror=True).apply(images(2), numbers)
    assert torch.equal(found[0], images(2)[0].flip(2))
    assert torch.equal(found[1], images(2)[1])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 4), st.integers(0, 4), st.sampled_from(["edge", "constant"]))
def test_a_shift_moves_whole_pixels_and_fills_the_border(down: int, right: int, border: str) -> None:
    numbers = torch.tensor([[0.9, (down + 0.5) / 5, (right + 0.5) / 5]], dtype=torch.float64)
    chosen = ImageAugmentation.model_validate({"shift": 2, "border": border, "fill": -7.0})
    found = chosen.apply(images(1), numbers)[0]
    original = images(1)[0]
    for row in range(4):
        for column in range(4):
            y, x = row + down - 2, column + right - 2
            inside = 0 <= y < 4 and 0 <= x < 4
            clamped = original[:, min(max(y, 0), 3), min(max(x, 0), 3)]
            expected = clamped if inside or border == "edge" else torch.full((2,), -7.0)
            assert torch.equal(found[:, row, column], expected)


def row(**columns: float) -> torch.Tensor:
    """Return the numbers of one image, 0.5 but for some columns."""
    numbers = torch.full((1, 8), 0.5, dtype=torch.float64)
    for name, value in columns.items():
        numbers[0, int(name[1:])] = value
    return numbers


def test_zoom_enlarges_the_part_that_the_numbers_say() -> None:
    image = torch.arange(64, dtype=torch.float32).reshape(1, 1, 8, 8)
    zoom = ImageAugmentation(zoom=0.5)
    whole = zoom.apply(image, row(c3=0))
    torch.testing.assert_close(whole, image)
    for (down, right), part in {
        (0, 0): image[..., :4, :4],
        (1, 1): image[..., 4:, 4:],
        (0, 1): image[..., :4, 4:],
    }.items():
        found = zoom.apply(image, row(c3=1, c4=down, c5=right))
        wanted = torch.nn.functional.interpolate(part, scale_factor=2, mode="bilinear", align_corners=False)
        inner = (..., slice(1, -1), slice(1, -1))
        torch.testing.assert_close(found[inner], wanted[inner])


def test_contrast_and_brightness_change_spread_and_mean_by_their_shares() -> None:
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 + 5
    found = ImageAugmentation(contrast=0.4).apply(image, row(c6=1, c7=0))
    assert float(found.std()) == pytest.approx(1.4 * float(image.std()), rel=1e-4)
    assert float(found.mean()) == pytest.approx(float(image.mean()) - 0.4 * float(image.std()), rel=1e-4)
    torch.testing.assert_close(ImageAugmentation(contrast=0.4).apply(image, row()), image)


@pytest.mark.parametrize("setting", ["zoom", "contrast"])
def test_each_change_counts_as_one(setting: str) -> None:
    assert ImageAugmentation.model_validate({setting: 0.2}).for_inputs([IMAGE]) is not None
    with pytest.raises(ValueError, match="less than 1"):
        ImageAugmentation.model_validate({setting: 1.0})


def test_the_numbers_depend_on_seed_step_and_place_alone() -> None:
    whole = draw_numbers(3, 7, 6, (0, 1))
    parts = [draw_numbers(3, 7, 6, (rank, 2)) for rank in range(2)]
    assert torch.equal(torch.stack(parts, 1).reshape(6, 8), whole)
    assert not torch.equal(whole, draw_numbers(3, 8, 6, (0, 1)))
    assert not torch.equal(whole, draw_numbers(4, 7, 6, (0, 1)))
