"""Every node test of the ``onnx`` package that torchnet's operators are meant for."""

from collections.abc import Callable

import pytest
from conformance import case_operators, implemented_operators, run_case, selected_cases
from conformance_exceptions import EXCEPTIONS

WITHOUT_CASE = frozenset(
    {
        *("ConcatFromSequence", "GlobalLpPool", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
        "SequenceErase",
    }
)
"""Operators for which ``onnx`` has no node test of an opset up to 23; their own tests are in this folder."""


def _marks(name: str) -> list[pytest.MarkDecorator]:
    listed = EXCEPTIONS.get(name)
    return [pytest.mark.xfail(reason=listed.reason, strict=listed.everywhere)] if listed else []


@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in selected_cases()])
def test_an_onnx_node_test_passes(name: str) -> None:
    run_case(selected_cases()[name])


def test_at_least_97_percent_of_the_cases_pass(record_property: Callable[[str, object], None]) -> None:
    # Every case that is not listed has a test above, so the table is the result.
    selected, operators = len(selected_cases()), len(implemented_operators())
    passed = selected - len(EXCEPTIONS)
    for key, value in (("operators", operators), ("cases", selected), ("passed", passed)):
        record_property(key, value)
    print(f"{operators} operators, {selected} cases, {passed} pass, {len(EXCEPTIONS)} listed")  # noqa: T201
    assert passed / selected >= 0.97


def test_every_listed_exception_is_a_selected_case() -> None:
    assert sorted(set(EXCEPTIONS) - set(selected_cases())) == []


def test_enough_operators_are_implemented_and_each_has_a_case_or_is_named() -> None:
    covered = set().union(*(case_operators(case) for case in selected_cases().values()))
    assert len(implemented_operators()) >= 185
    assert len(selected_cases()) >= 1490
    assert implemented_operators() - covered == WITHOUT_CASE
