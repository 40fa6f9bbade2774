"""A slice of `make transparency`: CPython's own tests of some types, on systems of them."""

from __future__ import annotations

from transparency.opened import judged, opened, watch


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
