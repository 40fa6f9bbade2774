"""The domain object and the index it has reached: the only place where domain methods run as actions.

One call as it comes (`apply`) and many as they were recorded (`replay`) do the
same with the same inputs; `replay` only keeps the bookkeeping out of its loop.
What an action may depend on is the state, its arguments, and the clock and env,
which answer from the record's header and the index.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, GeneratorType
from typing import Any, cast

from coopy import action
from coopy.clock import clock
from coopy.decorators import ABORT_EXCEPTION, TRANSACTIONAL
from coopy.env import env
from coopy.errors import MissingMethod, ReplayDiverged
from coopy.moment import current

Function = Callable[..., Any]

NOTHING_FOLLOWS = action.header(0, 0, action.UNKNOWN)


INTERRUPTIONS = (MemoryError, RecursionError)
"""Exceptions that say more of the process than of the action: the machine is rebuilt after one."""


class Machine:
    """A domain object at an index."""

    __slots__ = ("domain", "applied", "header", "outcome", "secret", "running", "draws", "functions")

    def __init__(self, domain: Any, applied: int, header: bytes, secret: bytes) -> None:
        self.domain = domain
        self.applied = applied
        """Index of the last action that was applied."""
        self.header = header
        """Header of the action that runs, or ran last."""
        self.outcome = header[action.OUTCOME]
        """How the last action ended."""
        self.secret = secret
        self.running = False
        self.draws: object | None = None
        self.functions = Functions(type(domain))
        equip(domain)

    def apply(self, header: bytes, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the next action. Raises what it raises.

        If that is an interruption the state is not known any more, and ``applied`` stays behind.
        """
        before = current.machine
        current.machine = self
        self.header = header
        self.running = True
        try:
            result = function(self.domain, *args, **kwargs) if kwargs else function(self.domain, *args)
            if type(result) is GeneratorType:
                result = iter(list(result))
        except INTERRUPTIONS:
            raise
        except Exception:
            self.outcome = action.RAISED
            self.applied += 1
            raise
        finally:
            self.running = False
            current.machine = before
        self.outcome = action.RETURNED
        self.applied += 1
        return result

    def replay(
        self,
        headers: list[bytes],
        calls: list[Any],
        following: bytes,
        decode: Callable[[bytes], tuple[Any, ...]],
        where: Callable[[int], str],
        withdrawn: int,
    ) -> bool:
        """Runs recorded actions; ``following`` is the header after the last of them.

        Skips those recorded as withdrawn, and the one whose index is ``withdrawn``. Returns
        whether the last one raised, its recorded outcome is not known, and its method's mark
        says that it is to be withdrawn. Raises `ReplayError` at the first that does not fit.
        """
        functions, domain, index = self.functions, self.domain, self.applied
        outcome = self.outcome
        recorded = action.UNKNOWN
        function: Function | None = None
        before = current.machine
        current.machine = self
        self.running = True
        try:
            for header, call, after in zip(headers, calls, [*headers[1:], following]):
                if call is None:
                    continue
                recorded = after[12]  # action.OUTCOME
                if recorded == 3 or index + 1 == withdrawn:  # action.WITHDRAWN
                    index += 1
                    outcome = 3
                    self.applied = index
                    continue
                if type(call) is not tuple:
                    call = decode(call)
                name = call[0]
                try:
                    function = functions[name]
                except KeyError:
                    raise MissingMethod(index + 1, name, where(index + 1), type(domain).__qualname__) from None
                self.header = header
                error = None
                try:
                    if len(call) == 2:
                        result = function(domain, *call[1])
                    else:
                        result = function(domain, *call[1], **call[2])
                    if type(result) is GeneratorType:
                        list(result)
                    outcome = 1  # action.RETURNED
                except (KeyboardInterrupt, MemoryError):
                    raise
                except BaseException as raised:
                    error = raised
                    outcome = 2  # action.RAISED
                index += 1
                if recorded != outcome and recorded:
                    raise self._diverged(index, name, where, recorded, outcome, error) from error
                self.applied = index
        finally:
            self.running = False
            current.machine = before
            self.outcome = outcome
        return outcome == action.RAISED and recorded == action.UNKNOWN and is_withdrawing(function)

    def _diverged(
        self,
        index: int,
        method: str,
        where: Callable[[int], str],
        recorded: int,
        outcome: int,
        error: BaseException | None,
    ) -> ReplayDiverged:
        detail = f" ({type(error).__name__}: {error})" if error is not None else ""
        names = action.OUTCOMES
        return ReplayDiverged(index, method, where(index), names[recorded], names[outcome], detail)


class Functions(dict[str, Function]):
    """The functions of a domain class by the name that an action carries."""

    def __init__(self, cls: type) -> None:
        super().__init__()
        self._cls = cls

    def __missing__(self, name: str) -> Function:
        for base in self._cls.__mro__:
            if name in vars(base):
                function = method_of(self._cls, name, vars(base)[name])
                if function is not None:
                    self[name] = function
                    return function
                break
        raise KeyError(name)


def method_of(cls: type, name: str, member: Any) -> Function | None:
    """What calls a member of a class on an object, or None if the member is not a method."""
    if isinstance(member, FunctionType):
        return member
    if isinstance(member, (staticmethod, classmethod, type)) or not hasattr(type(member), "__get__"):
        return None
    if callable(member):
        return cast(Function, member)  # Of C, or of a decorator.
    if hasattr(type(member), "__set__") or not callable(getattr(cls, name, None)):
        return None  # A property, a slot, a cached property.

    def method(domain: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(domain, name)(*args, **kwargs)  # functools.partialmethod and its like.

    return method


def is_withdrawing(function: object) -> bool:
    """Whether a raising call of the function is withdrawn."""
    return bool(getattr(function, ABORT_EXCEPTION, False) or getattr(function, TRANSACTIONAL, False))


def equip(domain: Any) -> None:
    """Gives the domain its ``_clock`` and ``_env``; its class, if the object takes no attributes."""
    for name, value in (("_clock", clock), ("_env", env)):
        try:
            object.__setattr__(domain, name, value)
        except (AttributeError, TypeError):
            if getattr(domain, name, None) is not value:
                setattr(type(domain), name, value)


def construct(cls: type, header: bytes, secret: bytes) -> Any:
    """A new domain object, its ``__init__`` run with a clock and an env as if it were an action."""
    if type(cls).__call__ is not type.__call__:
        return cls()
    domain = cls.__new__(cls)
    if not isinstance(domain, cls):
        return domain
    machine = Machine(domain, -1, header, secret)
    before, current.machine = current.machine, machine
    try:
        domain.__init__()
    finally:
        current.machine = before
    return domain
