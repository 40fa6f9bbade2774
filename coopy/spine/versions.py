"""Code versions: the earlier body of a method stays beside the new one, and one action switches.

    class Wiki:
        def rename(self, old, new): ...       # version 0

        @code_version(1)
        def rename(self, old, new): ...       # since version 1

Nodes are upgraded one by one. Meanwhile all of them run the earlier body, those that have the new
one as well, so that an action comes to the same on all. When each has it, one action enables it for
all, between the same two actions everywhere; replay runs every action with the body of its day. The
version that is enabled is part of the state. docs/guides/code-versions.md says how it is used.

What the class has under the name is a function that looks for the machine that its object is the
domain of, and runs the body that is enabled there; the newest, if there is no machine. For actions
the machine finds the body itself. Which body it is, is asked of the object and not of the thread:
reads run outside any action.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

from coopy.decorators import ABORT_EXCEPTION, ACTION, OUTSIDE, READONLY, TRANSACTIONAL, UNLOCKED
from coopy.errors import PrevalentError, UsageError
from coopy.ground.running import current
from coopy.ground.words import shown

__coopy_inside__ = True  # See `coopy.spine.calling`.
CODE = "<code version>"
"""Name of the action that enables a version."""
FIRST = "_coopy_first_code_version"
"""The attribute by which a class says which version a new system of it begins with."""

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

_ATTRIBUTE = "_coopy_code_version"
_MARKS = (READONLY, UNLOCKED, ABORT_EXCEPTION, TRANSACTIONAL, OUTSIDE, ACTION)
_VERSION_MAX = (1 << 31) - 1  # A code version is a positive int of 32 bits, wherever it is written.


class Coded(Protocol):
    """What has to be known of a machine."""

    domain: Any
    code: int


class Body(NamedTuple):
    """One body of a method."""

    version: int
    """From which version on it runs."""
    function: Function
    """With the marks that it was given."""


class _Chain(NamedTuple):
    """What a function that dispatches knows."""

    version: int
    body: Function
    earlier: Function | None
    dispatch: Function


_machines: WeakValueDictionary[int, Coded] = WeakValueDictionary()


def code_version(version: int) -> Callable[[F], F]:
    """The method has this body since a version; what stands above it in the class is that of earlier versions.

    Versions are whole numbers from 1, and ascend from one body to the next. A method without an earlier body is not
    there in earlier versions. Each body has its own marks; but all are `readonly`, or none.

    Raises:
        UsageError: not a version, or not a method in the body of a class.

    See docs/guides/code-versions.md.
    """
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= _VERSION_MAX:
        raise UsageError(f"@code_version({shown(version)}): must be a whole number, at least 1")

    def mark(function: Any) -> Any:
        around = sys._getframe(1).f_locals
        if not isinstance(function, FunctionType) or "__qualname__" not in around or "__module__" not in around:
            what = f"@code_version({shown(version)})"
            raise UsageError(f"{what}: marks a method, in the body of its class; not {shown(function)}")
        return dispatching(version, function, around.get(_name_in_class(function.__name__, around)))

    return mark


def _name_in_class(name: str, around: Mapping[str, Any]) -> str:
    if name.startswith("__") and not name.endswith("__"):
        return f"_{around['__qualname__'].rpartition('.')[2].lstrip('_')}{name}"
    return name


def dispatching(version: int, body: FunctionType, earlier: Any) -> Function:
    """Returns a method that has this body since a version, and before it is another method; None: it is not there. Raises `UsageError`."""
    if _chain(body) is not None:
        raise UsageError(f"{body.__qualname__}: one body has two code versions")
    if earlier is not None and not isinstance(earlier, FunctionType):
        raise UsageError(
            f"@code_version({version}) of {body.__qualname__}: what stands above it is a {type(earlier).__name__}, and only "
            f"methods have versions. Let it call a method that has."
        )
    before = None if earlier is None else _chain(earlier)
    if before is not None and version <= before.version:
        raise UsageError(f"{body.__qualname__}: code version {version} comes after {before.version}; versions ascend")

    @functools.wraps(body)
    def dispatch(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        machine = _machines.get(id(self))
        if machine is None:
            if current.machine is not None:
                raise UsageError(
                    f"{body.__qualname__} has code versions, and an action called it on an object that is not the system's "
                    f"own: which version is to run can't be told. Let a method of the system's class have versions, and "
                    f"choose what it calls."
                )
        elif machine.code < version:
            if earlier is None:
                # What a process answers that does not have the code of this version.
                raise AttributeError(f"{body.__qualname__} is of code version {version}, and {machine.code} is enabled")
            return earlier(self, *args, **kwargs)
        return body(self, *args, **kwargs)

    setattr(dispatch, _ATTRIBUTE, _Chain(version, body, earlier, dispatch))
    return dispatch


def _chain(function: object) -> _Chain | None:
    """What a function knows if it dispatches. One that wraps such a function has a copy of its attributes, and does not."""
    found = getattr(function, _ATTRIBUTE, None) if isinstance(function, FunctionType) else None
    if not isinstance(found, _Chain) or found.dispatch is not function:
        return None
    for mark in _MARKS:
        if hasattr(function, mark):  # Perhaps of a decorator above that of the version.
            setattr(found.body, mark, getattr(function, mark))
    return found


def bodies(function: object) -> list[Body]:
    """All bodies of a method, newest first; none if it has no versions."""
    found = []
    while (chain := _chain(function)) is not None:
        found.append(Body(chain.version, chain.body))
        function = chain.earlier
    if found and isinstance(function, FunctionType):
        found.append(Body(0, function))
    return found


def body(function: Any, version: int) -> Any:
    """What a method is in a version: itself if it has no versions; None if it is not there yet."""
    while (chain := _chain(function)) is not None:
        if version >= chain.version:
            return chain.body
        function = chain.earlier
    return function


def own(cls: type) -> int:
    """The highest version that a class has; 0 if none of its methods has any. A node says it to the others."""
    members = (member for base in cls.__mro__ for member in vars(base).values() if isinstance(member, FunctionType))
    found = (getattr(member, _ATTRIBUTE, None) for member in members)
    return max((chain.version for chain in found if isinstance(chain, _Chain)), default=0)


def first(cls: type) -> int:
    """The version that a new system of a class begins with: the highest that the class has, unless it says another one by `FIRST`."""
    return int(getattr(cls, FIRST, own(cls)))


def check(cls: type) -> None:
    """Raises `PrevalentError` if the versions of a class can't be switched."""
    for base in cls.__mro__:
        for name, member in vars(base).items():
            if isinstance(member, (staticmethod, classmethod, property)) and any(map(bodies, _inside(member))):
                raise PrevalentError(
                    f"{base.__qualname__}.{name} is a {type(member).__name__} of a function that has code versions, and only "
                    f"methods have. Let it call a method that has. Nothing was opened."
                )
            reads = [(version, _reading(function)) for version, function in reversed(bodies(member))]
            if len({reading for _, reading in reads}) > 1:
                told = ", ".join(f"{reading} in version {version}" for version, reading in reads)
                raise PrevalentError(
                    f"{base.__qualname__}.{name} is {told}. Whether its calls are recorded must not change with the version: "
                    f"mark all bodies or none, or give the new one another name. Nothing was opened."
                )


