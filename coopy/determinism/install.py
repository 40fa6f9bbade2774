"""The standard library's clock and chance inside an action: ``deterministic=True``.

A class that asks `datetime.now`, `random`, `uuid4` or `os.urandom` can be made a
system unchanged. `install` replaces these once for the process; from then on
each asks who is asking:

    in a thread that runs an action of a system opened with deterministic=True,
    from code that is neither the standard library's nor coopy's
                            the action's instant, or a draw from its seed
    from anywhere else      what was there before

So a log line, the timeout of a lock and the name of a temporary file stay as
they were, also inside an action, because it is the standard library that asks
for them.

How it is replaced, and why so. Functions of modules (`time.time`) are replaced
in their module, and wherever code outside the standard library has taken hold
of them already (`from time import time`, a default argument, a
``default_factory``). The methods of `datetime` and `date` are replaced in the
classes' own dictionaries, which Python keeps from being written: another class
under the same name would break isinstance, pickles and every name bound before.
Of `random.Random` and `random.SystemRandom` the methods are replaced that all
others draw from.

What each answers is in `coopy.determinism.answers`, who is asking in `coopy.determinism.asking`, who holds a replaced function in
`coopy.determinism.holders`.

What escapes: code in C that asks the operating system, generators made outside
any action, names that are held where `Holders` does not look.
"""

from __future__ import annotations

import functools
import gc
import importlib
import random
import secrets
import sys
import threading
import warnings
from datetime import date, datetime, timezone, tzinfo
from types import FunctionType, MethodType
from typing import Any

from coopy.determinism.answers import ANSWERS, Answer, chance_of, draw_of, seeded
from coopy.determinism.asking import is_theirs, machine_for
from coopy.determinism.holders import Holders
from coopy.errors import UsageError
from coopy.ground import action
from coopy.ground.running import current

_getframe = sys._getframe

_installing = threading.Lock()
_installed = False


def install() -> None:
    """Replaces them, once for the process.

    Opening a system with deterministic=True does it. A program that calls it before it imports
    its other modules leaves nothing to escape. Raises `UsageError`, with nothing replaced, where
    Python does not let the methods of `datetime` be replaced.
    """
    global _installed
    with _installing:
        if not _installed:
            _replace_methods_of_dates()
            _installed = True
            Holders({**_replace_functions(), **_replace_generators()}).rebind()


