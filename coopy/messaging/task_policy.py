"""What a program says of its tasks once, where it defines them: when to try again, and what is unique, one at a time, or slowed down.

It is decided here, outside of any action, from the arguments of a task; what comes of it is said to the state in plain texts and numbers.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, NoReturn

from coopy import UsageError
from coopy.ground.words import shown
from coopy.messaging.task_errors import Retry
from coopy.messaging.task_records import DELIVERIES, MOST_S, Options

_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Backoff:
    """How long to wait before a task that has raised runs again: ``first`` seconds, then ``factor`` times as long each time, up to ``most``.

    ``jitter`` is the part of it by which it varies at random, so that tasks that have failed together do not come back together.

    >>> backoff = Backoff(first=2, factor=3, most=60, jitter=0)
    >>> backoff(1), backoff(3), backoff(9)
    (2.0, 18.0, 60.0)
    """

    def __init__(self, first: float = 1.0, factor: float = 2.0, most: float = 3600.0, jitter: float = 0.25) -> None:
        if not (first >= 0 and factor >= 1 and most >= 0 and 0 <= jitter <= 1):
            raise UsageError(
                f"Backoff({first!r}, {factor!r}, {most!r}, {jitter!r}): first and most must be 0 or more, factor 1 or more, jitter from 0 to 1"
            )
        self.first = first
        self.factor = factor
        self.most = most
        self.jitter = jitter

    def __call__(self, failures: int) -> float:
        try:
            base = min(self.most, self.first * self.factor ** (failures - 1))
        except OverflowError:
            base = self.most
        return float(base * (1 + self.jitter * random.uniform(-1, 1)))

    def __repr__(self) -> str:
        return f"Backoff({self.first!r}, {self.factor!r}, {self.most!r}, {self.jitter!r})"


Delay = float | Callable[[int], float]
Chosen = bool | str | Callable[..., Any]


DEFAULT_BACKOFF: Delay = Backoff()


class Policy(NamedTuple):
    """What ``@queue.task(...)`` was given."""

    retries: int = 0
    backoff: Delay = DEFAULT_BACKOFF
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    priority: int = 0
    unique: Chosen = False
    delay: float | timedelta = 0.0
    at: float | datetime = 0.0
    deadline: float | timedelta = 0.0
    concurrency_key: Chosen = False
    concurrency: int = 1
    rate: str | tuple[float, float] | None = None
    keep: float | timedelta | None = None
    lane: str = "default"
    deliveries: int = DELIVERIES

    def check(self, name: str) -> None:
        """Raises `UsageError` if one of these values cannot be used, before a task is sent."""
        for label, count, least in (
            ("retries", self.retries, 0),
            ("concurrency", self.concurrency, 1),
            ("deliveries", self.deliveries, 1),
            ("priority", self.priority, None),
        ):
            if not isinstance(count, int) or (least is not None and count < least):
                _refuse(name, label, count, "a whole number" + ("" if least is None else f", {least} or more"))
        for label, value in (("delay", self.delay), ("deadline", self.deadline), ("keep", self.keep or 0.0)):
            if not isinstance(value, (int, float, timedelta)) or not 0 <= seconds(value) < math.inf:
                _refuse(name, label, value, "seconds, or a timedelta, 0 or more")
        if not isinstance(self.at, (int, float, datetime)) or not -math.inf < _moment(self.at) < math.inf:
            _refuse(name, "at", self.at, "a datetime, or seconds since 1970")
        if not callable(self.backoff) and not (isinstance(self.backoff, (int, float)) and 0 <= self.backoff < math.inf):
            _refuse(name, "backoff", self.backoff, "seconds, 0 or more, a Backoff, or a function of how often it has raised")
        for label, chosen in (("unique", self.unique), ("concurrency_key", self.concurrency_key)):
            if not isinstance(chosen, (bool, str)) and not callable(chosen):
                _refuse(name, label, chosen, "True, a text, or a function of the arguments")
        if self.concurrency > 1 and self.concurrency_key is False:
            raise UsageError(
                f"{name}: concurrency={self.concurrency!r} needs concurrency_key=, which says what is counted together: "
                f"True for all tasks of this function, a text, or a function of the arguments. No task was made."
            )
        if not isinstance(self.lane, str):
            _refuse(name, "lane", self.lane, "a text")
        kinds = self.retry_on if isinstance(self.retry_on, tuple) else (self.retry_on,)
        if not all(isinstance(each, type) and issubclass(each, BaseException) for each in kinds):
            _refuse(name, "retry_on", self.retry_on, "a class of exceptions, or several")
        _every(self.rate)

    def retry_after(self, error: BaseException, failures: int) -> float:
        """Returns after how many seconds a task runs again that has raised, for the so manyth time; less than 0 for never."""
        if isinstance(error, Retry):
            return self._wait(failures) if error.delay is None else _to_wait(error.delay, "Retry(delay=...)")
        if failures > self.retries or not isinstance(error, self.retry_on):
            return -1.0
        return self._wait(failures)

    def _wait(self, failures: int) -> float:
        return _to_wait(self.backoff(failures) if callable(self.backoff) else self.backoff, "backoff")

    def options(self, name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Options:
        """Returns what is said to the state of a task with these arguments."""
        key = _text(self.concurrency_key, "concurrency_key", name, signature, args, kwargs)
        unique = _text(self.unique, "unique", name, signature, args, kwargs)
        return Options(
            lane=self.lane,
            priority=self.priority,
            delay=seconds(self.delay),
            at=_moment(self.at),
            unique=unique,
            key=key,
            limit=self.concurrency,
            rate=name if self.rate is not None else "",
            every=_every(self.rate),
            deadline=seconds(self.deadline),
            keep=-1.0 if self.keep is None else seconds(self.keep),
            deliveries=self.deliveries,
        )


def _refuse(name: str, label: str, value: object, must_be: str) -> NoReturn:
    raise UsageError(f"{name}: {label}={shown(value)}: must be {must_be}. No task was made.")


class Defined:
    """A function that is called by workers, and what is said of it."""

    name: str
    function: Callable[..., Any]
    policy: Policy


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Returns which arguments a function takes; any, if it does not say, as some of C do not."""
    try:
        return inspect.signature(function)
    except ValueError:
        return inspect.signature(_any)


