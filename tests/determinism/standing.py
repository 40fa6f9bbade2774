"""An action without a system, for tests: what `coopy.ground.running.current` holds while one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from coopy.ground import action
from coopy.ground.running import current

T = TypeVar("T")

INSTANT = 1_700_000_000_123_456_789
"""2023-11-14 22:13:20.123456789 UTC."""
OFFSET = 5400
"""One and a half hours: local time of no place that tests run in."""


class Standing:
    """A machine whose next action runs, for as long as the test likes."""

    def __init__(self, applied: int = 6, secret: bytes = b"s" * 32, deterministic: bool = True, instant: int = INSTANT) -> None:
        self.header = action.header(instant, OFFSET, action.UNKNOWN)
        self.index = applied + 1
        self.secret = secret
        self.draws: object | None = None
        self.deterministic = deterministic
        self.chance: object | None = None


@contextmanager
def action_of(machine: Standing) -> Iterator[None]:
    before, current.machine = current.machine, machine
    try:
        yield
    finally:
        current.machine = before


def inside(function: Callable[[], T], machine: Standing | None = None) -> T:
    """What a function gives as a part of an action."""
    with action_of(machine or Standing()):
        return function()


def as_module(name: str | None, expression: str, **names: Any) -> Callable[[], Any]:
    """A function that evaluates an expression as code of a module of that name would."""
    module = {"__name__": name, **names} if name is not None else dict(names)
    exec(f"def function():\n    return {expression}", module)
    function: Callable[[], Any] = module["function"]
    return function
