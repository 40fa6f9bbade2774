"""Calls whose arguments are what real programs pass: dates, decimals, ids, containers, objects.

What is raw: one ``pickle.dumps`` of (name, args, None) in protocol 5, a CRC-32, one ``os.write``, and the bare call; where the argument is mutable and so has to be
copied, one ``pickle.loads`` more. Of replay: one ``pickle.loads`` for each record, whose bytes are in a list already, and the bare call.

The processor time of the thread is measured (`time.thread_time`), and not the time that went by: what else runs on the machine is left out of it.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import gc
import json
import os
import pickle
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

import coopy
from benchmarks import peers

_pack = struct.Struct("<IIQQ").pack
VALUES = 1_000  # So many different ones of each kind are made before anything is measured.


class Shelf:
    """Keeps what it was given last, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.last: Any = None

    def put(self, value: Any) -> int:
        self.last = value
        self.count += 1
        return self.count

    def put_both(self, name: str, value: Any) -> int:
        self.last = value
        self.count += 1
        return self.count


@dataclasses.dataclass
class Line:
    name: str
    amount: int
    price: float


@dataclasses.dataclass(frozen=True)
class Point:
    name: str
    x: int
    y: float


class Pair(NamedTuple):
    name: str
    amount: int


class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    BLUE = 3


class Kind(NamedTuple):
    """A row of the table: what one argument is made of from a number, and whether the method must get a copy."""

    name: str
    make: Callable[[int], Any]
    is_mutable: bool = False
    method: str = "put"
    by_name: bool = False


_DAY = datetime(2024, 5, 17, 12, 30, tzinfo=timezone.utc)
_colours = list(Colour)
KINDS = {
    kind.name: kind
    for kind in [
        Kind("str, int", lambda n: (f"account{n % 100:02d}", n), method="put_both"),
        Kind("datetime", lambda n: (datetime(2024, 5, 17) + timedelta(seconds=n * 61),)),
        Kind("datetime, UTC", lambda n: (_DAY + timedelta(seconds=n * 61),)),
        Kind("Decimal", lambda n: (Decimal(n) / 100,)),
        Kind("UUID", lambda n: (UUID(int=(n + 1) * 0x1234_5678_9ABC_DEF0_1234),)),
        Kind("Fraction", lambda n: (Fraction(n, 1009),)),
        Kind("member of an Enum", lambda n: (_colours[n % 3],)),
        Kind("frozen dataclass", lambda n: (Point(f"p{n}", n, n * 0.5),)),
        Kind("named tuple", lambda n: (Pair(f"p{n}", n),)),
        Kind("str, Decimal", lambda n: (f"account{n % 100:02d}", Decimal(n) / 100), method="put_both"),
        Kind("str=, Decimal=", lambda n: (f"account{n % 100:02d}", Decimal(n) / 100), method="put_both", by_name=True),
        Kind("dict of 5", lambda n: ({"name": f"n{n}", "size": n, "price": n * 0.5, "done": False, "note": "none"},), True),
        Kind("dataclass", lambda n: (Line(f"line{n}", n, n * 0.5),), True),
        Kind("list of 10 ints", lambda n: (list(range(n, n + 10)),), True),
        Kind("str, dataclass", lambda n: (f"account{n % 100:02d}", Line(f"line{n}", n, n * 0.5)), True, "put_both"),
        Kind("list of 3 dataclasses", lambda n: ([Line(f"line{n}", n, n * 0.5) for _ in range(3)],), True),
    ]
}
ISSUE = ["str, int", "datetime", "Decimal", "UUID", "dict of 5", "dataclass", "list of 10 ints"]
WRITE_AT_MOST, COPY_AT_MOST, REPLAY_AT_MOST = 1.6, 1.4, 1.5
PLAIN_REPLAY_AT_MOST = 1.8


def values_of(kind: Kind) -> list[Any]:
    return [kind.make(number) for number in range(VALUES)]


