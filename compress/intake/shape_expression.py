"""The grammar of shape expressions in a ``torch.export`` archive.

PyTorch hands them to ``sympy.sympify``, which evaluates Python. Only what ``torch.export.save`` writes passes: SymPy's
constructors by name (``Mul(Integer(2), Symbol('s0', positive=True, integer=True))``) and plain arithmetic on symbols
(``2*s0 + 1``), small enough to be evaluated at once.
"""

import ast
import re

_SYMBOL = re.compile(r"(?:s|u|zf|zuf)\d{1,6}")
_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:e[+-]?\d{1,3})?")
_TEXT = re.compile(r"[A-Za-z0-9_ '\"+\-*/%(),.<>=!&|~]{1,8192}")

_MOST_NODES = 1000
_DEEPEST = 40
_LARGEST_INTEGER = 2**63
_LARGEST_EXPONENT = 8

_CONSTANTS = frozenset({"true", "false", "oo", "int_oo"})

_FUNCTIONS = frozenset({
    "Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Equality", "Float", "FloatTrueDiv", "FloorDiv",
    "FloorToInt", "Ge", "GreaterThan", "Gt", "Identity", "IntTrueDiv", "Integer", "IsNonOverlappingAndDenseIndicator",
    "Le", "LessThan", "Lt", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not", "Or", "Pow", "PowByNatural",
    "PythonMod", "Rational", "RoundDecimal", "RoundToInt", "StrictGreaterThan", "StrictLessThan", "Symbol", "ToFloat",
    "TruncToFloat", "TruncToInt", "Unequality", "Where", "ceiling", "floor",
})  # fmt: skip

_POWERS = frozenset({"Pow", "PowByNatural"})

_ASSUMPTIONS = frozenset({"positive", "nonnegative", "integer", "real", "finite", "zero", "negative", "nonzero"})

_OPERATORS = (
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.BitAnd,
    ast.BitOr,
    ast.UAdd,
    ast.USub,
    ast.Invert,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
)


def is_symbol(name: str) -> bool:
    """Return whether this is how ``torch.export`` names a size: ``s0``, ``u12``.

    >>> is_symbol("s0"), is_symbol("s0.__class__")
    (True, False)
    """
    return _SYMBOL.fullmatch(name) is not None


def is_shape_expression(text: str) -> bool:
    """Return whether SymPy may evaluate this text.

    >>> is_shape_expression("Mul(Integer(2), Symbol('s0', positive=True, integer=True))")
    True
    >>> is_shape_expression("__import__('os').getcwd()")
    False
    """
    if _TEXT.fullmatch(text) is None or not _nests_shallowly(text):
        return False
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return sum(1 for _ in ast.walk(tree)) <= _MOST_NODES and _is_allowed(tree)


def _nests_shallowly(text: str) -> bool:
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest <= _DEEPEST


def _is_allowed(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            allowed = _is_small_number(value)
        case ast.Name(id=name):
            allowed = is_symbol(name) or name in _CONSTANTS
        case ast.UnaryOp(op=operator, operand=operand):
            allowed = isinstance(operator, _OPERATORS) and _is_allowed(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            allowed = _is_small_power(left, right)
        case ast.BinOp(left=left, op=operator, right=right):
            allowed = isinstance(operator, _OPERATORS) and _is_allowed(left) and _is_allowed(right)
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            allowed = isinstance(operator, _OPERATORS) and _is_allowed(left) and _is_allowed(right)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            allowed = name in _FUNCTIONS and _is_allowed_call(name, args, keywords)
        case _:
            allowed = False
    return allowed


def _is_allowed_call(name: str, args: list[ast.expr], keywords: list[ast.keyword]) -> bool:
    if name == "Symbol":
        return _is_symbol_call(args, keywords)
    if name == "Float":
        return _is_float_call(args, keywords)
    if keywords:
        return False
    if name in _POWERS:
        return len(args) == 2 and _is_small_power(args[0], args[1])
    return all(_is_allowed(argument) for argument in args)


def _is_symbol_call(args: list[ast.expr], keywords: list[ast.keyword]) -> bool:
    match args:
        case [ast.Constant(value=str(name))]:
            return is_symbol(name) and all(
                keyword.arg in _ASSUMPTIONS and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                for keyword in keywords
            )
    return False


def _is_float_call(args: list[ast.expr], keywords: list[ast.keyword]) -> bool:
    match args, keywords:
        case [ast.Constant(value=str(digits))], [ast.keyword(arg="precision", value=ast.Constant(value=int(bits)))]:
            return _NUMBER.fullmatch(digits) is not None and 1 <= bits <= 128
    return False


def _is_small_number(value: object) -> bool:
    return isinstance(value, bool | int | float) and abs(value) <= _LARGEST_INTEGER


def _is_small_power(base: ast.expr, exponent: ast.expr) -> bool:
    """Return whether the power stays small: a literal exponent, and no power inside the base."""
    raised = any(
        isinstance(node, ast.Pow) or (isinstance(node, ast.Name) and node.id in _POWERS) for node in ast.walk(base)
    )
    return not raised and _is_allowed(base) and _is_small_integer(exponent)


def _is_small_integer(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="Integer"), args=[inner], keywords=[]):
            return _is_small_integer(inner)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_small_integer(operand)
        case ast.Constant(value=int(value)):
            return abs(value) <= _LARGEST_EXPONENT
    return False
