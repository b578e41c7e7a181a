"""What detectors need beside convolutions: non-maximum suppression and pooling of regions."""

import torch
from torch import Tensor

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.reading import integers


def _non_max_suppression(node: Node) -> Kernel:
    centred = bool(node.attributes.integer("center_point_box", 0))

    def suppress(
        boxes: Tensor,
        scores: Tensor,
        limit: Tensor | None = None,
        iou: Tensor | None = None,
        least: Tensor | None = None,
    ) -> Tensor:
        most = 0 if limit is None else integers(limit)[0]
        overlap = 0.0 if iou is None else float(iou)
        floor = None if least is None else float(least)
        corners = _corners(boxes.detach(), centred)
        found: list[Tensor] = []
        for batch in range(scores.shape[0]):
            for label in range(scores.shape[1]):
                kept = _suppress_one(corners[batch], scores[batch, label].detach(), most, overlap, floor)
                place = kept.new_tensor([batch, label]).expand(kept.numel(), 2)
                found.append(torch.cat([place, kept.unsqueeze(1)], 1))
        return torch.cat(found) if found else torch.zeros(0, 3, dtype=torch.int64, device=boxes.device)

    return suppress


def _corners(boxes: Tensor, centred: bool) -> Tensor:
    """Return boxes [..., 4] as two opposite corners, the smaller coordinates first."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if centred:
        return torch.cat([first - second / 2, first + second / 2], -1)
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)


def _suppress_one(corners: Tensor, scores: Tensor, limit: int, overlap: float, floor: float | None) -> Tensor:
    """Return which boxes of one class remain, best first."""
    order = torch.argsort(scores, descending=True, stable=True)
    if floor is not None:
        order = order[scores[order] > floor]
    kept: list[Tensor] = []
    while order.numel() and len(kept) < limit:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[_intersection_over_union(corners[best], corners[order]) <= overlap]
    return torch.stack(kept) if kept else order[:0]


def _intersection_over_union(box: Tensor, others: Tensor) -> Tensor:
    shared = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0).prod(-1)
    union = (box[2:] - box[:2]).prod(-1) + (others[:, 2:] - others[:, :2]).prod(-1) - shared
    return torch.where(union > 0, shared / union, 0.0)


def _roi_align(node: Node) -> Kernel:
    attributes = node.attributes
    rows, columns = attributes.integer("output_height", 1), attributes.integer("output_width", 1)
    maximum = attributes.text("mode", "avg") == "max"
    sampling, scale = attributes.integer("sampling_ratio", 0), attributes.number("spatial_scale", 1.0)
    # Before opset 16 there was no choice.
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    half_pixel = attributes.text("coordinate_transformation_mode", default) == "half_pixel"

    def align(x: Tensor, rois: Tensor, batches: Tensor) -> Tensor:
        corners = rois * scale - (0.5 if half_pixel else 0.0)
        sizes = corners[:, 2:] - corners[:, :2]
        sizes = sizes if half_pixel else sizes.clamp(min=1.0)
        bins = sizes / sizes.new_tensor([columns, rows])
        counts = torch.full_like(bins, sampling) if sampling > 0 else torch.ceil(bins)
        pooled = x.new_zeros(rois.shape[0], x.shape[1], rows, columns)
        # Regions with the same number of samples in a bin are taken together.
        grids, group_of = torch.unique(counts.detach().to(torch.int64), dim=0, return_inverse=True)
        for group, (across, down) in enumerate(grids.tolist()):
            members = torch.nonzero(group_of == group).reshape(-1)
            if across < 1 or down < 1:
                continue
            xs = _sample_places(corners[members, 0], bins[members, 0], columns, across)
            ys = _sample_places(corners[members, 1], bins[members, 1], rows, down)
            samples = _sample(x[batches[members].to(torch.int64)], ys, xs, maximum)
            parts = samples.reshape(len(members), x.shape[1], rows, down, columns, across)
            pooled = pooled.index_copy(0, members, parts.amax((3, 5)) if maximum else parts.mean((3, 5)))
        return pooled

    return align


def _sample_places(start: Tensor, bin_size: Tensor, bins: int, samples: int) -> Tensor:
    """Return where the samples of each region lie along one axis, [regions, bins · samples]."""
    steps = torch.arange(bins * samples, device=start.device, dtype=start.dtype)
    return start.unsqueeze(1) + (steps + 0.5) * bin_size.unsqueeze(1) / samples


def _sample(images: Tensor, ys: Tensor, xs: Tensor, maximum: bool) -> Tensor:
    """Return values of images [regions, channels, height, width] at places, [regions, channels, ys, xs].

    Interpolated bilinearly; with ``maximum`` the largest of the four weighted neighbours, as ONNX has it.
    """
    top, bottom, down = _neighbours(ys, images.shape[2])
    left, right, along = _neighbours(xs, images.shape[3])
    region = torch.arange(images.shape[0], device=images.device).reshape(-1, 1, 1)
    corners: list[Tensor] = []
    for row, part in ((top, 1 - down), (bottom, down)):
        for column, share in ((left, 1 - along), (right, along)):
            weight = part.unsqueeze(2) * share.unsqueeze(1)
            weight = weight * (_inside(ys, images.shape[2]).unsqueeze(2) & _inside(xs, images.shape[3]).unsqueeze(1))
            picked = images.movedim(1, -1)[region, row.unsqueeze(2), column.unsqueeze(1)]
            corners.append(picked * weight.unsqueeze(-1))
    stacked = torch.stack(corners)
    return (stacked.amax(0) if maximum else stacked.sum(0)).movedim(-1, 1)


def _inside(places: Tensor, size: int) -> Tensor:
    return (places >= -1.0) & (places <= size)


def _neighbours(places: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions before and after each place on an axis, and how far it is from the first."""
    places = places.clamp(0, size - 1)
    before = places.detach().floor()
    after = (before + 1).clamp(max=size - 1)
    return before.to(torch.int64), after.to(torch.int64), places - before


OPERATORS: dict[str, Factory] = {
    "NonMaxSuppression": _non_max_suppression,
    "RoiAlign": _roi_align,
}