def _inside(member: Any) -> list[Any]:
    return [getattr(member, part, None) for part in ("__func__", "fget", "fset", "fdel")]


def _reading(function: Function) -> str:
    if not getattr(function, READONLY, False):
        return "not @readonly"
    return "@readonly and @unlocked" if getattr(function, UNLOCKED, False) else "@readonly"


def enter(machine: Coded) -> None:
    """From now on the version that a machine has enabled holds for its domain."""
    _machines[id(machine.domain)] = machine


def leave(domain: object) -> None:
    """An object is a plain one from now on, and has the newest bodies."""
    _machines.pop(id(domain), None)


def enabled(machine: Coded, name: str, function: Any) -> Any:
    """The body of a method that a machine runs. Raises `UsageError` if there is none yet."""
    found = body(function, machine.code)
    if found is None:
        raise UsageError(not_enabled(name, function, machine.code))
    return found


def not_enabled(name: str, function: object, enabled: int) -> str:
    """What to tell who calls a method that is not there yet."""
    first = bodies(function)[-1].version
    return (
        f"{name}() is of code version {first}, and {enabled} is enabled. Nothing was recorded. Enable it with "
        f"coopy.control(system).set_code_version({first})."
    )


def refuse_switch(version: int, enabled: int, own: int) -> None:
    """Raises `UsageError` if a system can't be switched to a version."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise UsageError(f"set_code_version({shown(version)}): must be a whole number. Nothing was switched.")
    if version > own:
        raise UsageError(
            f"set_code_version({shown(version)}): the class has versions up to {own} here. Nothing was switched. Upgrade "
            f"this node first."
        )
    if version < enabled:
        raise UsageError(
            f"set_code_version({shown(version)}): version {enabled} is enabled, and there is no way back. Nothing was "
            f"switched. Give what it was meant for a version of its own, {own + 1}."
        )


def refuse_if_behind(version: int, announced: Mapping[str, int | None]) -> None:
    """Raises `UsageError` if a member can't follow a switch: of each the version that it has; None: it has not said."""
    behind = [
        f"{node} has {'not said which it has' if code is None else f'versions up to {code}'}"
        for node, code in sorted(announced.items())
        if code is None or code < version
    ]
    if behind:
        raise UsageError(
            f"set_code_version({version}): {'; '.join(behind)}. Nothing was switched. Upgrade and start these nodes, or take "
            f"them out of the cluster, and call again."
        )
