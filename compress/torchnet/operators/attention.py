"""Attention and the rotation of its queries and keys."""

from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.reading import torch_dtype


@dataclass(frozen=True, slots=True)
class _Attention:
    """Opset 23 and later: queries, keys and values [B, H, S, D] or [B, S, H·D] → [B, H, S, D] or [B, S, H·D].

    Source: A. Vaswani et al., "Attention Is All You Need", NIPS 2017, equation 1; ONNX operator specification.
    """

    query_heads: int | None
    key_heads: int | None
    scale: float | None
    causal: bool
    softcap: float
    left_window: int
    right_window: int
    precision: torch.dtype | None
    shown: int | None

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *cache: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return values, keys and values with the past ones before them, and scores where somebody reads them."""
        past_key, past_value, lengths = (*cache, None, None, None)[:3]
        flat = query.dim() == 3
        if flat:
            query = _split_heads(query, self.query_heads)
            key, value = _split_heads(key, self.key_heads), _split_heads(value, self.key_heads)
        if past_key is not None and past_value is not None:
            key, value = torch.cat((past_key, key), 2), torch.cat((past_value, value), 2)
        first: int | Tensor = 0 if past_key is None else past_key.shape[2]
        if lengths is not None:
            first = lengths.reshape(-1, 1, 1, 1) - query.shape[2]
        allowed = self._allowed(query, key, first, lengths)
        if mask is not None and mask.shape[-1] < key.shape[2]:
            fill = False if mask.dtype == torch.bool else -torch.inf
            mask = functional.pad(mask, (0, key.shape[2] - mask.shape[-1]), value=fill)
        bias = _merge(mask, allowed, query)
        y, shown = self._attend(query, key, value, bias)
        return (y.transpose(1, 2).flatten(2) if flat else y), key, value, shown

    def _allowed(self, query: Tensor, key: Tensor, first: int | Tensor, lengths: Tensor | None) -> Tensor | None:
        """Return which keys a query may see by its position, [S, T] or [B, 1, S, T]; None for all."""
        rows = torch.arange(query.shape[2], device=query.device)[:, None] + first
        columns = torch.arange(key.shape[2], device=query.device)
        rules = [columns <= rows] if self.causal else []
        if self.left_window >= 0:
            rules.append(rows - columns <= self.left_window)
        if self.right_window >= 0:
            rules.append(columns - rows <= self.right_window)
        if lengths is not None:
            rules.append(columns < lengths.reshape(-1, 1, 1, 1))
        allowed = None
        for rule in rules:
            allowed = rule if allowed is None else allowed & rule
        return allowed

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        if self.shown is None and not self.softcap and self.precision is None:
            return functional.scaled_dot_product_attention(query, key, value, bias, scale=self.scale), None
        # Both factors are scaled, as the specification has it: float16 scores stay in range.
        root = (query.shape[-1] ** -0.5 if self.scale is None else self.scale) ** 0.5
        scores = torch.matmul(query * root, key.mT * root)
        seen = {0: scores}
        if self.softcap:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        seen[1] = scores
        scores = scores if bias is None else scores + bias
        seen[2] = scores
        weights = torch.softmax(scores, -1, dtype=self.precision).to(query.dtype)
        if bias is not None:
            weights = weights.masked_fill((bias == -torch.inf).all(-1, keepdim=True), 0)
        seen[3] = weights
        return torch.matmul(weights, value), None if self.shown is None else seen[self.shown]


def _split_heads(x: Tensor, heads: int | None) -> Tensor:
    """[B, S, H·D] → [B, H, S, D]."""
    return x.reshape(*x.shape[:2], heads or 1, -1).transpose(1, 2)


def _merge(mask: Tensor | None, allowed: Tensor | None, query: Tensor) -> Tensor | None:
    """Return what is added to the scores: 0 or the mask's number where a key may be seen, -inf elsewhere."""
    if mask is not None and mask.dtype == torch.bool:
        allowed, mask = (mask if allowed is None else allowed & mask), None
    if allowed is None:
        return mask
    hidden = torch.zeros((), dtype=query.dtype, device=query.device) if mask is None else mask
    return torch.where(allowed, hidden, -torch.inf)


def _attention(node: Node) -> Kernel:
    attributes = node.attributes
    precision = attributes.integer("softmax_precision", 0)
    shown = attributes.integer("qk_matmul_output_mode", 0)
    return _Attention(
        query_heads=attributes.optional_integer("q_num_heads"),
        key_heads=attributes.optional_integer("kv_num_heads"),
        scale=attributes.optional_number("scale"),
        causal=bool(attributes.integer("is_causal", 0)),
        softcap=attributes.number("softcap", 0.0),
        left_window=attributes.integer("left_window_size", -1),
        right_window=attributes.integer("right_window_size", -1),
        precision=torch_dtype(node, precision) if precision not in (0, ir.DataType.FLOAT) else None,
        shown=shown if any(node.outputs[3:]) else None,
    )


def _rotary_embedding(node: Node) -> Kernel:
    """[B, H, S, D] or [B, S, H·D], cosines and sines [T, D/2] or [B, S, D/2], positions [B, S] → rotated.

    Source: J. Su et al., "RoFormer", 2021, equation 34.
    """
    return _rotation(node, heads=node.attributes.integer("num_heads", 0))


def _rotation(node: Node, heads: int) -> Kernel:
    interleaved = bool(node.attributes.integer("interleaved", 0))
    rotated = node.attributes.integer("rotary_embedding_dim", 0)

    def rotate(x: Tensor, cosines: Tensor, sines: Tensor, positions: Tensor | None = None) -> Tensor:
        split = _split_heads(x, heads) if x.dim() == 3 else x
        if positions is not None:
            cosines, sines = cosines[positions], sines[positions]
        cosines, sines = cosines.unsqueeze(1), sines.unsqueeze(1)
        size = rotated or split.shape[-1]
        turned, rest = split[..., :size], split[..., size:]
        one, other = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
        real, imaginary = cosines * one - sines * other, sines * one + cosines * other
        turned = torch.stack((real, imaginary), -1).flatten(-2) if interleaved else torch.cat((real, imaginary), -1)
        y = torch.cat((turned, rest), -1) if rest.shape[-1] else turned
        return y.transpose(1, 2).flatten(2) if x.dim() == 3 else y

    return rotate


OPERATORS: dict[str, Factory] = {
    "Attention": _attention,
    "RotaryEmbedding": _rotary_embedding,
}
