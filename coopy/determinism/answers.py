"""What the standard library answers in an action: from its instant, and from draws of its seed.

Each answer takes the machine that runs the action, the function that was replaced, and the arguments. Who gets an answer is decided
elsewhere (`coopy.determinism.asking`), and where it is put, too (`coopy.determinism.install`).
"""

from __future__ import annotations

import operator
import os
import random
import time
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any

from coopy.env import Draws
from coopy.ground import action
from coopy.ground.running import Moment

Answer = Callable[..., Any]
"""Called with the action that runs, with what was replaced, and with the arguments."""
_NS = 1_000_000_000  # How many nanoseconds a second has.


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


def chance_of(machine: Moment) -> Chance:
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
    return chance_of(machine).bytes(size) if size >= 0 else original(size)


def _uuid(value: int, version: int) -> uuid.UUID:
    value = value & ~(0xC000 << 48) & ~(0xF000 << 64)
    return uuid.UUID(int=value | 0x8000 << 48 | version << 76)


def _stamp(machine: Moment, node: int | None, clock_seq: int | None) -> tuple[int, int]:
    """60 bits of time, another one each time in an action, and 64 of place."""
    chance = chance_of(machine)
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
    return uuid.UUID(bytes=chance_of(machine).bytes(16), version=4)


def _uuid6(machine: Moment, _original: Answer, node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    ticks, place = _stamp(machine, node, clock_seq)
    return _uuid(ticks >> 12 << 80 | (ticks & 0xFFF) << 64 | place, 6)


def _uuid7(machine: Moment, _original: Answer) -> uuid.UUID:
    chance = chance_of(machine)
    milliseconds = action.instant_of(machine.header) // 1_000_000
    counter = chance.count()
    return _uuid(milliseconds << 80 | counter >> 30 << 64 | (counter & (1 << 30) - 1) << 32 | chance.bits(32), 7)


def _uuid8(machine: Moment, _original: Answer, a: int | None = None, b: int | None = None, c: int | None = None) -> uuid.UUID:
    chance = chance_of(machine)
    a, b, c = (chance.bits(bits) if given is None else given for given, bits in ((a, 48), (b, 12), (c, 62)))
    return _uuid((a & (1 << 48) - 1) << 80 | (b & 0xFFF) << 64 | c & (1 << 62) - 1, 8)


def draw_of(name: str) -> Answer:
    def draw(machine: Moment, _original: Answer, *args: Any, **kwargs: Any) -> Any:
        return getattr(chance_of(machine).generator(), name)(*args, **kwargs)

    return draw


def seeded(machine: Moment, _original: Answer, a: Any = None, version: int = 2) -> None:
    # For the rest of the action; the generator of the process is not touched.
    chance = chance_of(machine)
    chance.generator().seed(chance.bits(256) if a is None else a, version)


ANSWERS: dict[ModuleType, dict[str, Answer]] = {
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
