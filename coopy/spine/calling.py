"""What every proxy asks of an engine (`Calling`), and what it does around a call.

The engine of one machine fills `Calling`, and so do that of a node, that of ``check=True``, the one under the clock of a test,
and a past state, which keeps nothing. Whoever holds a proxy cannot tell which it is. One suite, tests/contract/test_calling.py,
holds for all of them.

A `Calling` is of one object, so no call carries a key. Where one log has many objects, each with a key, whoever hands out a proxy gives
it a `Calling` that knows its key, ``machine`` is then the state of that object alone, and the generated methods stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

from coopy.errors import CoopyError
from coopy.spine.methods import Function, Method

INSIDE = "__coopy_inside__"
"""The global by which a module says that its frames stand between a caller and a method, and that neither wants to see them."""


class State(Protocol):
    """The state of an object, as a proxy reads it."""

    @property
    def domain(self) -> Any:
        """The plain object."""
        ...

    @property
    def applied(self) -> int:
        """Index of the last action that it holds; no index at all while an action has been applied in part."""
        ...

    @property
    def code(self) -> int:
        """The code version that is enabled; see `coopy.spine.versions`."""
        ...


class Settled(Protocol):
    """How far callers may be told of actions."""

    @property
    def settled(self) -> int:
        """Index of the last action that callers may be told of; -1 once no more are taken."""
        ...


class Answer(Protocol):
    """Where a caller is told how a call has ended."""

    value: Any
    error: BaseException | None


class Call(Answer, Protocol):
    """One of many calls that are taken together: what is called, and then how it has ended."""

    what: Any
    """A `Method`; a function that changes nothing; or None, if nobody waits for the call any more."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Calling(Protocol):
    """Takes the calls of one object.

    A proxy may answer a read by itself: with the lock held, while ``machine.applied == log.settled``, any function
    of ``machine.domain`` that changes nothing may be run and its result be told. In every other case it calls `read`.
    """

    @property
    def proxy(self) -> Any:
        """What the domain object is called outside: returned in its place."""
        ...

    @property
    def gives_parts(self) -> bool:
        """Whether an attribute that holds an object is read as a part of the state, whose changes are recorded: see `coopy.spine.parts`."""
        ...

    @property
    def machine(self) -> State: ...

    @property
    def log(self) -> Settled: ...

    @property
    def looks_at_reads(self) -> bool:
        """Whether each read has to be a call of `read`: then a proxy answers none by itself."""
        ...

    @property
    def acquire(self) -> Callable[..., bool]:
        """Takes the lock, as `threading.RLock.acquire` does. A proxy takes it by hand, and calls `unwind` when anything is raised."""
        ...

    @property
    def release(self) -> Callable[[], None]: ...

    def unwind(self) -> None:
        """Gives back what the caller has of the lock, after something was raised. Does nothing the second time."""
        ...

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Runs a method as an action, and returns what it returns once that may be told.

        Raises what the method raises, and a `CoopyError` if the call could not be recorded or it can't be known whether it was. A call from inside
        an action is a part of that action. Without ``wait`` it may return earlier, and the caller waits itself.
        """
        ...

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Runs a function of the domain object that changes nothing, between two actions. Returns what it returns once all that it could see may be told."""
        ...

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Like `read`, but without taking the lock: it may run while an action runs."""
        ...

    def begin_all(self, calls: Sequence[Call]) -> Any:
        """Takes calls in order; what is true of each is what is true of one that comes alone.

        Each gets its value, or what it has raised. Nobody is told before what this returns is `settled`.
        """
        ...

    def settled(self, begun: Any, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        """Yields the calls that `begin_all` has begun, in parts, each as soon as its callers may be told. Raises what keeps it from that."""
        ...


def begin_each(calling: Calling, calls: Sequence[Call]) -> None:
    """Takes calls in order, each by itself: for what gains nothing by taking many together. Nothing is waited for."""
    for each in calls:
        with answering(each):
            if type(each.what) is Method:
                each.value = calling.call(each.what, each.args, each.kwargs, False)
            elif each.what is not None:
                each.value = calling.read(each.what, each.args, each.kwargs, False)


class answering:
    """Has what the block raises, whatever it is, raised where the call is waited for; the calls after it go on."""

    __slots__ = ("_call",)

    def __init__(self, call: Answer) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if error is not None:
            self._call.error = error
        return True


def without_our_frames(error: BaseException) -> BaseException:
    """Returns the domain's own exception with the domain's part of its traceback alone; an error of coopy keeps what it has.

    The frames of modules that have the global `INSIDE` are left out up to the first that is not ours.
    """
    if isinstance(error, CoopyError):
        return error
    return error.with_traceback(_behind_ours(error.__traceback__))


def without_catching_frame(error: BaseException) -> BaseException:
    """Returns what `without_our_frames` does; an error of coopy loses the frame that has caught it, whose thread is another one."""
    if isinstance(error, CoopyError):
        traceback = error.__traceback__
        return error.with_traceback(traceback and traceback.tb_next)
    return without_our_frames(error)


def _behind_ours(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and INSIDE in traceback.tb_frame.f_globals:
        traceback = traceback.tb_next
    return traceback
