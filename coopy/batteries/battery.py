"""What all structures have: a name in messages, and `Edit`, which finds the system that a structure is the state of.

A structure is a plain class and does not know who holds it: a variable, an attribute of another class, or a system. What takes
more than one call, such as a value that is read, changed and put back, asks `system_of` between the calls.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from types import FunctionType, MethodType, TracebackType
from typing import Any, ClassVar, Generic, NoReturn, Protocol, TypeVar

import coopy
from coopy import UsageError, outside, readonly
from coopy.batteries.changes import ALL, Change
from coopy.batteries.frozen import ATOMS, UNPICKLABLE, content, thawed
from coopy.batteries.watching import Watch

T = TypeVar("T")


class Battery:
    """The base of the structures."""

    _KEYS: ClassVar[str] = ""
    """What the keys of its changes are; nothing if it has none."""

    @outside
    def watch(
        self,
        key: Any = ALL,
        callback: Callable[[Change], object] | None = None,
        *,
        after: int | None = None,
        timeout: float | None = None,
    ) -> Watch:
        """Tells of changes as they come: of one key (a member, a position, an owner), or of all of the structure.

        ``for change in stock.watch("tea", timeout=5)``, ``async for change in stock.watch()``, or ``stock.watch(callback=told)``, which calls
        a function in a thread of its own until it is closed. A `Change` has ``index``, ``time``, ``kind``, ``key``, ``before`` and ``after``. Begins
        with the next action, or with the one after ``after``, however long ago that was. See docs/guides/batteries.md. Raises `UsageError`,
        `SystemClosed`.
        """
        if not isinstance(key, (FunctionType, MethodType)):
            _refuse_key(self.__class__, key)
        return watch(self, key, callback, after=after, timeout=timeout)

    @readonly
    def _is(self, number: int) -> bool:
        # Whether the object behind a system is the one of that id(). It is asked outside any action.
        return id(self) == number

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _refuse_key(cls: type[Battery], key: Any) -> None:
    if key is not ALL and not cls._KEYS:
        raise UsageError(f"watch({key!r}): a {cls.__name__} has no keys. Call watch() for all of its changes.")
    if "position" in cls._KEYS and key is not ALL and (isinstance(key, bool) or not isinstance(key, int) or key < 0):
        raise UsageError(f"watch({key!r}): must be a position, counted from 0. Call watch() for all changes.")


def system_of(structure: Any) -> Any:
    """Returns the open system whose state a structure is, or the structure itself if no system has it.

    It must be called without a lock held, because it asks each open system of the class.
    """
    for control in coopy.opened():
        system = control.system
        if isinstance(system, type(structure)) and system._is(id(structure)):
            return system
    return structure


def watch(
    system: Any,
    key: Any = ALL,
    callback: Callable[[Change], object] | None = None,
    *,
    of: str | Callable[[Any], object] | None = None,
    after: int | None = None,
    timeout: float | None = None,
) -> Watch:
    """As `Battery.watch`, also of a structure that is an attribute of your own class: ``watch(shop, "tea", of="stock")``.

    ``of`` is the name of the attribute (with dots for one of an attribute), or a function that finds the structure in your object; it is called
    inside actions, and must only look. Raises `UsageError` for what is no open system.

    >>> from coopy import init_system
    >>> from coopy.batteries import Dict
    >>> stock = init_system(Dict, "watched-stock")
    >>> with watch(stock, "tea", timeout=5) as changes:
    ...     stock["tea"] = 3
    ...     change = next(iter(changes))
    >>> change.key, change.after
    ('tea', 3)
    """
    if isinstance(key, (FunctionType, MethodType)):
        raise UsageError(
            f"watch({key!r}): a function is no key that is watched. Call watch(callback=...), or watch(key, callback)."
        )
    if not _is_system(system):
        raise UsageError(
            f"only an open system can be watched, not a plain {type(system).__name__}. A structure that is an attribute of a "
            f'system is watched with coopy.batteries.watch(system, key, of="attribute").'
        )
    found = Watch(system, key, of, after, timeout)
    return found if callback is None else found(callback)


def _is_system(value: Any) -> bool:
    try:
        coopy.control(value)
    except UsageError:
        return False
    return True


class EditConflict(RuntimeError):
    """A value was changed by somebody else while it was edited. Nothing was recorded: edit it again.

    >>> from coopy.batteries import Dict
    >>> stock = Dict({"tea": {"left": 3}})
    >>> with stock.edit("tea") as tea:
    ...     tea["left"] -= 1
    ...     stock["tea"] = {"left": 9}
    Traceback (most recent call last):
    coopy.batteries.battery.EditConflict: ...
    """


class Editable(Protocol):
    """What a structure has whose values can be edited."""

    def finish_edit(self, key: Any, before: Any, after: Any) -> None:
        """Puts a value in if the one before it is still there. Raises `EditConflict`."""
        ...


class Edit(Generic[T]):
    """A value to be changed in a ``with`` block: at its end one action puts it in, if nothing was raised and it has changed.

    ``async with`` is for a structure that `coopy.aio.open` has opened: ``async with await stock.edit("tea") as tea:``.

    >>> from coopy.batteries import Dict
    >>> stock = Dict({"tea": {"left": 3}})
    >>> with stock.edit("tea") as tea:
    ...     tea["left"] -= 1
    >>> stock["tea"]["left"]
    2
    """

    def __init__(self, structure: Editable, key: Any, before: Any, value: T) -> None:
        if type(value) in ATOMS:
            raise TypeError(
                f"{key!r}: a value of the type {type(value).__name__} can't be changed in place, so there is nothing to edit. "
                f"Put another value in: structure[{key!r}] = ..."
            )
        self._structure = structure
        self._key = key
        self._before = before
        self._value = value
        self._owner: Any = structure

    def __getstate__(self) -> NoReturn:
        # A copy of it would change a copy of the structure.
        raise TypeError(
            "edit() is for a process that has the state. Over a connection, or without a copy, get the value, change it, and put it in."
        )

    def __enter__(self) -> T:
        # Not when the block ends: a system that is closed by then refuses the change, and is not taken for none.
        self._owner = system_of(self._structure)
        return self._value

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self._finish()

    async def __aenter__(self) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await asyncio.get_running_loop().run_in_executor(None, self._finish)

    def _finish(self) -> None:
        if not same(self._value, self._before):
            self._owner.finish_edit(self._key, self._before, self._value)


def editing(structure: Editable, key: Any, value: Any) -> Edit[Any]:
    """Returns an `Edit` of a value as it is kept."""
    plain = thawed(value)
    return Edit(structure, key, copy.deepcopy(plain), copy.deepcopy(plain))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same: equal, or, as objects without an ``__eq__`` never are, of the same content."""
    if type(one) is type(other) and one == other:
        return True
    try:
        return content(one) == content(other)
    except UNPICKLABLE:
        return False  # It can't be pickled without a memo, as what contains itself.


def conflict(key: Any) -> EditConflict:
    """Returns what to raise for a value that is another one by now."""
    return EditConflict(
        f"the value of {key!r} has been changed, or taken out, since the edit of it began. Nothing was recorded by this edit. "
        f"Edit it again."
    )