def _call_each(method: Callable[..., Any], kind: Kind, values: list[Any], count: int) -> float:
    """The seconds of processor time that so many calls take."""
    gc.collect()
    turns = count // len(values)
    if kind.by_name:
        named = [dict(zip(("name", "value"), args, strict=True)) for args in values]
        began = time.thread_time()
        for _ in range(turns):
            for kwargs in named:
                method(**kwargs)
        return time.thread_time() - began
    began = time.thread_time()
    for _ in range(turns):
        for args in values:
            method(*args)
    return time.thread_time() - began


def raw_write(path: str, kind: Kind, values: list[Any], count: int) -> float:
    """Seconds of processor time for the least that writes, and copies where a copy is needed."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    name, method = kind.method, getattr(Shelf(), kind.method)
    dumps, loads, crc32, write = pickle.dumps, pickle.loads, zlib.crc32, os.write

    def without(*args: Any) -> None:
        data = dumps((name, args, None), 5)
        write(fd, _pack(crc32(data), len(data), 0, 0) + data)
        method(*args)

    def copied(*args: Any) -> None:
        data = dumps((name, args, None), 5)
        write(fd, _pack(crc32(data), len(data), 0, 0) + data)
        method(*loads(data)[1])

    def named(**kwargs: Any) -> None:
        data = dumps((name, (), kwargs), 5)
        write(fd, _pack(crc32(data), len(data), 0, 0) + data)
        method(**kwargs)

    took = _call_each(named if kind.by_name else copied if kind.is_mutable else without, kind, values, count)
    os.close(fd)
    return took


def raw_replay(kind: Kind, values: list[Any], count: int) -> float:
    """Seconds of processor time for the least that reads records one by one and makes the bare call."""
    if kind.by_name:
        named = [dict(zip(("name", "value"), args, strict=True)) for args in values]
        records = [pickle.dumps((kind.method, (), kwargs), 5) for kwargs in named]
    else:
        records = [pickle.dumps((kind.method, args, None), 5) for args in values]
    shelf, loads = Shelf(), pickle.loads
    gc.collect()
    gc.disable()
    began = time.thread_time()
    for _ in range(count // len(records)):
        for data in records:
            name, args, kwargs = loads(data)
            if kwargs:
                getattr(shelf, name)(*args, **kwargs)
            else:
                getattr(shelf, name)(*args)
    took = time.thread_time() - began
    gc.enable()
    return took


def open_shelf(path: str) -> Any:
    return coopy.init_system(Shelf, path, durability="buffered", validation="off")


def replay(path: str, empty: str) -> float:
    """Seconds of processor time for opening a directory, less those for opening one of no actions."""

    def opened(directory: str) -> float:
        gc.collect()
        began = time.thread_time()
        system = open_shelf(directory)
        took = time.thread_time() - began
        system.close()
        return took

    opened(empty)
    least = min(opened(empty) for _ in range(3))
    return opened(path) - least


def deepcopied(kind: Kind, values: list[Any], path: str, count: int) -> float:
    """As Prevayler does: the transaction is written, and carried out on a deep copy of it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    name, method = kind.method, getattr(Shelf(), kind.method)

    def call(*args: Any, **kwargs: Any) -> None:
        data = pickle.dumps((name, args, kwargs), 5)
        os.write(fd, _pack(zlib.crc32(data), len(data), 0, 0) + data)
        args, kwargs = copy.deepcopy((args, kwargs))
        method(*args, **kwargs)

    took = _call_each(call, kind, values, count)
    os.close(fd)
    return took


def _as_json(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)  # type: ignore[call-overload]


def sqlite_with_json(kind: Kind, values: list[Any], path: str, count: int) -> float:
    """One autocommitted insert of the arguments as JSON a call, WAL, synchronous=OFF."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY, name TEXT, args TEXT)")

    def call(*args: Any, **kwargs: Any) -> None:
        connection.execute(
            "INSERT INTO calls (name, args) VALUES (?, ?)", (kind.method, json.dumps([args, kwargs], default=_as_json))
        )

    took = _call_each(call, kind, values, count)
    connection.close()
    return took


_COOPY_070 = """
import sys, time, gc
sys.path.insert(0, sys.argv[3])
from benchmarks_rich_070 import rich
from coopy.base import init_persistent_system

