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

`watch` is another way to look at the same: it reports files, sockets and
processes that an action uses. It is off until asked for, because Python then
calls us for every event of the process that can be audited.

What escapes: code in C that asks the operating system, generators made outside
any action, names that are held where `_Holders` does not look.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import operator
import os
import random
import secrets
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone, tzinfo
from types import BuiltinMethodType, CellType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from coopy.determinism.rules import DeterminismWarning
from coopy.env import Draws
from coopy.errors import PrevalentError, UsageError
from coopy.ground import action, words
from coopy.ground.running import MACHINE, Moment, current

Answer = Callable[..., Any]
"""Called with the action that runs, with what was replaced, and with the arguments."""

_getframe = sys._getframe
_NS = 1_000_000_000
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
            _Holders({**_replace_functions(), **_replace_generators()}).rebind()


def leave_out(*packages: str) -> None:
    """Treats code of these packages as the standard library's: it goes on asking the machine.

    For what measures or reports and leaves nothing in the state: metrics, tracing, a logger.
    """
    _LEFT_OUT.update(packages)
    _theirs_by_name.clear()


# --- who is asking -----------------------------------------------------------------------------------

_LEFT_OUT = {"coopy"}
_theirs_by_name: dict[object, bool] = {}
_LIBRARY = os.path.dirname(os.__file__) + os.sep
# They ask on behalf of their callers.
_THROUGH = frozenset({"random", "secrets"})


def _theirs(frame: FrameType) -> bool:
    """Whether a frame runs code that is neither the standard library's nor ours."""
    name = frame.f_globals.get("__name__")
    found = _theirs_by_name.get(name)
    if found is None:
        found = _theirs_by_name[name] = _is_theirs(name)
    return found


def _is_theirs(module: object) -> bool:
    package = module.partition(".")[0] if isinstance(module, str) else ""
    if package in _LEFT_OUT:
        return False
    if package not in sys.stdlib_module_names:
        return True
    # A module of the user's may have the name of one in the standard library.
    file = getattr(sys.modules.get(package), "__file__", None) or _LIBRARY
    return not file.startswith(_LIBRARY) or "-packages" in file


def _asking(frame: FrameType | None) -> Moment | None:
    """The action that the frame is part of, if it, or whom it asks for, is to be answered from one."""
    machine = current.machine
    if machine is None or not machine.deterministic:
        return None
    while frame is not None and frame.f_globals.get("__name__") in _THROUGH:
        frame = frame.f_back
    return machine if frame is not None and _theirs(frame) else None


# --- what is answered --------------------------------------------------------------------------------


class Chance:
    """What one machine draws from, action by action."""

    __slots__ = ("index", "number", "_key", "_draws", "_generator", "_seeded", "_counter")

    def __init__(self, secret: bytes) -> None:
        import hashlib

        # Not the stream of the env: what one draws must not shift what the other does.
        self._key = hashlib.blake2b(key=secret, digest_size=32, person=b"coopy stdlib").digest()
        self._generator: random.Random | None = None
        self.begin(-1)

    def begin(self, index: int) -> None:
        self.index = index
        self.number = 0
        """How many identifiers the action has made."""
        self._draws = Draws(self._key, index)
        self._seeded = False
        self._counter = -1

    def bytes(self, size: int) -> bytes:
        return self._draws.take(size)

    def bits(self, size: int) -> int:
        """A non-negative int of so many bits."""
        whole = (size + 7) // 8
        return int.from_bytes(self._draws.take(whole), "big") >> (whole * 8 - size)

    def generator(self) -> random.Random:
        """Stands in for the generator behind the functions of `random`, seeded anew for every action."""
        if self._generator is None:
            self._generator = random.Random(0)
        if not self._seeded:
            # Making a generator costs more than seeding one.
            self._generator.seed(self.bits(256))
            self._seeded = True
        return self._generator

    def count(self) -> int:
        """A number of 42 bits, drawn by the first question and one more at each that follows."""
        self._counter = self.bits(41) if self._counter < 0 else self._counter + 1
        return self._counter


