"""What an action asks for: to be called at a time, and to have another object called. Both are a part of the action, and are there if it is.

    class Room:
        def say(self, who, text):
            self.messages.append((who, text))
            alarm("close", after=3600)
            tell(Person, who).spoke_in(self.key)

An alarm waits in the state of its object; a call that another object was told waits in the state of that one, from the frame of the action that
told it. Each is run as an action of its own, which takes it out of there. So it is run once, whatever comes in between.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from coopy.errors import UsageError
from coopy.ground import action
from coopy.ground.running import current
from coopy.ground.words import shown
from coopy.objects.kind import Kind, Stage
from coopy.spine.methods import binder, parameters_of

T = TypeVar("T")
_NS = 1_000_000_000  # Nanoseconds in a second.
_SECONDS_MAX = 1e18
_DUE_MAX = 16_725_225_600 * _NS
"""The table of keys has 64 bits for the time of an alarm, which are over in the year 2554."""


def alarm(
    method: str,
    *args: Any,
    after: float | timedelta | None = None,
    at: datetime | float | None = None,
    name: str | None = None,
    **kwargs: Any,
) -> None:
    """Has a method of the object whose action runs be called later, once.

    It is called as an action, not before its time, and late if nobody could: the process was not there, say. An alarm of the same name that
    was set before is unset. What an action has set that raises is not set. See docs/guides/objects.md.

    >>> alarm("close", after=3600)

    Args:
        method: the name of the method, and then its arguments.
        after: seconds from the time of the action, or a timedelta.
        at: a datetime (a naive one is local time), or seconds since 1970-01-01 UTC.
        name: what `cancel_alarm` knows it by; by default that of the method.

    Raises:
        UsageError: no action of an object runs, or an argument means nothing.
        EncodingError, TypeError: the arguments can't be kept, or are not those of the method.
    """
    stage = _stage("alarm()")
    if (after is None) == (at is None):
        raise UsageError("alarm() takes after= seconds, or at= a time. No alarm was set.")
    if not isinstance(name, (str, type(None))):
        raise UsageError(f"name={shown(name)}: must be a text. No alarm was set.")
    if after is not None:
        due = action.instant_of(stage.header) + _instant("after", after)
    else:
        due = _instant("at", at)
    if due > _DUE_MAX:
        raise UsageError(
            f"{'after' if at is None else 'at'}={shown(after if at is None else at)}: it is after the year 2500. No alarm was set."
        )
    call = _encoded(stage.kind, method, args, kwargs)
    # 0 and 1 mean something else in the table of keys; what is long ago is due.
    stage.set_alarm(method if name is None else name, max(due, 2), call)


def _instant(label: str, value: object) -> int:
    """Returns what `alarm` was given in nanoseconds. Raises `UsageError`."""
    if isinstance(value, datetime) and label == "at":
        return action.nanoseconds(value)
    seconds = value.total_seconds() if isinstance(value, timedelta) and label == "after" else value
    if not isinstance(seconds, (int, float)) or not -_SECONDS_MAX < seconds < _SECONDS_MAX:
        of = "seconds, or a timedelta" if label == "after" else "a datetime, or seconds since 1970"
        raise UsageError(f"{label}={shown(value)}: must be {of}. No alarm was set.")
    return round(seconds * _NS)


def cancel_alarm(name: str) -> None:
    """Unsets an alarm of the object whose action runs. Does nothing if there is none of the name.

    >>> cancel_alarm("close")

    Raises UsageError if no action of an object runs. See docs/guides/objects.md.
    """
    _stage("cancel_alarm()").set_alarm(name, 0, b"")


def tell(cls: type[T], key: str) -> T:
    """Returns what stands for another object in an action: a method that is called of it is called later, once, as an action of that object.

    >>> tell(Person, who).spoke_in(self.key)

    What is called returns None at once. All that an object is told it is told in the order of the actions that did so. What an action has
    told that raises is not told. See docs/guides/objects.md.

    Raises UsageError if no action of an object runs, or if the key is none.
    """
    stage = _stage("tell()")
    kind = stage.kind.of(cls)
    return cast(T, _Told(stage, kind, kind.stored(key)))


class _Told:
    """What stands for an object that is told something."""

    __slots__ = ("_stage", "_kind", "_key")

    def __init__(self, stage: Stage, kind: Kind, key: bytes) -> None:
        self._stage = stage
        self._kind = kind
        self._key = key

    def __getattr__(self, name: str) -> Callable[..., None]:
        def told(*args: Any, **kwargs: Any) -> None:
            if _stage("tell()") is not self._stage:
                raise UsageError(
                    "what tell() has returned is of the action that called it, and was used in another one. Nobody was told."
                )
            call = _encoded(self._kind, name, args, kwargs)
            if not self._stage.replaying:
                self._stage.told.append((self._kind, self._key, call))

        return told


def _stage(what: str) -> Stage:
    stage = current.machine
    if not isinstance(stage, Stage):
        raise UsageError(f"{what} is called in an action of an object of coopy.objects, and none runs here. Nothing was done.")
    return stage


def _encoded(kind: Kind, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Returns a call as a record has it. Raises `UsageError` if there is no such method, and TypeError if the arguments are not its own."""
    function = kind.functions.get(name)
    if function is None or name.startswith("__"):
        raise UsageError(f"{kind.cls.__qualname__} has no method {shown(name)}. Nothing was asked for.")
    if hasattr(function, "__code__"):
        binder(function)(None, *args, **kwargs)
        parameters = parameters_of(function)
    else:
        parameters = ()
    return kind.codec.encode_call(name, args, kwargs, parameters)[0]
