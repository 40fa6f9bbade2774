"""What is done when something is raised, whatever it is: each kind of answer once.

Code of the domain, a pickle, a callback may raise anything, and an interrupt comes anywhere. So a handler that catches everything is
needed more often than a narrow one, and says less of why. These say it by their names:

    on_failure     closes, or takes back, what was begun, and lets the exception go on
    telling        the same, where what is done depends on what was raised
    told_as        raises an error of ours in place of what others' code has raised
    attempted      asks others' code, and returns what it raises beside what it returns; what comes from outside goes on
    or_none        the same, where no answer is an answer
    last_resort    has somebody told, and goes on: nobody above could do more
    as_awaited     calls others' code whose end somebody awaits, and raises what can be raised there

They have frames of their own, in which an interrupt may come as well. So they are not used on the way of a call, nor where two handlers
stand around each other because of interrupts (`holding.or_undone` does that once); docs/internals/handlers.md lists the handlers that are written out, and why.

Does not log, and knows no domain.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from coopy.ground.interruption import is_of_the_code

P = ParamSpec("P")
T = TypeVar("T")
Kinds = type[BaseException] | tuple[type[BaseException], ...]


class on_failure:
    """Calls a function if the block does not come to its end; then what was raised, Ctrl-C among it, goes on.

    >>> with on_failure(file.close):
    ...     check_header(file)
    """

    __slots__ = ("_undo", "_args")

    def __init__(self, undo: Callable[..., object], *args: object) -> None:
        self._undo = undo
        self._args = args

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is not None:
            self._undo(*self._args)


class telling:
    """Calls ``told(error, *args)`` with what the block raises, Ctrl-C among it; then that goes on.

    >>> with telling(self._not_taken):
    ...     self.take()
    """

    __slots__ = ("_told", "_args")

    def __init__(self, told: Callable[..., object], *args: object) -> None:
        self._told = told
        self._args = args

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None:
            self._told(error, *self._args)


class told_as:
    """Raises what ``make(error, *args)`` returns in place of an exception of the block, and from it.

    >>> with told_as(undecodable, path):
    ...     return pickle.loads(data)

    ``of``: which exceptions. One that ``make`` returns itself goes on as it is.
    """

    __slots__ = ("_make", "_args", "_of")

    def __init__(self, make: Callable[..., BaseException], *args: object, of: Kinds = Exception) -> None:
        self._make = make
        self._args = args
        self._of = of

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None and isinstance(error, self._of):
            made = self._make(error, *self._args)
            if made is not error:
                try:
                    raise made from error
                finally:
                    del made  # Its traceback has this frame.


class last_resort:
    """Calls ``told(error, *args)`` with an ``Exception`` of the block, and goes on after the block.

    >>> with last_resort(self._not_shipped):
    ...     self.ship()

    ``of``: which exceptions; the end of a thread is told of each.
    """

    __slots__ = ("_told", "_args", "_of")

    def __init__(self, told: Callable[..., object], *args: object, of: Kinds = Exception) -> None:
        self._told = told
        self._args = args
        self._of = of

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if not isinstance(error, self._of):
            return False
        self._told(error, *self._args)
        return True


def attempted(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, None] | tuple[None, Exception]:
    """Returns what a function returns, and None; or None, and the ``Exception`` of its own that it raises.

    What a signal's handler raises goes on.

    >>> found, error = attempted(answers, questions)
    """
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        if not is_of_the_code(error):
            raise
        return None, error  # Of whatever kind: it is others' code.


def as_awaited(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns what a function returns. Raises what it raises; in place of a StopIteration, a RuntimeError from it, as a coroutine does.

    A future can't have a StopIteration, and whoever awaited the end of the thread would wait for ever.

    >>> found = await asyncio.to_thread(as_awaited, answers, questions)
    """
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        raise RuntimeError("a function that is awaited raised StopIteration") from error


def or_none(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Returns what a function returns; None if it raises an ``Exception`` of its own. What a signal's handler raises goes on.

    >>> or_none(pickle.dumps, value)
    """
    return attempted(function, *args, **kwargs)[0]