def _any(*args: Any, **kwargs: Any) -> None:
    pass


def seconds(value: float | timedelta) -> float:
    """Returns a duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _moment(value: float | datetime) -> float:
    """Returns a time in seconds since 1970."""
    return value.timestamp() if isinstance(value, datetime) else value


def _to_wait(value: object, label: str) -> float:
    """Returns how many seconds are to be waited, at least 0. Raises `UsageError` for what is no such number, as for infinity."""
    if not isinstance(value, (int, float, timedelta)) or not seconds(value) <= MOST_S:
        raise UsageError(f"{label} is {shown(value)}: must be seconds, or a timedelta. The task does not run again.")
    return max(0.0, seconds(value))


def _every(rate: str | tuple[float, float] | None) -> float:
    """Returns the seconds between two starts. Raises `UsageError`.

    >>> _every("10/s"), _every("30/m"), _every((5, 2.0)), _every(None)
    (0.1, 2.0, 0.4, 0.0)
    """
    if rate is None:
        return 0.0
    if isinstance(rate, str):
        count, _, period = rate.partition("/")
        try:
            number, period_s = float(count), _PERIODS[period.strip()]
        except (KeyError, ValueError):
            number = period_s = 0.0
        if not 0 < number < math.inf:
            raise UsageError(
                f'rate={rate!r}: must be a number in a second, minute, hour or day, as "10/s", "30/m", "5/h", "1/d"'
            )
        return period_s / number
    try:
        number, period_s = rate
        is_fine = 0 < number < math.inf and 0 < period_s <= MOST_S
    except (TypeError, ValueError):
        is_fine = False
    if not is_fine:
        raise UsageError(f"rate={rate!r}: must be how many in how many seconds, both more than 0")
    return period_s / number


def _text(
    chosen: Chosen, label: str, name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """Returns the text of which there is to be one, or which is counted together; "" for none."""
    if chosen is False:
        return ""
    if isinstance(chosen, str):
        return chosen
    if chosen is True:
        if label == "concurrency_key":
            return name
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = ", ".join(f"{key}={written(value)}" for key, value in bound.arguments.items())
        return f"{name}({found})"
    return f"{name} {written(chosen(*args, **kwargs))}"


def written(value: Any) -> str:
    """Returns a text that equal values have in common, in whatever process. Raises `UsageError` for a value that has no such text.

    >>> written({"b": {2, 1}, "a": [None, "x"]})
    "{'a': [None, 'x'], 'b': {1, 2}}"
    """
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{written(key)}: {written(each)}" for key, each in value.items())) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(written, value))) + "}"
    if type(value) in (list, tuple):
        return f"[{', '.join(map(written, value))}]"
    text = repr(value)
    if " at 0x" in text and not isinstance(value, (str, bytes)):
        raise UsageError(
            f"unique: {text} differs from process to process. Say which part of the arguments counts: unique=lambda order: order.id"
        )
    return text