def _chance(machine: Moment) -> Chance:
    index = machine.index
    chance = machine.chance
    if not isinstance(chance, Chance):
        chance = machine.chance = Chance(machine.secret)
    if chance.index != index:
        chance.begin(index)
    return chance


def _instant(machine: Moment, _original: Answer) -> int:
    return action.instant_of(machine.header)


def _seconds(machine: Moment, _original: Answer) -> float:
    return action.instant_of(machine.header) / 1e9


def _instant_of_clock(machine: Moment, _original: Answer, _clock: int) -> int:
    return action.instant_of(machine.header)


def _seconds_of_clock(machine: Moment, _original: Answer, _clock: int) -> float:
    return action.instant_of(machine.header) / 1e9


def _utc(machine: Moment, original: Answer, seconds: float | None = None) -> time.struct_time:
    given: time.struct_time = original(action.instant_of(machine.header) // _NS if seconds is None else seconds)
    return given


def _local(machine: Moment, original: Answer, seconds: float | None = None) -> time.struct_time:
    if seconds is not None:
        return _utc(machine, original, seconds)
    moment = action.aware_time(machine.header)
    offset = moment.utcoffset()
    assert offset is not None, "an action has the offset of its local time"
    # Whether that offset was one of daylight saving time is not recorded.
    plain = moment.replace(tzinfo=None).timetuple()
    return time.struct_time(plain, {"tm_zone": moment.tzname(), "tm_gmtoff": int(offset.total_seconds())})


def _ctime(machine: Moment, original: Answer, seconds: float | None = None) -> str:
    return time.asctime(_local(machine, original)) if seconds is None else original(seconds)


def _asctime(machine: Moment, original: Answer, *given: Any) -> str:
    return str(original(*(given or (_local(machine, original),))))


def _strftime(machine: Moment, original: Answer, form: str, *given: Any) -> str:
    if given:
        return str(original(form, *given))
    local = _local(machine, original)
    # Of a time that may be of daylight saving or not, C would not print the offset.
    return str(original(form, time.struct_time((*local[:8], 0), {"tm_zone": local.tm_zone, "tm_gmtoff": local.tm_gmtoff})))


def _random_bytes(machine: Moment, original: Answer, size: Any, flags: int = 0) -> bytes:
    size = operator.index(size)
    # What is wrong with a size, the original says best.
    return _chance(machine).bytes(size) if size >= 0 else original(size)


def _uuid(value: int, version: int) -> uuid.UUID:
    value = value & ~(0xC000 << 48) & ~(0xF000 << 64)
    return uuid.UUID(int=value | 0x8000 << 48 | version << 76)


def _stamp(machine: Moment, node: int | None, clock_seq: int | None) -> tuple[int, int]:
    """60 bits of time, another one each time in an action, and 64 of place."""
    chance = _chance(machine)
    # Hundreds of nanoseconds since the Gregorian calendar began.
    ticks = action.instant_of(machine.header) // 100 + 0x01B21DD213814000 + chance.number
    chance.number += 1
    if clock_seq is None:
        clock_seq = chance.bits(14)
    if node is None:
        # The machine's own would be another one at replay; this bit says that it is nobody's.
        node = chance.bits(48) | 1 << 40
    return ticks & (1 << 60) - 1, (clock_seq & 0x3FFF) << 48 | node & (1 << 48) - 1


def _uuid1(machine: Moment, _original: Answer, node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    ticks, place = _stamp(machine, node, clock_seq)
    return _uuid((ticks & 0xFFFFFFFF) << 96 | (ticks >> 32 & 0xFFFF) << 80 | ticks >> 48 << 64 | place, 1)


def _uuid4(machine: Moment, _original: Answer) -> uuid.UUID:
    return uuid.UUID(bytes=_chance(machine).bytes(16), version=4)


def _uuid6(machine: Moment, _original: Answer, node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    ticks, place = _stamp(machine, node, clock_seq)
    return _uuid(ticks >> 12 << 80 | (ticks & 0xFFF) << 64 | place, 6)


def _uuid7(machine: Moment, _original: Answer) -> uuid.UUID:
    chance = _chance(machine)
    milliseconds = action.instant_of(machine.header) // 1_000_000
    counter = chance.count()
    return _uuid(milliseconds << 80 | counter >> 30 << 64 | (counter & (1 << 30) - 1) << 32 | chance.bits(32), 7)


def _uuid8(machine: Moment, _original: Answer, a: int | None = None, b: int | None = None, c: int | None = None) -> uuid.UUID:
    chance = _chance(machine)
    a, b, c = (chance.bits(bits) if given is None else given for given, bits in ((a, 48), (b, 12), (c, 62)))
    return _uuid((a & (1 << 48) - 1) << 80 | (b & 0xFFF) << 64 | c & (1 << 62) - 1, 8)


def _draw(name: str) -> Answer:
    def draw(machine: Moment, _original: Answer, *args: Any, **kwargs: Any) -> Any:
        return getattr(_chance(machine).generator(), name)(*args, **kwargs)

    return draw


def _seed(machine: Moment, _original: Answer, a: Any = None, version: int = 2) -> None:
    # For the rest of the action; the generator of the process is not touched.
    chance = _chance(machine)
    chance.generator().seed(chance.bits(256) if a is None else a, version)


_ANSWERS: dict[ModuleType, dict[str, Answer]] = {
    time: {
        **dict.fromkeys("time monotonic perf_counter process_time thread_time".split(), _seconds),
        **dict.fromkeys("time_ns monotonic_ns perf_counter_ns process_time_ns thread_time_ns".split(), _instant),
        "clock_gettime": _seconds_of_clock,
        "clock_gettime_ns": _instant_of_clock,
        "gmtime": _utc,
        "localtime": _local,
        "ctime": _ctime,
        "asctime": _asctime,
        "strftime": _strftime,
    },
    os: {"urandom": _random_bytes, "getrandom": _random_bytes},
    uuid: {"uuid1": _uuid1, "uuid4": _uuid4, "uuid6": _uuid6, "uuid7": _uuid7, "uuid8": _uuid8},
}


# --- replacing ---------------------------------------------------------------------------------------


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
            if machine is None or not machine.deterministic or not _theirs(_getframe(1)):
                return original(*args, **kwargs)
            return answer(machine, original, *args, **kwargs)

        return asked

    # The same again: a function in between would cost as much as all of it.
    def asked_bound(_home: _Home, /, *args: Any, **kwargs: Any) -> Any:
        machine = current.machine
        if machine is None or not machine.deterministic or not _theirs(_getframe(1)):
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
        name: _seed if name == "seed" else _draw(name)
        for name, value in vars(random).items()
        if getattr(value, "__self__", None) is random.random.__self__  # type: ignore[attr-defined]
    }
    replaced = {}
    for module, answers in {**_ANSWERS, random: drawn}.items():
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
        machine = _asking(_getframe(1)) if a is None else None
        seed(self, a if machine is None else _chance(machine).bits(256), version)

    @functools.wraps(bits)
    def bits_asked(self: random.SystemRandom, k: int) -> int:
        machine = _asking(_getframe(1))
        return bits(self, k) if machine is None or k < 0 else _chance(machine).bits(k)

    @functools.wraps(bytes_)
    def bytes_asked(self: random.SystemRandom, n: int) -> bytes:
        machine = _asking(_getframe(1))
        return bytes_(self, n) if machine is None or n < 0 else _chance(machine).bytes(n)

    @functools.wraps(fraction)
    def fraction_asked(self: random.SystemRandom) -> float:
        machine = _asking(_getframe(1))
        return fraction(self) if machine is None else _chance(machine).bits(53) * 2.0**-53

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


_METHODS_OF_DATES = ("now", "utcnow", "today")


def _replace_methods_of_dates() -> None:
    now, utcnow, today = vars(datetime)["now"], vars(datetime)["utcnow"], vars(date)["today"]
    deprecation = _deprecation_of(utcnow)

    def now_asked(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        machine = current.machine
        if machine is None or not machine.deterministic or not _theirs(_getframe(1)):
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
        if machine is None or not machine.deterministic or not _theirs(_getframe(1)):
            # Not the original, which would say that it is us who use what is deprecated.
            return now.__get__(None, cls)(timezone.utc).replace(tzinfo=None)  # type: ignore[no-any-return]
        return _made(cls, action.utc_time(machine.header))

    def today_asked(cls: type[date]) -> date:
        machine = current.machine
        if machine is None or not machine.deterministic or not _theirs(_getframe(1)):
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


class _Holders:
    """Those who took hold of a function before it was replaced.

    Looked at are the modules that are loaded, outside the standard library: their names, the
    attributes of their classes, default arguments, closures and ``default_factory`` there, and lists
    and dicts that are such a name or attribute.
    """

    def __init__(self, replaced: dict[int, tuple[Any, Any]]) -> None:
        self._replaced = replaced
        self._seen: set[int] = set()

    def rebind(self) -> None:
        for name, module in list(sys.modules.items()):
            if issubclass(type(module), ModuleType) and _is_theirs(name):
                self._names(_names_of(module))

    def _names(self, names: dict[Any, Any]) -> None:
        if self._begins(names):
            for name, value in list(names.items()):
                new = self._look_at(value)
                if new is not value:
                    names[name] = new

    def _begins(self, holder: object) -> bool:
        new = id(holder) not in self._seen
        self._seen.add(id(holder))
        return new

    def _new(self, value: Any) -> Any:
        """What is to be held instead of a value; itself, if it may stay."""
        found = self._replaced.get(id(value))
        if found is not None:
            return found[1]
        kind = type(value)
        if kind is BuiltinMethodType:
            # Each look at datetime.now gave another object.
            cls, name = value.__self__, value.__name__
            if isinstance(cls, type) and issubclass(cls, date) and name in _METHODS_OF_DATES:
                owner = datetime if name != "today" else date
                return vars(owner)[name].__get__(None, cls)
        elif kind is MethodType and id(value.__func__) in self._replaced:
            return MethodType(self._replaced[id(value.__func__)][1], value.__self__)
        elif kind is functools.partial and self._new(value.func) is not value.func:
            return functools.partial(self._new(value.func), *value.args, **value.keywords)
        elif kind is staticmethod and self._new(value.__func__) is not value.__func__:
            return staticmethod(self._new(value.__func__))
        return value

    def _look_at(self, value: Any) -> Any:
        """As `_new`, and looks at what the value holds in turn."""
        new = self._new(value)
        if new is value:
            # Of the type: an object may say that it is of another class, or raise if it is asked.
            kind = type(value)
            if issubclass(kind, type):
                self._class(value)
            elif kind is dict:
                self._items(value, list(value.items()))
            elif kind is list:
                self._items(value, list(enumerate(value)))
            else:
                self._functions(value)
        return new

    def _items(self, holder: Any, items: list[tuple[Any, Any]]) -> None:
        for key, value in items:
            new = self._new(value)
            if new is not value:
                holder[key] = new

    def _class(self, cls: type) -> None:
        if not _is_theirs(cls.__module__) or not self._begins(cls):
            return
        members = dict(vars(cls))
        for name, value in members.items():
            new = self._look_at(value)
            if new is not value:
                # A class of C.
                with contextlib.suppress(TypeError):
                    type.__setattr__(cls, name, new)
        fields = [*members.get("__dataclass_fields__", {}).values()]
        fields += [getattr(each, "default", None) for each in members.get("__attrs_attrs__", ())]
        for field in fields:
            for name in ("default_factory", "factory"):
                factory = getattr(field, name, None)
                if self._new(factory) is not factory:
                    setattr(field, name, self._new(factory))

    def _functions(self, value: Any) -> None:
        """Follows functions, and what is wrapped around them."""
        kind = type(value)
        if kind is FunctionType:
            self._function(value)
        elif kind in (staticmethod, classmethod, MethodType):
            self._functions(value.__func__)
        elif kind is property:
            for each in (value.fget, value.fset, value.fdel):
                self._functions(each)
        elif kind in (functools.cached_property, functools.partial, functools.partialmethod):
            self._functions(value.func)
        elif kind is functools._lru_cache_wrapper:
            self._functions(value.__wrapped__)

    def _function(self, function: FunctionType) -> None:
        if not _is_theirs(function.__globals__.get("__name__")) or not self._begins(function):
            return
        if function.__defaults__:
            defaults = tuple(map(self._new, function.__defaults__))
            if any(new is not old for new, old in zip(defaults, function.__defaults__, strict=True)):
                function.__defaults__ = defaults
        if function.__kwdefaults__:
            self._items(function.__kwdefaults__, list(function.__kwdefaults__.items()))
        for cell in function.__closure__ or ():
            self._cell(cell)
        if function.__globals__ is not _names_of(sys.modules.get(function.__module__)):
            # Generated code may have names of its own; that of attrs has.
            self._names(function.__globals__)

    def _cell(self, cell: CellType) -> None:
        try:
            value = cell.cell_contents
        except ValueError:
            return  # Empty still.
        new = self._new(value)
        if new is not value:
            cell.cell_contents = new
        else:
            self._functions(value)


def _names_of(module: object) -> dict[str, Any]:
    # Asked in any other way, a module that loads itself late does so.
    names: dict[str, Any] = object.__getattribute__(module, "__dict__") if issubclass(type(module), ModuleType) else {}
    return names


# --- what else an action uses ------------------------------------------------------------------------


class Use(NamedTuple):
    """Something outside the system that an action used."""

    domain: str
    """The class of the system."""
    method: str
    kind: str
    """A key of `INSTEAD`."""
    event: str
    """As in Python's table of audit events."""
    what: str
    file: str
    line: int
    replayed: bool
    """Whether the action runs again."""

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.domain}.{self.method}() uses {self.kind} in an action "
            f"({self.event}: {self.what}); replay does it again, and may find something else. "
            f"Use {INSTEAD[self.kind]}."
        )


INSTEAD = {
    "files": "an argument: let the caller work with files, and pass what the method needs",
    "the network": "an argument: let the caller talk to the network, and pass the answer",
    "processes": "an argument: let the caller run it, and pass the result",
    "the console": "an argument: let the caller ask, and pass the answer",
    "the environment": "an argument: let the caller look it up, and pass it",
}
_EVENTS = {
    event: kind
    for kind, events in {
        "files": "open os.listdir os.scandir os.remove os.rename os.mkdir os.rmdir os.link os.symlink os.truncate "
        "os.chmod os.chown os.utime os.chdir sqlite3.connect",
        "the network": "socket.connect socket.bind socket.sendto socket.sendmsg socket.getaddrinfo "
        "socket.gethostbyname socket.gethostbyaddr socket.gethostname socket.getnameinfo",
        "processes": "subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn os.kill os.killpg",
        "the console": "builtins.input",
        "the environment": "os.putenv os.unsetenv",
    }.items()
    for event in events.split()
}
# What these open has nothing to do with what the action does.
_QUIET = frozenset({"linecache", "logging", "tokenize", "traceback", "warnings"})
_WHAT_SHOWN_MAX = 80

_watchers: list[tuple[Callable[[Use], object], type]] = []
_hooked = False


class _Watching(threading.local):
    busy = False


_watching = _Watching()


def watch(callback: Callable[[Use], object], cls: type = object) -> Callable[[], None]:
    """Calls back for each use of files, sockets, processes, the console by an action of a ``cls``.

    ``callback`` is called before it happens, in its thread; what it raises is raised there instead.
    `warned` and `refused` are two to take. Returns what ends it; Python's audit hook stays, and
    costs a little for every event, until the process ends.
    """
    global _hooked
    watcher = callback, cls
    with _installing:
        _watchers.append(watcher)
        if not _hooked:
            _hooked = True
            sys.addaudithook(_audited)

    def end() -> None:
        if watcher in _watchers:
            _watchers.remove(watcher)

    return end


_warned: set[tuple[str, str, str]] = set()


def warned(use: Use) -> None:
    """Warns, once for a method and kind of use."""
    key = use.domain, use.method, use.kind
    if key not in _warned:
        _warned.add(key)
        warnings.warn_explicit(DeterminismWarning(str(use)), DeterminismWarning, use.file, use.line)


def refused(use: Use) -> None:
    """Raises `PrevalentError`: the use does not happen. What is replayed was allowed when it was recorded."""
    if not use.replayed:
        raise PrevalentError(f"{use} It was not done.", (use,))


def _audited(event: str, args: tuple[Any, ...]) -> None:
    kind = _EVENTS.get(event)
    if kind is None or not _watchers:
        return
    machine = current.machine
    if machine is None or _watching.busy:
        return
    frame = _user(_getframe(1))
    if frame is None or event == "open" and _is_time_zone(args[0]):
        return
    running = _running(frame)
    if "construct" in running:
        return  # What a first state was made from is kept with it: it is not made again.
    domain = type(getattr(machine, "domain", None))
    what = ", ".join(words.shown(each) for each in args[:1])
    if len(what) > _WHAT_SHOWN_MAX:
        what = what[: _WHAT_SHOWN_MAX - 3] + "..."
    method = _method(frame, domain)
    replayed = "replay" in running
    use = Use(domain.__qualname__, method, kind, event, what, frame.f_code.co_filename, frame.f_lineno, replayed)
    _watching.busy = True
    try:
        for callback, cls in list(_watchers):
            if issubclass(domain, cls):
                callback(use)
    finally:
        _watching.busy = False


def _is_time_zone(path: object) -> bool:
    # What loads these is written in C, and leaves no frame.
    return str(path).startswith(tuple(getattr(sys.modules.get("zoneinfo"), "TZPATH", ())))


def _user(frame: FrameType | None) -> FrameType | None:
    """The code that this is done for; None where it is not the domain's doing."""
    found = None
    for each in _outwards(frame):
        name = str(each.f_globals.get("__name__"))
        package = name.partition(".")[0]
        if found is None:
            if package in _QUIET or package == "coopy":
                return None
            if _theirs(each):
                found = each
        if package in ("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport"):
            return None  # It finds and loads a module.
        if each.f_code.co_name == "<module>":
            return found  # The module does it while it is imported.
    return found


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the action, the outermost last."""
    while frame is not None and MACHINE not in frame.f_globals:
        yield frame
        frame = frame.f_back


def _running(frame: FrameType) -> set[str]:
    """What of the machine runs the action."""
    *_, outermost = _outwards(frame)
    names, above = set(), outermost.f_back
    while above is not None and MACHINE in above.f_globals:
        names.add(above.f_code.co_name)
        above = above.f_back
    return names


def _method(frame: FrameType, domain: type) -> str:
    """The method that the action calls; what is wrapped around it does not count."""
    names = [each.f_code.co_name for each in _outwards(frame)]
    return next((name for name in reversed(names) if hasattr(domain, name)), names[-1])
