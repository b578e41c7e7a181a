"""A ``torch.export`` program, checked against PyTorch's own schema, value by value.

PyTorch's loader trusts the JSON: it evaluates shape expressions, resolves operators by ``getattr``, imports the modules
that a container description names, writes names into Python source and executes that. Nothing of the kind passes here.
The copy that comes out holds only fields of PyTorch's schema (:mod:`torch._export.serde.schema`), each of exactly its
declared type, and every text has a rule; a field without a rule is refused, so that a newer schema fails closed.
"""

import dataclasses
import functools
import json
import keyword
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from compress.errors import ModelError
from compress.intake.operators import is_allowed_operator
from compress.intake.shape_expression import is_shape_expression, is_symbol
from compress.model import JsonValue

_HINT = "Do not use this file unless you know where it comes from; save the model again with `torch.export.save`."

_DOTTED = re.compile(r"(?!__)[\w\-]+(?:\.(?!__)[\w\-]+)*")
_WORD = re.compile(r"[\w.+<=\-]{0,64}", re.ASCII)
_CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})


def _is_identifier(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text) and len(text) <= 512


def _is_argument(text: str) -> bool:
    return text == "" or (text.isidentifier() and len(text) <= 512)


def _is_dotted(text: str) -> bool:
    return _DOTTED.fullmatch(text) is not None and len(text) <= 1024


def _is_optional_dotted(text: str) -> bool:
    return text == "" or _is_dotted(text)


def _is_word(text: str) -> bool:
    return _WORD.fullmatch(text) is not None


def _is_any(text: str) -> bool:  # noqa: ARG001 (a rule like the others)
    return True


def _is_input_spec(text: str) -> bool:
    """Return whether the inputs are plain containers whose keys are identifiers: they end up in generated source."""
    return _is_container_spec(text, _is_identifier)


def _is_output_spec(text: str) -> bool:
    return _is_container_spec(text, _is_any)


def _is_container_spec(text: str, key_rule: "Rule") -> bool:
    """Return whether this describes plain tuples, lists and dicts; others make PyTorch import modules."""
    try:
        version, spec = json.loads(text)
        return version == 1 and _is_plain_container(spec, key_rule)
    except (ValueError, TypeError, RecursionError):
        return False


def _is_plain_container(spec: object, key_rule: "Rule") -> bool:
    if not isinstance(spec, dict) or set(spec) != {"type", "context", "children_spec"}:
        return False
    children = spec["children_spec"]
    if not isinstance(children, list) or not all(_is_plain_container(child, key_rule) for child in children):
        return False
    if spec["type"] is None:
        return spec["context"] is None and not children
    if spec["type"] not in _CONTAINERS or not isinstance(spec["context"], str):
        return False
    keys = json.loads(spec["context"])
    return keys is None or (
        isinstance(keys, list) and all((isinstance(key, str) and key_rule(key)) or type(key) is int for key in keys)
    )


Rule = Callable[[str], bool]

_TEXTS: Mapping[str, Rule] = {
    "Argument.as_operator": is_allowed_operator,
    "Argument.as_string": _is_any,
    "Argument.as_strings": _is_any,
    "BufferMutationSpec.buffer_name": _is_dotted,
    "ConstantValue.as_string": _is_any,
    "Device.type": _is_word,
    "ExportedProgram.torch_version": _is_word,
    "ExportedProgram.verifiers": _is_word,
    "GradientToParameterSpec.parameter_name": _is_dotted,
    "GradientToUserInputSpec.user_input_name": _is_identifier,
    "GraphArgument.name": _is_identifier,
    "InputToBufferSpec.buffer_name": _is_dotted,
    "InputToConstantInputSpec.name": _is_identifier,
    "InputToParameterSpec.parameter_name": _is_dotted,
    "InputToTensorConstantSpec.tensor_constant_name": _is_dotted,
    "ModuleCallEntry.fqn": _is_optional_dotted,
    "ModuleCallSignature.forward_arg_names": _is_identifier,
    "ModuleCallSignature.in_spec": _is_input_spec,
    "ModuleCallSignature.out_spec": _is_output_spec,
    "NamedArgument.name": _is_argument,
    "Node.name": _is_identifier,
    "Node.target": is_allowed_operator,
    "ParameterMutationSpec.parameter_name": _is_dotted,
    "PayloadMeta.path_name": _is_word,
    "SymBoolArgument.as_name": _is_identifier,
    "SymExpr.expr_str": is_shape_expression,
    "SymFloatArgument.as_name": _is_identifier,
    "SymIntArgument.as_name": _is_identifier,
    "TensorArgument.name": _is_identifier,
    "UserInputMutationSpec.user_input_name": _is_identifier,
}

_KEYS: Mapping[str, Rule] = {
    "ExportedProgram.opset_version": _is_word,
    "ExportedProgram.range_constraints": is_symbol,
    "Graph.sym_bool_values": _is_identifier,
    "Graph.sym_float_values": _is_identifier,
    "Graph.sym_int_values": _is_identifier,
    "Graph.tensor_values": _is_identifier,
    "PayloadConfig.config": _is_dotted,
}

_EMPTIED: Mapping[str, JsonValue] = {
    "ExportedProgram.guards_code": [],
    "GraphModule.metadata": {},
    "GraphModule.treespec_namedtuple_fields": {},
    "Node.metadata": {},
}
"""Fields that PyTorch executes, imports or prints, and that a graph computes the same without."""

