"""The grammar of shape expressions: what torch writes passes, what Python could execute does not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.intake.shape_expression import is_shape_expression, is_symbol

SYMBOL = "Symbol('s0', positive=True, integer=True)"


@pytest.mark.parametrize(
    "text",
    [
        SYMBOL,
        f"Add({SYMBOL}, Integer(1))",
        "Mul(Integer(2), Symbol('u12', integer=True))",
        f"Pow({SYMBOL}, Integer(2))",
        f"Pow({SYMBOL}, Integer(-1))",
        f"FloorDiv({SYMBOL}, Integer(2))",
        f"Mul(Rational(1, 2), {SYMBOL})",
        f"Mul(Float('1.5', precision=53), ToFloat({SYMBOL}))",
        f"StrictGreaterThan({SYMBOL}, Integer(3))",
        f"Max(1, {SYMBOL})",
        "2*s0 + 1",
        "(s0 - 1)//2 % 3",
        "s0**2*s1",
        "s0 >= 3",
        "~(s0 > 3) & (s1 < 2)",
        "-s0",
        "true",
    ],
)
def test_what_torch_writes_passes(text: str) -> None:
    assert is_shape_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "__import__('os').system('true')",
        "().__class__",
        "s0.__class__",
        "eval('1')",
        "exec",
        "lambda: 1",
        "[s0 for s0 in s0]",
        "(s0 := 1)",
        "s0 if s0 else s0",
        "f'{s0}'",
        "'text'",
        "Symbol('x')",
        "Symbol('s0', positive=1)",
        "Symbol('s0', commutative=True)",
        "Symbol(*'s0')",
        "Symbol('s0', **s0)",
        "Float('1.5')",
        "Float('__import__', precision=53)",
        "Float('1.5', precision=10000)",
        "Function('f')(s0)",
        "Max(s0, key=s0)",
        "FloorDiv(s0, 2)(3)",
        "9**9**9",
        "Pow(Pow(9, 8), 8)",
        "(s0**8)**8",
        "Pow(2, 99999999)",
        "2**s0",
        "PowByNatural(2, s0)",
        "Pow(2)",
        "s0 < s1 < s2",
        "s0 @ s1",
        "s0 << 9999999",
        "99999999999999999999999999",
        "s9999999",
        "1 and 2",
        "s0 #",
        "s0\n+1",
        "ѕ0",
        "(" * 60 + "s0" + ")" * 60,
        "+".join(["s0"] * 600),
        "(s0",
        "s0; s1",
        "1j",
    ],
)
def test_what_python_or_sympy_could_run_away_with_does_not_pass(text: str) -> None:
    assert not is_shape_expression(text)


LEAVES = st.sampled_from(["s0", "s1", "u3", "Integer(2)", "7", SYMBOL])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["Add", "Mul", "FloorDiv", "Mod", "Max"]), inner, inner).map(
            lambda parts: f"{parts[0]}({parts[1]}, {parts[2]})"
        ),
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(EXPRESSIONS)
def test_arithmetic_on_symbols_passes_and_an_attribute_anywhere_in_it_does_not(text: str) -> None:
    assert is_shape_expression(text)
    assert not is_shape_expression(f"{text}.args")
    assert not is_shape_expression(f"Add({text}, open)")
    assert not is_shape_expression(f"Add({text}, __import__('os'))")


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.text(max_size=60))
def test_any_text_gets_an_answer(text: str) -> None:
    assert is_shape_expression(text) in (True, False)


def test_symbols_are_letters_and_digits_of_torch() -> None:
    assert is_symbol("s77")
    assert not is_symbol("s")
    assert not is_symbol("batch")
