"""The context of decimal arithmetic in an action: the same in every thread and every process.

Precision and rounding are those of the thread that calculates, so a call from a thread of a web server and its replay in the
main thread came to different states. An action runs in a context of its own, with the values that Python begins with (28 digits,
ROUND_HALF_EVEN); a method that wants others says so, with `decimal.localcontext` or by setting them, and the next action begins anew.

Setting a context takes 0.2 us, a tenth of a call that does nothing else, so it is done only where decimals may be used: by a domain
in whose modules, or those that these import, `decimal` is named, or once one was met in an argument or a state. `used` says so, for the
process and for good.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from coopy.ground.running import current

NAME = "decimal:Decimal"
"""How stored bytes name the class."""

_MODULES_MAX = 1000  # A program that imports more than this is not searched to its end: opening must not take seconds.


def _first_get() -> Any:
    # `decimal` takes two milliseconds to be imported, and few need it.
    import decimal

    used.get, used.set = decimal.getcontext, decimal.setcontext
    return used.get()


class _Used:
    here = False
    get: Callable[[], Any] = staticmethod(_first_get)
    set: Callable[[Any], object]


used = _Used()
"""Whether decimals may be used in this process: its attribute ``here``. And how the context of this thread is read and set."""

_looked_at: set[type] = set()
_fixed: list[Any] = []


def met() -> None:
    """A decimal was met."""
    used.here = True


def look_at(cls: type) -> None:
    """Finds out whether a domain class may use decimals."""
    if not used.here and cls not in _looked_at:
        _looked_at.add(cls)
        used.here = _names_decimal(cls)


def look_for(arguments: Iterable[Any]) -> None:
    """Finds out whether there is a decimal in what is to be decoded."""
    if any(type(each) is bytes and b"Decimal" in each for each in arguments):
        met()


def outer() -> Any:
    """Returns the context that is set now, which `begin` and `end` are to be given."""
    return used.get()


def begin(before: Any) -> None:
    """Sets the context of an action. ``before`` is what `outer` has returned."""
    here = current.__dict__
    found = here.get("context")
    if found is None or found[1] or found[0] is before:
        found = here["context"] = _new()
    used.set(found[0])


def end(before: Any) -> None:
    """Sets the context that was there before."""
    used.set(before)


def renewing(arguments: Iterable[Any]) -> Iterator[Any]:
    """The arguments of actions in order: before each is asked for, what the action before has set is undone."""
    here, get = current.__dict__, used.get
    for each in arguments:
        context, spoiled = here["context"]
        if spoiled or get() is not context:
            renew()
        yield each


def renew() -> None:
    """Sets a new context: the action before has changed or replaced that of this thread."""
    current.__dict__["context"] = found = _new()
    used.set(found[0])


def _new() -> tuple[Any, list[bool]]:
    """Returns a context, and the list that it fills when it is changed: to ask the context itself takes longer than an action."""
    import decimal

    if not _fixed:

        class Fixed(decimal.Context):
            """Notes when it is changed."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__setattr__("spoiled", [])
                super().__init__(*args, **kwargs)
                self.spoiled.clear()

            def __setattr__(self, name: str, value: Any) -> None:
                self.spoiled.append(True)
                super().__setattr__(name, value)

            def __getattribute__(self, name: str) -> Any:
                if name in ("traps", "flags", "clear_traps", "clear_flags"):
                    super().__getattribute__("spoiled").append(True)
                return super().__getattribute__(name)

            def __reduce__(self) -> Any:
                return decimal.Context, super().__reduce__()[1]

        _fixed.append(Fixed)
    traps = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
    context = _fixed[0](28, decimal.ROUND_HALF_EVEN, -999999, 999999, 1, 0, [], traps)
    return context, context.spoiled


# -- who may use decimals


def _names_decimal(cls: type) -> bool:
    """Whether the modules of a class, or those that they import, name decimal. Those of the standard library are not looked into."""
    pending = [base.__module__ for base in cls.__mro__]
    seen: set[str] = set()
    while pending and len(seen) < _MODULES_MAX:
        name = pending.pop()
        module = sys.modules.get(name)
        package = name.partition(".")[0]
        if module is None or name in seen or package == "coopy":
            continue
        seen.add(name)
        if package in sys.stdlib_module_names and package != "__main__":
            continue
        for value in list(vars(module).values()):
            other = vars(value)["__name__"] if type(value) is ModuleType else _module_of(value)
            if other in ("decimal", "_decimal", "_pydecimal"):
                return True
            pending.append(other)
            if other == name and any(map(_code_names_decimal, _codes(value))):
                return True
    return any(_code_names_decimal(code) for base in cls.__mro__ for code in _codes(base))


def _module_of(value: object) -> str:
    kind = type(value)
    found = getattr(value if issubclass(kind, (type, FunctionType)) else kind, "__module__", "")
    return found if isinstance(found, str) else ""


def _codes(value: object) -> Iterator[CodeType]:
    # Other objects are not asked for anything: they may answer what they like.
    kind = type(value)
    if issubclass(kind, type):
        for member in list(vars(value).values()):
            yield from [] if issubclass(type(member), type) else _codes(member)
    elif kind is FunctionType:
        yield value.__code__  # type: ignore[attr-defined]
        yield from _codes(getattr(value, "__wrapped__", None))
    elif issubclass(kind, (staticmethod, classmethod)):
        yield from _codes(value.__func__)  # type: ignore[attr-defined]
    elif issubclass(kind, property):
        for part in (value.fget, value.fset, value.fdel):  # type: ignore[attr-defined]
            yield from _codes(part)


def _code_names_decimal(code: CodeType) -> bool:
    inside = (each for each in code.co_consts if isinstance(each, CodeType))
    return "decimal" in code.co_names or "Decimal" in code.co_names or any(map(_code_names_decimal, inside))
