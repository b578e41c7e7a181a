"""Which operators a PyTorch file may call.

PyTorch resolves names in a file by ``getattr``: ``torch.load`` would do as an operator. And some true operators reach
beyond tensors: ``aten::from_file`` and ``aten::save`` open files.
"""

import re

_TENSOR_OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.(\w+)\.(\w+)", re.ASCII)

_HIGHER_ORDER = frozenset(
    f"torch.ops.higher_order.{name}"
    for name in ("cond", "while_loop", "scan", "map_impl", "wrap_with_set_grad_enabled", "wrap_with_autocast")
)

_SCALAR_OPERATORS = frozenset(
    [
        *(f"_operator.{name}" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos")),
        *(f"_operator.{name}" for name in ("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "lshift", "rshift")),
        "_operator.getitem",
        *(f"math.{name}" for name in ("ceil", "floor", "trunc", "sqrt")),
        *(f"torch.sym_{name}" for name in ("int", "float", "not", "ite", "max", "min", "sqrt")),
    ]
)

_TEXT_ARGUMENTS = frozenset({
    "UPLO", "activation", "approximate", "assert_msg", "driver", "equation", "indexing", "interpolation", "mode",
    "norm", "ord", "p", "padding", "padding_side", "pad_mode", "reduce", "rounding_mode", "side",
})  # fmt: skip
"""Names of the text arguments that pick a variant; any other text argument may be a file name."""

_UNCHECKED = frozenset({"_reshape_alias", "_reshape_alias_copy", "from_blob", "set_data"})
"""Operators that reinterpret memory without looking at its bounds."""

_SCRIPT_WORDS = re.compile(
    rb"\b(?:save|from_file|_reshape_alias\w*|rpc_\w+|\w*c10d\w*|symm_mem|profiler)\b"
    rb"|(?<![\w.])ops\s*\.\s*(?!(?:aten|prim|prims|quantized|_quantized)\b)\w+"
    rb"|\btorch\W{1,9}classes\W{1,9}(?!(?:quantized|rnn|sparse)\b)\w+"
)


def is_allowed_operator(target: str) -> bool:
    """Return whether an exported program may call this target: it computes on tensors and sizes, and nothing else.

    >>> is_allowed_operator("torch.ops.aten.conv2d.default"), is_allowed_operator("torch.load")
    (True, False)
    """
    if target in _SCALAR_OPERATORS or target in _HIGHER_ORDER:
        return True
    match = _TENSOR_OPERATOR.fullmatch(target)
    return match is not None and match[2] not in _UNCHECKED and _has_safe_schema(match[1], match[2], match[3])


def find_forbidden_word(script: bytes) -> str | None:
    """Return the first word of TorchScript source by which it would reach files, the network or foreign classes.

    The words are looked for in the raw text, whatever they mean there: a parser of ours might read it otherwise than
    TorchScript's does.
    """
    match = _SCRIPT_WORDS.search(script)
    return None if match is None else match[0].decode("ascii", "replace")


def _has_safe_schema(namespace: str, name: str, overload: str) -> bool:
    import torch

    wanted = "" if overload == "default" else overload
    schemas = torch._C._jit_get_schemas_for_operator(f"{namespace}::{name}")  # noqa: SLF001 (no public way)
    return any(
        schema.overload_name == wanted
        and all("str" not in str(argument.type) or argument.name in _TEXT_ARGUMENTS for argument in schema.arguments)
        for schema in schemas
    )