if __name__ == "__main__":
    kind = rich.KINDS[sys.argv[4]]
    shelf = init_persistent_system(rich.Shelf(), sys.argv[1])
    print(rich._call_each(getattr(shelf, kind.method), kind, rich.values_of(kind), int(sys.argv[2])))
"""


class Figures(NamedTuple):
    """What one row has: microseconds a call of ours and of raw, round by round."""

    write: list[float]
    raw_write: list[float]
    replay: list[float]
    raw_replay: list[float]


def measured(new_path: Callable[[str], str], kind: Kind, count: int, rounds: int) -> Figures:
    """Measures one row, ours and raw in turn."""
    values = values_of(kind)
    found = Figures([], [], [], [])
    empty = new_path("empty")
    open_shelf(empty).close()
    for number in range(rounds + 1):
        path = new_path("shelf")
        system = open_shelf(path)
        _call_each(getattr(system, kind.method), kind, values, len(values))
        theirs = raw_write(new_path("raw"), kind, values, count)
        ours = _call_each(getattr(system, kind.method), kind, values, count)
        system.close()
        again_theirs = raw_replay(kind, values, count)
        again_ours = replay(path, empty)
        if number:  # The first round fills caches.
            for each, took in zip(found, (ours, theirs, again_ours, again_theirs), strict=True):
                each.append(took / count * 1e6)
    return found


def others(new_path: Callable[[str], str], kind: Kind, count: int) -> dict[str, float]:
    """Microseconds a call of what else does such work."""
    values = values_of(kind)
    found = {
        "deepcopy as Prevayler": deepcopied(kind, values, new_path("deepcopy"), count),
        "sqlite3 with JSON": sqlite_with_json(kind, values, new_path("sqlite"), count),
        "coopy 0.7.0": _coopy_070(new_path("coopy070"), kind, count),
    }
    return {name: took / count * 1e6 for name, took in found.items()}


def _coopy_070(directory: str, kind: Kind, count: int) -> float:
    around = os.path.dirname(directory)
    package = os.path.join(around, "benchmarks_rich_070")
    os.makedirs(package, exist_ok=True)
    with open(os.path.join(package, "__init__.py"), "w"):
        pass
    with open(__file__) as source, open(os.path.join(package, "rich.py"), "w") as file:
        file.write(source.read().replace("import coopy\nfrom benchmarks import peers\n", ""))
    program = os.path.join(around, "coopy_070_rich.py")
    with open(program, "w") as file:
        file.write(_COOPY_070)
    ran = subprocess.run(
        [peers.coopy_070_python(), program, directory, str(count), around, kind.name],
        check=True,
        capture_output=True,
        text=True,
        cwd=around,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    return float(ran.stdout.split()[-1])


def table(new_path: Callable[[str], str], names: list[str], count: int, rounds: int) -> Iterator[tuple[Kind, Figures]]:
    for name in names:
        yield KINDS[name], measured(new_path, KINDS[name], count, rounds)


def main() -> None:
    """Prints what was measured: python -m benchmarks.rich CALLS ROUNDS [ROW ...]"""
    import shutil
    import statistics
    import tempfile

    count, rounds = int(sys.argv[1]), int(sys.argv[2])
    directory = tempfile.mkdtemp(prefix=".bench-data-", dir=".")
    numbers = iter(range(1 << 30))
    try:
        new_path = lambda name: os.path.join(directory, f"{next(numbers)}-{name}")  # noqa: E731
        for kind, each in table(new_path, sys.argv[3:] or list(KINDS), count, rounds):
            print(
                f"{kind.name:<24}"
                + "".join(
                    f" {statistics.median(ours):7.2f} {statistics.median(raw):7.2f} "
                    f"{statistics.median(a / b for a, b in zip(ours, raw, strict=True)):5.2f} |"
                    for ours, raw in ((each.write, each.raw_write), (each.replay, each.raw_replay))
                ),
                flush=True,
            )
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    # The classes of the arguments are of a module, and not of a main file.
    from benchmarks import rich

    rich.main()