class _Home:
    """The module of a replaced function, as what the function is bound to.

    A function of C that is an attribute of a class does not become a method there, a plain one
    would; one that is bound already does not either. In a pickle it is what it was, a name in a module.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self._module,)

    def __repr__(self) -> str:
        return f"<module {self._module!r}>"


def _instead_of(original: Any, module: str, name: str, answer: Answer) -> Any:
    """A function that asks who is asking."""
    if isinstance(original, FunctionType):

        @functools.wraps(original)
        def asked(*args: Any, **kwargs: Any) -> Any:
            machine = current.machine
            if machine is None or not machine.deterministic or not is_theirs(_getframe(1)):
                return original(*args, **kwargs)
            return answer(machine, original, *args, **kwargs)

        return asked

    # The same again: a function in between would cost as much as all of it.
    def asked_bound(_home: _Home, /, *args: Any, **kwargs: Any) -> Any:
        machine = current.machine
        if machine is None or not machine.deterministic or not is_theirs(_getframe(1)):
            return original(*args, **kwargs)
        return answer(machine, original, *args, **kwargs)

    asked_bound.__name__ = asked_bound.__qualname__ = name
    asked_bound.__module__, asked_bound.__doc__ = module, original.__doc__
    if isinstance(original, MethodType):
        asked_bound.__wrapped__ = original.__func__  # type: ignore[attr-defined]
    return MethodType(asked_bound, _Home(module))


def _replace_functions() -> dict[int, tuple[Any, Any]]:
    """Replaces functions of modules; gives the old and the new by the id of the old."""
    drawn = {
        name: seeded if name == "seed" else draw_of(name)
        for name, value in vars(random).items()
        if getattr(value, "__self__", None) is random.random.__self__  # type: ignore[attr-defined]
    }
    replaced = {}
    for module, answers in {**ANSWERS, random: drawn}.items():
        for name, answer in answers.items():
            original = getattr(module, name, None)
            if original is not None:
                function = _instead_of(original, module.__name__, name, answer)
                replaced[id(original)] = original, function
                setattr(module, name, function)
    return replaced


def _replace_generators() -> dict[int, tuple[Any, Any]]:
    """Replaces what seeds a generator and what asks the operating system for bits."""
    seed, bits, bytes_ = random.Random.seed, random.SystemRandom.getrandbits, random.SystemRandom.randbytes
    fraction = random.SystemRandom.random

    @functools.wraps(seed)
    def seed_asked(self: random.Random, a: Any = None, version: int = 2) -> None:
        machine = machine_for(_getframe(1)) if a is None else None
        seed(self, a if machine is None else chance_of(machine).bits(256), version)

    @functools.wraps(bits)
    def bits_asked(self: random.SystemRandom, k: int) -> int:
        machine = machine_for(_getframe(1))
        return bits(self, k) if machine is None or k < 0 else chance_of(machine).bits(k)

    @functools.wraps(bytes_)
    def bytes_asked(self: random.SystemRandom, n: int) -> bytes:
        machine = machine_for(_getframe(1))
        return bytes_(self, n) if machine is None or n < 0 else chance_of(machine).bytes(n)

    @functools.wraps(fraction)
    def fraction_asked(self: random.SystemRandom) -> float:
        machine = machine_for(_getframe(1))
        return fraction(self) if machine is None else chance_of(machine).bits(53) * 2.0**-53

    replaced: dict[int, tuple[Any, Any]] = {}
    for cls, name, function in (
        (random.Random, "seed", seed_asked),
        (random.SystemRandom, "getrandbits", bits_asked),
        (random.SystemRandom, "randbytes", bytes_asked),
        (random.SystemRandom, "random", fraction_asked),
    ):
        original = vars(cls)[name]
        replaced[id(original)] = original, function
        setattr(cls, name, function)
    # The other functions of `secrets` look the method up; this one holds it.
    held: Any = secrets.randbits
    secrets.randbits = MethodType(bits_asked, held.__self__)
    replaced[id(held)] = held, secrets.randbits
    return replaced


def _replace_methods_of_dates() -> None:
    now, utcnow, today = vars(datetime)["now"], vars(datetime)["utcnow"], vars(date)["today"]
    deprecation = _deprecation_of(utcnow)

    def now_asked(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        machine = current.machine
        if machine is None or not machine.deterministic or not is_theirs(_getframe(1)):
            return now.__get__(None, cls)(tz)  # type: ignore[no-any-return]
        if tz is None:
            return _made(cls, action.local_time(machine.header))
        if not isinstance(tz, tzinfo):
            return now.__get__(None, cls)(tz)
        moment = action.utc_time(machine.header)
        return moment.astimezone(tz) if cls is datetime else tz.fromutc(_made(cls, moment, tz))

    def utcnow_asked(cls: type[datetime]) -> datetime:
        machine = current.machine
        if deprecation is not None:
            warnings.warn(deprecation, stacklevel=2)
        if machine is None or not machine.deterministic or not is_theirs(_getframe(1)):
            # Not the original, which would say that it is us who use what is deprecated.
            return now.__get__(None, cls)(timezone.utc).replace(tzinfo=None)  # type: ignore[no-any-return]
        return _made(cls, action.utc_time(machine.header))

    def today_asked(cls: type[date]) -> date:
        machine = current.machine
        if machine is None or not machine.deterministic or not is_theirs(_getframe(1)):
            return today.__get__(None, cls)()  # type: ignore[no-any-return]
        moment = action.local_time(machine.header)
        return _made(cls, moment) if issubclass(cls, datetime) else cls(moment.year, moment.month, moment.day)

    _replace_in_types({datetime: {"now": now_asked, "utcnow": utcnow_asked}, date: {"today": today_asked}})


def _made(cls: type[datetime], moment: datetime, tz: tzinfo | None = None) -> datetime:
    """The same date and time of day as an object of the class."""
    if cls is datetime:
        return moment if moment.tzinfo is tz else moment.replace(tzinfo=tz)
    return cls(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond, tz)


def _deprecation_of(utcnow: Any) -> Warning | None:
    """What Python says of utcnow(), from 3.12 on."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        utcnow.__get__(None, datetime)()
    return next((each.message for each in said if isinstance(each.message, DeprecationWarning)), None)


def _replace_in_types(methods: dict[type, dict[str, Any]]) -> None:
    """Replaces class methods of classes that Python keeps from being written. Raises `UsageError`."""
    try:
        import ctypes

        forget = ctypes.pythonapi.PyType_Modified
        members = {cls: _members(cls) for cls in methods}
    except (AttributeError, ImportError, LookupError, TypeError):
        raise UsageError(_CANNOT) from None
    before = {cls: {name: members[cls][name] for name in functions} for cls, functions in methods.items()}
    for cls, functions in methods.items():
        for name, function in functions.items():
            function.__name__, function.__qualname__ = name, f"{cls.__name__}.{name}"
            function.__module__, function.__doc__ = cls.__module__, before[cls][name].__doc__
            members[cls][name] = classmethod(function)
        # Python remembers what it found where.
        forget(ctypes.py_object(cls))
    if not all(getattr(cls, name).__func__ is methods[cls][name] for cls in methods for name in methods[cls]):
        for cls in methods:
            members[cls].update(before[cls])
            forget(ctypes.py_object(cls))
        raise UsageError(_CANNOT)


def _members(cls: type) -> dict[str, Any]:
    """The dictionary of a class itself. Raises LookupError where it can't be had."""
    found: list[Any] = gc.get_referents(vars(cls))
    if type(found[0]) is not dict or found[0] != vars(cls):
        raise LookupError(cls)
    members: dict[str, Any] = found[0]
    return members


_CANNOT = (
    f"deterministic=True: {sys.implementation.name} {sys.version.split()[0]} does not let the methods of "
    f"datetime be replaced. Nothing was opened. Use CPython 3.10 or newer with ctypes, or leave it out and ask "
    f"self._clock and self._env in the methods."
)