_REFUSED: Mapping[str, str] = {
    "Argument.as_custom_obj": "a custom object",
    "Argument.as_string_to_argument": "a Triton kernel",
    "InputSpec.custom_obj": "a custom object",
    "InputSpec.token": "an operator with side effects",
    "OutputSpec.token": "an operator with side effects",
}

_NAMES: Mapping[Rule, str] = {
    is_allowed_operator: "operator",
    is_shape_expression: "shape expression",
    is_symbol: "symbol",
    _is_input_spec: "structure of inputs",
    _is_output_spec: "structure of outputs",
}


def clean_program(raw: object) -> dict[str, JsonValue]:
    """Return a safe copy of the JSON of an exported program; devices become ``cpu``.

    Raises:
        ModelError: A value that is not of PyTorch's schema, or a text that could make PyTorch run code.
    """
    from torch._export.serde import schema

    return _as_dict(_clean(schema.ExportedProgram, raw, "ExportedProgram"))


def clean_payloads(raw: object) -> dict[str, JsonValue]:
    """Return a safe copy of the JSON that says where weights or constants lie.

    Raises:
        ModelError: As :func:`clean_program`.
    """
    from torch._export.serde import schema

    return _as_dict(_clean(schema.PayloadConfig, raw, "PayloadConfig"))


def _as_dict(value: JsonValue) -> dict[str, JsonValue]:
    return typing.cast("dict[str, JsonValue]", value)


def _clean(declared: Any, value: object, where: str) -> JsonValue:
    if get_origin(declared) is Annotated:
        return _clean(get_args(declared)[0], value, where)
    if get_origin(declared) in (Union, types.UnionType):
        inner = next(kind for kind in get_args(declared) if kind is not type(None))
        return None if value is None else _clean(inner, value, where)
    if get_origin(declared) is list:
        return [_clean(get_args(declared)[0], item, where) for item in _expect(list, value, where)]
    if get_origin(declared) is dict:
        return _clean_dict(get_args(declared)[1], _expect(dict, value, where), where)
    if isinstance(declared, type) and dataclasses.is_dataclass(declared):
        return _clean_record(declared, _expect(dict, value, where))
    return _clean_leaf(declared, value, where)


def _clean_dict(declared: Any, value: dict[str, object], where: str) -> JsonValue:
    if not value:
        return {}
    for key in value:
        _check_text(_KEYS.get(where), key, where)
    return {key: _clean(declared, item, where) for key, item in value.items()}


def _clean_record(record: Any, value: dict[str, object]) -> JsonValue:
    _check_complete(record, value)
    cleaned: dict[str, JsonValue] = {}
    for name, declared in _fields(record).items():
        where = f"{record.__name__}.{name}"
        if name not in value:
            continue
        if where in _REFUSED:
            raise ModelError(f"the archive wants {_REFUSED[where]}, which cannot be loaded safely", hint=_HINT)
        cleaned[name] = _EMPTIED[where] if where in _EMPTIED else _clean(declared, value[name], where)
    return {"type": "cpu", "index": None} if record.__name__ == "Device" else cleaned


def _check_complete(record: Any, value: dict[str, object]) -> None:
    """Refuse a union of other than one member, and a record without a field that has no default."""
    from torch._export.serde.union import _Union

    known = set(_fields(record))
    if issubclass(record, _Union):
        complete = len(value) == 1 and set(value) <= known
    else:
        complete = all(
            field.name in value
            for field in dataclasses.fields(record)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
    if not complete:
        raise ModelError(f"the archive's `{record.__name__}` is not complete", hint=_HINT)


def _clean_leaf(declared: Any, value: object, where: str) -> JsonValue:
    if declared is str and isinstance(value, str):
        _check_text(_TEXTS.get(where), value, where)
        return value
    if declared is float and value in ("Infinity", "-Infinity", "NaN"):
        return value
    for kind, accepted in _LEAVES:
        if isinstance(declared, type) and issubclass(declared, kind):
            return typing.cast("JsonValue", _expect(accepted, value, where))
    raise ModelError(f"the archive's schema has a field `{where}` that this version does not know", hint=_HINT)


_LEAVES: tuple[tuple[type, type | tuple[type, ...]], ...] = (
    (str, str),
    (bool, bool),
    (int, int),
    (float, (int, float)),
)


def _check_text(rule: Rule | None, text: str, where: str) -> None:
    if rule is not None and rule(text):
        return
    what = "text" if rule is None else _NAMES.get(rule, "name")
    raise ModelError(
        f"the archive holds a forbidden {what} (`{where}`): `{_shorten(text)}`",
        hint=_HINTS.get(rule, "It could run as code while PyTorch loads it. " + _HINT) if rule else _HINT,
    )


_HINTS: Mapping[Rule, str] = {
    is_allowed_operator: "Only PyTorch's own tensor operators (torch.ops.aten) are loaded from a file; export the "
    "model to ONNX where its custom operators are at hand, and give that.",
    _is_input_spec: "Export a module that takes tensors, or plain tuples, lists and dicts of them.",
    _is_output_spec: "Export a module that returns tensors, or plain tuples, lists and dicts of them.",
}


def _shorten(text: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= 80 else f"{printable[:77]}..."


def _expect(kind: Any, value: object, where: str) -> Any:
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ModelError(f"the archive's `{where}` is of type {type(value).__name__}, against its schema", hint=_HINT)


@functools.cache
def _fields(record: Any) -> dict[str, Any]:
    from torch._export.serde import schema

    hints = typing.get_type_hints(record, globalns=vars(schema))
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}
