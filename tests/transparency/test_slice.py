"""A slice of `make transparency`: CPython's own tests of some types, on systems of them."""

from __future__ import annotations

import sys

import pytest
from cpython import module_of
from transparency import contracts
from transparency.campaign import MADE_WITH, expected
from transparency.opened import judged, opened, watch

ROWS = ("ChainMap",)


@pytest.mark.skipif(sys.version_info[:2] != MADE_WITH, reason="what is expected was made with another Python's tests")
@pytest.mark.parametrize("name", ROWS)
def test_a_system_passes_the_tests_of_the_type_as_it_did(name: str) -> None:
    module_of("test.list_tests")
    found = {test: each for case in contracts.cases() if case.row == name for test, each in contracts.outcomes(case).items()}
    assert not list(expected()[0][name].worse(found))


def test_each_reason_is_used_and_each_that_is_used_is_there() -> None:
    rows, reasons = expected()
    used = {reason for row in rows.values() for _, reason in row.left.values()}
    assert used == set(reasons)


def test_what_a_test_makes_is_a_system_and_what_a_method_makes_is_not() -> None:
    watch.roots = (__file__,)
    cls = opened(dict)
    with watch.on():
        made = cls(a=1)
        made["b"] = 2
        assert watch.compared() == "" and type(made) is not cls and isinstance(made, cls)
        made._coopy_engine.machine.domain["c"] = 3
        watch.systems.append(made._coopy_control)
        assert watch.compared().startswith("replay: AssertionError")
    assert type(cls(a=1)) is cls


def test_a_failed_assertion_is_silent_and_another_exception_is_loud() -> None:
    assert [judged(error).how for error in (None, AssertionError(), TypeError())] == ["pass", "silent", "loud"]
