"""Attention and rotary positions as single operators (opset 23)."""

from math import sqrt

import onnx_ir as ir

from compress.prune.kept import Kept
from compress.prune.labels import Ids, Labels, NoRuleError, relate_regrouped
from compress.prune.rules import Operator

_QUERY, _KEY, _VALUE, _MASK, _PAST_KEY, _PAST_VALUE = range(6)
_OTHER_VIEW = "is rotated in pairs"


def relate_attention(node: ir.Node, labels: Labels) -> None:
    """Relate Q [N, H, S, D], K [N, G, T, D], V [N, G, T, E] and Y [N, H, S, E], or [N, S, H·D] … with heads merged.

    A key head goes with the query heads that read it, in order. Pasts, presents and masks follow their heads.
    """
    heads, groups = _head_counts(node, labels)
    query, key, value = node.inputs[:3]
    merged = len(labels.shape(query)) == 3
    h, d = _split(labels, query, heads) if merged else (labels.ids(query, 1), labels.ids(query, 3))
    g, same = _split(labels, key, groups) if merged else (labels.ids(key, 1), labels.ids(key, 3))
    g_value, e = _split(labels, value, groups) if merged else (labels.ids(value, 1), labels.ids(value, 3))
    y = node.outputs[0]
    y_heads, y_e = _split(labels, y, heads) if merged else (labels.ids(y, 1), labels.ids(y, 3))
    labels.mark("heads", h)
    for one, other in ((g, g_value), (h, y_heads), (d, same), (e, y_e), (g.repeat(heads // groups), h)):
        labels.equate(one, other)
    for operand in node.inputs[:3]:
        labels.equate_axes(operand, 0, y, 0)
    for cached, axis_ids in ((_PAST_KEY, d), (_PAST_VALUE, e)):
        if len(node.inputs) > cached and node.inputs[cached] is not None:
            labels.equate(labels.ids(node.inputs[cached], 1), g)
            labels.equate(labels.ids(node.inputs[cached], 3), axis_ids)
    for place, axis_ids in ((1, d), (2, e)):
        if len(node.outputs) > place and node.outputs[place].name in labels.concrete.shapes:
            labels.equate(labels.ids(node.outputs[place], 1), g)
            labels.equate(labels.ids(node.outputs[place], 3), axis_ids)
    _relate_mask(node, labels, h)


def _relate_mask(node: ir.Node, labels: Labels, heads: Ids) -> None:
    mask = node.inputs[_MASK] if len(node.inputs) > _MASK else None
    if mask is not None and len(labels.shape(mask)) > 2 and labels.shape(mask)[-3] == heads.size:
        labels.equate(labels.ids(mask, -3), heads)


def _head_counts(node: ir.Node, labels: Labels) -> tuple[int, int]:
    if len(labels.shape(node.inputs[_QUERY])) == 4:
        return labels.shape(node.inputs[_QUERY])[1], labels.shape(node.inputs[_KEY])[1]
    return node.attributes["q_num_heads"].as_int(), node.attributes["kv_num_heads"].as_int()


def _split(labels: Labels, value: ir.Value | None, heads: int) -> tuple[Ids, Ids]:
    """Return labels of heads and of their dimensions, of an axis that holds both."""
    whole = labels.ids(value, 2)
    parts = labels.fresh(heads), labels.fresh(whole.size // heads)
    relate_regrouped(labels, [whole], parts)
    for ids in parts:
        if ids.size == 1:
            labels.pin(ids, "has one position only")
    return parts


def trim_attention(node: ir.Node, kept: Kept) -> None:
    """Set the numbers of heads, and the scale where it followed from the dimensions that were cut."""
    query, key = node.inputs[_QUERY], node.inputs[_KEY]
    old, new = kept.old_shape(query), kept.new_shape(query)
    depth, left = old[-1], new[-1]
    if len(old) == 3:
        heads, groups = _head_counts(node, kept.classes.labels)
        counts = [_count_heads(kept, query, heads), _count_heads(kept, key, groups)]
        for name, count in zip(("q_num_heads", "kv_num_heads"), counts, strict=True):
            node.attributes[name] = ir.AttrInt64(name, count)
        depth, left = depth // heads, left // counts[0]
    if depth != left and "scale" not in node.attributes:
        node.attributes["scale"] = ir.AttrFloat32("scale", 1 / sqrt(depth))


def _count_heads(kept: Kept, value: ir.Value | None, heads: int) -> int:
    return int(kept.mask(value, 2).reshape(heads, -1).any(1).sum())


def relate_rotary(node: ir.Node, labels: Labels) -> None:
    """Relate the heads of X and Y, [N, H, S, D] or [N, S, H·D]; dimensions are rotated in pairs and stay."""
    x, y = node.inputs[0], node.outputs[0]
    labels.equate_axes(x, 0, y, 0)
    labels.equate_axes(x, 1, y, 1)
    if len(labels.shape(x)) == 4:
        labels.equate_axes(x, 2, y, 2)
        return
    heads = node.attributes.get_int("num_heads", 0)
    if heads == 0:
        raise NoRuleError
    labels.equate_axes(x, 2, y, 2)
    _, dimensions = _split(labels, x, heads)
    labels.pin(dimensions, _OTHER_VIEW)


def trim_rotary(node: ir.Node, kept: Kept) -> None:
    """Set the number of heads."""
    heads = node.attributes.get_int("num_heads", 0)
    if len(kept.old_shape(node.inputs[0])) == 3 and heads:
        node.attributes["num_heads"] = ir.AttrInt64("num_heads", _count_heads(kept, node.inputs[0], heads))


OPERATORS = {
    "Attention": Operator(relate_attention, trim_attention),
    "RotaryEmbedding": Operator(relate_rotary, trim_rotary),
}
