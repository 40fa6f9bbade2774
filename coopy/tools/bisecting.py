"""The first action after which something is true of the state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from coopy import PrunedPast, UsageError
from coopy.ground.raised import last_resort, told_as
from coopy.ground.words import shown
from coopy.past.reading import Reading
from coopy.spine.machine import Machine

Progress = Callable[[int, int], object]
"""Given the actions done and the actions in all."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where an expression became true."""

    index: int | None
    """The first action after which it was true; None if there is none. That of the first state, if it was true there."""
    was_true_before: bool
    """Whether it was true of the state that the search began with."""
    problem: str
    """What the expression raised last, if it never was true; "" if it did not."""


class _Found(Exception):
    """Ends the replay."""


class _Looks:
    """Evaluates the expression after each action."""

    def __init__(self, expression: str, first: int, last: int) -> None:
        # Any text may come in: what compile() raises of it is said as it is.
        with told_as(_no_expression, expression, of=(SyntaxError, ValueError, RecursionError, MemoryError)):
            self._code = compile(expression, "EXPRESSION", "eval")
        self._first = first
        self.stops = range(first, last + 1)
        self._problem = ""
        self.turn = Turn(None, False, "")

    def visit(self, machine: Machine) -> None:
        """Raises `_Found` where the expression is true."""
        value, self._problem = False, ""
        with last_resort(self._raised):
            value = bool(eval(self._code, {"state": machine.domain}))
        if value:
            self.turn = Turn(machine.applied, machine.applied == self._first, "")
            raise _Found
        self.turn = Turn(None, False, self._problem)

    def _raised(self, error: Exception) -> None:
        # What is not there yet makes an expression raise, whatever that is: then it is not true.
        self._problem = f"{type(error).__name__}: {error}"


def _no_expression(error: BaseException, expression: str) -> UsageError:
    return UsageError(
        f"{shown(expression)} is no expression of Python: {error}. The state is called `state`, as in `len(state.pages) > 3`."
    )


def bisect(reading: Reading, expression: str, first: int, last: int | None, progress: Progress | None = None) -> Turn:
    """Finds the first action, from ``first`` to ``last`` (None: the newest), after which an expression of Python is true.

    The expression is evaluated after each action of one replay, so it need not stay true once it is, as it would have to if the search
    went by halves. ``state`` is the domain object; the expression must not change it. Where it raises it counts as not true. Raises
    `UsageError` for what is no expression, and what `Reading.machine` raises.
    """
    newest = reading.log.last
    last = newest if last is None else min(last, newest)
    looks = _Looks(expression, first, last)
    base = max((each for each in reading.snapshots.indexes() if each <= first), default=None)
    if base is None:
        raise PrunedPast(f"the state after action {first}", min(reading.snapshots.indexes(), default=0))
    with suppress(_Found):
        reading.machine_from(base, last, looks.stops, looks.visit, progress=progress)
    return looks.turn
