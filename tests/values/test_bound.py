"""What belongs to a process is no argument and no part of a state; locks of a state are made anew."""

from __future__ import annotations

import abc
import asyncio
import bz2
import codecs
import concurrent.futures
import contextlib
import contextvars
import csv
import ctypes
import dbm.dumb
import fileinput
import functools
import gzip
import hashlib
import io
import logging
import logging.handlers
import lzma
import math
import mmap
import multiprocessing
import multiprocessing.connection
import multiprocessing.shared_memory
import os
import pickle
import queue
import re
import sched
import select
import selectors
import shelve
import socket
import sqlite3
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import types
import weakref
import zipfile
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import CoopyError, EncodingError, SnapshotError, control, init_system, testing
from coopy.decorators import transactional, unlocked
from coopy.errors import UndecodableAction
from coopy.past.reading import Reading
from coopy.tools import tree
from coopy.tools.verify import verify
from coopy.values import arguments, bytecode, codec, digest

pytestmark = pytest.mark.filterwarnings("ignore:Cannot (locate|pickle)")  # By dill, of classes of ctypes.


class Album:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, value: Any, *more: Any, **named: Any) -> None:
        self.kept.append((value, *more, *named.values()))

    def count(self, function: Callable[[], Any]) -> Any:
        return function()

    @transactional(parts=("kept",))
    def keep_or_not(self, value: Any, fails: bool) -> None:
        self.kept.append(value)
        if fails:
            raise LookupError("not kept")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some values write files where the test runs."""
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def album(tmp_path: Path) -> Iterator[Any]:
    with init_system(Album, tmp_path / "data", validation="off") as album:
        yield album


class Order:
    def __init__(self, attachment: Any) -> None:
        self.number = 1
        self.attachment = attachment


@dataclass(frozen=True)
class Frozen:
    number: int
    attachment: Any


class Slotted:
    __slots__ = ("attachment", "number")

    def __init__(self, attachment: Any) -> None:
        self.attachment = attachment
        self.number = 1


Pair = namedtuple("Pair", "number attachment")


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None: ...


async def async_generator() -> Any:
    yield 1


@contextlib.contextmanager
def manager() -> Iterator[int]:
    yield 1


def traceback_of_an_error() -> Any:
    try:
        raise ValueError
    except ValueError as error:
        return error.__traceback__


def written(path: str) -> str:
    Path(path).write_text("text")
    return path


def zipped() -> zipfile.ZipFile:
    with zipfile.ZipFile("zip", "w") as file:
        file.writestr("a", "b")
    return zipfile.ZipFile("zip")


def shared() -> Any:
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=10)
    memory.unlink()
    return memory


def spooled_to_disk() -> Any:
    file = tempfile.SpooledTemporaryFile(max_size=1)
    file.write(b"more than one")
    return file


class QuietQueue(asyncio.Queue):  # type: ignore[type-arg]
    """A subclass of what pickle would write."""


class Device(io.RawIOBase):
    """A file of the program's own."""


class Job(threading.Thread):
    pass


class OurHandler(logging.NullHandler):
    pass


def finished(*command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command)
    process.wait()
    return process


FILES: dict[str, Callable[[], Any]] = {
    "text": lambda: open(written("f")),
    "written": lambda: open("f", "w"),
    "appended": lambda: open("f", "a"),
    "binary": lambda: open(written("f"), "rb"),
    "raw": lambda: open(written("f"), "rb", 0),
    "both": lambda: open(written("f"), "r+b"),
    "of a descriptor": lambda: os.fdopen(os.dup(1), "wb"),
    "closed": lambda: [file := open(written("f")), file.close()][0],
    "temporary": tempfile.TemporaryFile,
    "named": tempfile.NamedTemporaryFile,
    "spooled in memory": tempfile.SpooledTemporaryFile,
    "spooled to disk": spooled_to_disk,
    "gzip": lambda: gzip.open("g", "w"),
    "bz2": lambda: bz2.open("b", "w"),
    "lzma": lambda: lzma.open("l", "w"),
    "member of a zip": lambda: zipped().open("a"),
    "wrapper of bytes": lambda: io.TextIOWrapper(io.BytesIO()),
    "buffer of bytes": lambda: io.BufferedReader(io.BytesIO()),  # type: ignore[arg-type]
    "codecs": lambda: codecs.open(written("f"), encoding="utf-8"),
    "fileinput": lambda: fileinput.FileInput(written("f")),
    "csv": lambda: csv.reader(open(written("f"))),
    "csv of rows": lambda: csv.DictReader(open(written("f"))),
    "stdout": lambda: sys.__stdout__,
    "pipe of a process": lambda: os.popen("true"),
    "of the program": Device,
}
OTHERS: dict[str, Callable[[], Any]] = {
    "zip": zipped,
    "path in a zip": lambda: zipfile.Path(zipped()),
    "tar": lambda: tarfile.open("t", "w"),
    "temporary folder": tempfile.TemporaryDirectory,
    "mmap": lambda: mmap.mmap(-1, 10),
    "scandir": lambda: os.scandir("."),
    "entry": lambda: next(os.scandir(written("f") and ".")),
    "socket": socket.socket,
    "socketpair": lambda: socket.socketpair()[0],
    "TLS": ssl.create_default_context,
    "selector": selectors.DefaultSelector,
    "select": selectors.SelectSelector,
    "poll": select.poll,
    "thread": threading.Thread,
    "thread of the program": Job,
    "timer": lambda: threading.Timer(1, print),
    "running thread": threading.current_thread,
    "threads": concurrent.futures.ThreadPoolExecutor,
    "future": concurrent.futures.Future,
    "locals": threading.local,
    "queue": queue.Queue,
    "stack": queue.LifoQueue,
    "priorities": queue.PriorityQueue,
    "simple queue": queue.SimpleQueue,
    "queue of processes": multiprocessing.Queue,
    "simple queue of processes": multiprocessing.SimpleQueue,
    "lock of processes": multiprocessing.Lock,
    "event of processes": multiprocessing.Event,
    "value of processes": lambda: multiprocessing.Value("i"),
    "pipe of processes": lambda: multiprocessing.Pipe()[0],
    "shared memory": shared,
    "process": multiprocessing.Process,
    "queue of asyncio": asyncio.Queue,
    "priorities of asyncio": asyncio.PriorityQueue,
    "queue of the program": QuietQueue,
    "lock of asyncio": asyncio.Lock,
    "event of asyncio": asyncio.Event,
    "condition of asyncio": asyncio.Condition,
    "semaphore of asyncio": asyncio.Semaphore,
    "loop": asyncio.new_event_loop,
    "logger": lambda: logging.getLogger("shop"),
    "root logger": logging.getLogger,
    "adapter": lambda: logging.LoggerAdapter(logging.getLogger("shop"), {}),
    "handler": logging.StreamHandler,
    "no handler": logging.NullHandler,
    "handler of the program": OurHandler,
    "handler of a file": lambda: logging.FileHandler("log", delay=True),
    "generator": generator,
    "expression": lambda: (each for each in "ab"),
    "with": manager,
    "async generator": async_generator,
    "module": lambda: math,
    "environment": lambda: os.environ,
    "popen": lambda: finished("true"),
    "database": lambda: sqlite3.connect(":memory:"),
    "cursor": lambda: sqlite3.connect(":memory:").cursor(),
    "shelf": lambda: shelve.Shelf({}),
    "dumb database": lambda: dbm.dumb.open("dumb"),
    "frame": sys._getframe,
    "traceback": traceback_of_an_error,
    "variable": lambda: contextvars.ContextVar("a"),
    "context": contextvars.copy_context,
    "token": lambda: contextvars.ContextVar("a").set(1),  # type: ignore[misc]
    "weak reference": lambda: weakref.ref(Order),
    "weak method": lambda: weakref.WeakMethod(Order(1).__init__),  # type: ignore[misc]
    "weak values": weakref.WeakValueDictionary,
    "weak keys": weakref.WeakKeyDictionary,
    "weak set": weakref.WeakSet,
    "finalizer": lambda: weakref.finalize(Order, print),
    "library": lambda: ctypes.CDLL(None),
    "pointer": lambda: ctypes.pointer(ctypes.c_int(1)),
    "scheduler": sched.scheduler,
}
LOCKS: dict[str, Callable[[], Any]] = {
    "lock": threading.Lock,
    "re-entrant lock": threading.RLock,
    "condition": threading.Condition,
    "event": threading.Event,
    "semaphore": threading.Semaphore,
    "bounded semaphore": threading.BoundedSemaphore,
    "barrier": lambda: threading.Barrier(2),
}
UNKEPT = {**FILES, **OTHERS}
each_kind = pytest.mark.parametrize("make", [*UNKEPT.values(), *LOCKS.values()], ids=[*UNKEPT, *LOCKS])


@contextlib.contextmanager
def closed_at_the_end(value: Any) -> Iterator[Any]:
    try:
        yield value
    finally:
        if isinstance(value, (asyncio.AbstractEventLoop, socket.socket, sqlite3.Connection)):
            value.close()


# -- arguments


@each_kind
def test_what_belongs_to_a_process_is_no_argument(make: Callable[[], Any], album: Any) -> None:
    with closed_at_the_end(make()) as value:
        for given, path in ((value, "value"), (Order(value), "value.attachment"), ([1, {"a": value}], "value[1]['a']")):
            if type(given) in arguments.OTHERS:
                continue  # An argument itself may be such: another is given in its place.
            with pytest.raises(EncodingError) as refused:
                album.keep(given)
            message = str(refused.value)
            assert refused.value.argument == "value"
            assert message.startswith(f"argument 'value' of Album.keep() cannot be encoded: {path} is "), message
            assert type(value).__qualname__ in message
            assert ", which belongs to this process. Nothing was recorded and nothing has changed. " in message
            assert not message.endswith("changed. "), "what to do comes last"
    assert (album.kept, control(album).index) == ([], 0)


@each_kind
def test_what_belongs_to_a_process_is_refused_in_a_closure_too(make: Callable[[], Any], album: Any) -> None:
    with closed_at_the_end(make()) as value:
        if value is math:
            return  # A module in a closure is imported again.
        local: dict[str, Any] = {"held": value}
        for function, path in (
            (lambda: value, "<closure>.value"),
            (lambda given=value: given, "__defaults__[0]"),
            (lambda *, given=value: given, "__kwdefaults__['given']"),
            (lambda: local, "<closure>.local['held']"),
            (functools.partial(lambda a: a, value), "args[0]"),
        ):
            with pytest.raises(EncodingError) as refused:
                album.keep(function)
            assert f"'value' of Album.keep() cannot be encoded: value.{path} is " in str(refused.value)
            assert ", which belongs to this process" in str(refused.value)
    assert control(album).index == 0


@pytest.mark.parametrize("make", FILES.values(), ids=list(FILES))
def test_an_open_file_is_called_so_and_what_to_pass_is_said(make: Callable[[], Any], album: Any) -> None:
    with pytest.raises(EncodingError, match=r"is an open file .*Pass what is in it: file\.read\(\)"):
        album.keep(make())


def test_the_path_leads_to_what_is_refused(album: Any) -> None:
    file = open(written("f"))

    class Local:
        held = file

        def method(self) -> Any:
            return file

    cell = Local()
    for given, path in (
        ((1, (2, file)), "value[1][1]"),
        ({file}, "value{...}"),
        ({file: 1}, "value.<key>"),
        (Frozen(1, file), "value.attachment"),
        (Slotted(file), "value.attachment"),
        (Pair(1, file), "value.attachment"),
        (deque([1, file]), "value[1]"),
        (OrderedDict(a=[file]), "value['a'][0]"),
        (types.SimpleNamespace(a=Order([file])), "value.a.attachment[0]"),
        (ValueError("x", file), "value.args[1]"),
        (file.read, "value.__self__"),
        (Order(file).__init__, "value.__self__.attachment"),  # type: ignore[misc]
        (functools.partial(print, file=file), "value.keywords['file']"),
        ([map(str, [file])], "value[0].<argument>[1]"),
        (Local, "value.held"),
        (cell.method, "value.__func__.<closure>.file"),
        (functools.lru_cache(lambda: file), "value.__wrapped__.<closure>.file"),
    ):
        with pytest.raises(EncodingError) as refused:
            album.keep(given)
        assert f"cannot be encoded: {path}" in str(refused.value), given
    for call, label, path in (
        (lambda: album.keep(1, Order(file)), "#2", "#2.attachment"),
        (lambda: album.keep(1, named=[file]), "named", "named[0]"),
    ):
        with pytest.raises(EncodingError) as refused:
            call()
        assert (refused.value.argument, f"encoded: {path} is an open file" in str(refused.value)) == (label, True)


class Upload:
    """As those of werkzeug and starlette, which hold the file of an upload."""

    def __init__(self, stream: Any) -> None:
        self.filename = "photo"
        self.stream = stream


def test_an_upload_is_refused_for_the_file_that_it_holds_and_kept_if_that_is_in_memory(album: Any) -> None:
    for file in (tempfile.SpooledTemporaryFile(), spooled_to_disk(), tempfile.TemporaryFile()):
        with pytest.raises(EncodingError, match=r"upload\.stream is an open file|value\.stream is an open file"):
            album.keep(Upload(file))
    album.keep(Upload(io.BytesIO(b"bytes")))
    assert album.kept[0][0].stream.read() == b"bytes"


class Paper(io.StringIO):
    pass


class Report(io.RawIOBase):
    """Says itself what is to be kept of it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> Any:
        return Report, (self.text,)


class Worker(threading.Thread):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __getstate__(self) -> Any:
        return {"number": self.number}


def test_plain_values_are_kept_as_before(album: Any, tmp_path: Path) -> None:
    album.keep(io.BytesIO(b"bytes"), io.StringIO("text"), Paper("paper"), Report("report"), Worker(3))
    album.keep(
        Path("x"), logging.Formatter("%(message)s"), threading.Lock.__name__, logging.LogRecord("a", 1, "b", 2, "c", (), None)
    )
    album.keep(asyncio.Queue, open, threading.Thread, logging.INFO)
    album.keep(map(len, ["a"]), iter([1]), ValueError("x"), slice(1), range(3), Order, len, {}.get, [].append)
    control(album).take_snapshot()
    control(album).close()
    found = coopy.replay(Album, tmp_path / "data").kept
    assert [found[0][0].read(), found[0][1].read(), found[0][2].read(), found[0][3].text, found[0][4].number] == [
        b"bytes",
        "text",
        "paper",
        "report",
        3,
    ]
    assert found[2][0] is asyncio.Queue


def test_what_neither_belongs_to_a_process_nor_can_be_pickled_is_named_with_its_place(album: Any) -> None:
    for value in (memoryview(b"x"), hashlib.sha256(), types.MappingProxyType({})):
        with pytest.raises(EncodingError, match=r"value\.attachment is of the type .*cannot be pickled.*Nothing was recorded"):
            album.keep(Order(value))
    assert control(album).index == 0


def test_a_file_that_was_passed_is_what_it_was(album: Any, tmp_path: Path) -> None:
    Path("report").write_text("the user's")
    with open("report", "a") as file:
        with pytest.raises(EncodingError):
            album.keep(file)
        with pytest.raises(EncodingError):
            album.keep(lambda: file)
        file.write(" own")
    assert Path("report").read_text() == "the user's own"


# -- functions and classes, and nothing else of dill's


def test_functions_and_classes_and_what_they_are_made_of_are_kept(album: Any, tmp_path: Path) -> None:
    offset = 3

    class Base:
        kind = "base"

        def __init__(self, number: int) -> None:
            self.number = number

        @property
        def double(self) -> int:
            return self.number * 2

        @staticmethod
        def three() -> int:
            return offset

        @functools.cached_property
        def cached(self) -> int:
            return self.number + 1

        @classmethod
        def made(cls) -> Base:
            return cls(4)

    class Derived(Base):
        __slots__ = ("other",)

    @dataclass
    class Data:
        number: int
        others: list[int]

    class Colour(abc.ABC):
        red = 1

        @abc.abstractmethod
        def mix(self) -> None: ...

    Local = namedtuple("Local", "a b")
    calls = {
        "lambda": (lambda: offset, 3),
        "module": (lambda: math.floor(3.5) + offset, 6),
        "class": (lambda: Base(2).double + Derived.made().number + Base.three(), 11),
        "bound": (Base(5).made, None),
        "partial": (functools.partial(lambda a, b: a + b, 1, b=2), 3),
        "cached": (functools.lru_cache(lambda: offset), 3),
        "data": (lambda: Data(1, [2]).others[0] + len(Local(1, 2)), 4),
        "abstract": (lambda: Colour.red, 1),
    }
    for name, (function, expected) in calls.items():
        album.keep(function)
        found = album.count(function)
        assert expected is None or found == expected, name
    album.keep(Data(1, [2]), Local(1, 2), Derived(7), Colour)
    control(album).take_snapshot()
    control(album).close()
    kept = coopy.replay(Album, tmp_path / "data").kept
    for (name, (_, expected)), (function,) in zip(calls.items(), kept, strict=False):
        assert expected is None or function() == expected, name
    assert kept[-1][0].others == [2] and kept[-1][2].double == 14 and kept[-1][2].cached == 8


def test_a_local_dataclass_is_kept_without_the_module_that_made_its_methods() -> None:
    @dataclass
    class Data:
        number: int

    found = codec.Codec(Album)
    data = found._encoded(("keep", (Data(1),)), None)
    assert b"_EMPTY_METADATA" not in data and found._decode(data)[1][0].number == 1


def test_a_module_is_imported_again_for_a_function_and_is_no_value_beside_it(album: Any, tmp_path: Path) -> None:
    held, unnamed = math, types.ModuleType("made by hand")
    unnamed.value = 1  # type: ignore[attr-defined]
    assert album.count(lambda: held.floor(2.5)) == 2
    for function in (lambda: [held, unnamed.value], lambda among=[math]: among):
        with pytest.raises(EncodingError, match="module"):
            album.keep(function)
    control(album).close()
    assert coopy.replay(Album, tmp_path / "data").kept == []


def test_dill_that_was_imported_before_gives_nothing_away() -> None:
    program = "import dill, threading; from coopy.values import deep\nassert dill.dumps(threading.Lock())\n"
    for value in ("threading.Lock()", "open(__import__('os').devnull)", "[threading.RLock()]"):
        program += f"try: deep.Pickler(__import__('io').BytesIO(), 5).dump({value})\nexcept TypeError: print('refused')\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["refused"] * 3


def test_dill_that_a_program_has_imported_gives_nothing_away() -> None:
    import dill  # type: ignore[import-untyped, unused-ignore]

    assert dill.dumps(threading.Lock())
    album = testing.memory_system(Album, validation="off")
    deep: Any = threading.Lock()
    for _ in range(1000):
        deep = [deep]
    with pytest.raises(EncodingError):
        album.keep(deep)
    control(album).close()


# -- states


class Shop:
    def __init__(self) -> None:
        self.orders: list[Any] = []

    def sell(self, make: Callable[[], Any]) -> None:
        self.orders.append(Order(make()))


@pytest.mark.parametrize("fork", [None, False])
@pytest.mark.parametrize(
    "name",
    ["text", "socket", "thread", "logger", "no handler", "queue", "queue of the program", "generator", "module", "weak set"],
)
def test_what_belongs_to_a_process_is_refused_in_a_state(
    name: str, fork: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = (
        testing.memory_system(Shop, validation="off")
        if fork is None
        else init_system(Shop, tmp_path / "data", validation="off", fork=False)
    )
    state = control(shop)._system.engine.machine.domain
    with closed_at_the_end(UNKEPT[name]()) as value:
        state.orders = [1, Order(2), Order(value)]
        with pytest.raises((SnapshotError, EncodingError)) as refused:
            control(shop).take_snapshot()
        assert "state of Shop cannot be pickled: state.orders[2].attachment is " in str(refused.value)
        assert ", which belongs to this process. " in str(refused.value)
        state.orders = []
    control(shop).close()


def test_a_state_is_refused_by_the_child_that_writes_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with init_system(Shop, tmp_path / "data", validation="off") as shop:
        control(shop)._system.engine.machine.domain.orders.append({"file": open(written("f"))})
        with pytest.raises(SnapshotError, match=r"state\.orders\[0\]\['file'\] is an open file .*Keep what is in it"):
            control(shop).take_snapshot()


@each_kind
def test_every_kind_is_found_in_a_state_unless_it_is_a_lock(
    make: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closed_at_the_end(make()) as value:
        state = Shop()
        state.orders.append(Order(value))
        if make in LOCKS.values():
            again(state)
            return
        with pytest.raises(
            EncodingError, match=r"state of Shop cannot be pickled: state\.orders\[0\]\.attachment is .*belongs to this process"
        ):
            again(state)


class _Written:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, /) -> None:
        self.data += data

    def restart(self) -> None:
        self.data = b""


def again(state: Any) -> Any:
    """A state as a snapshot gives it back."""
    found, file = codec.Codec(type(state)), _Written()
    found.dump_state(state, file)
    return found.load_state(memoryview(file.data))


# -- locks of a state


class Named(threading.Condition):
    def __init__(self, lock: Any, name: str) -> None:
        super().__init__(lock)
        self.name = name


class OurEvent(threading.Event):
    name = "ours"


class OurLock(type(threading.RLock())):  # type: ignore[misc]
    pass


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rlock = threading.RLock()
        self.python_rlock = threading._RLock()  # type: ignore[attr-defined]
        self.condition = threading.Condition()
        self.not_empty = threading.Condition(self.lock)
        self.not_full = Named(self.lock, "not full")
        self.event = OurEvent()
        self.semaphore = threading.Semaphore(2)
        self.bounded = threading.BoundedSemaphore(2)
        self.barrier = threading.Barrier(2)
        self.ours = OurLock()
        self.ours.name = "ours"
        self.count = 0

    def all(self) -> list[Any]:
        return [
            self.lock,
            self.rlock,
            self.python_rlock,
            self.condition,
            self.not_empty,
            self.not_full,
            self.semaphore,
            self.bounded,
            self.ours,
        ]

    def add(self) -> int:
        for each in (*self.all(), self.not_empty):
            assert each.acquire(timeout=5), each
            each.release()
        with self.rlock, self.rlock, self.condition:
            self.condition.notify_all()
        self.event.set()
        self.count += 1
        return self.count

    @transactional
    def add_or_not(self, fails: bool) -> int:
        found = self.add()
        if fails:
            raise LookupError("not added")
        return found

    @transactional(parts=("lock", "not_full", "count"))
    def add_part_or_not(self, fails: bool) -> int:
        return self.add_or_not.__wrapped__(self, fails) if hasattr(self.add_or_not, "__wrapped__") else self._add(fails)

    def _add(self, fails: bool) -> int:
        found = self.add()
        if fails:
            raise LookupError("not added")
        return found

    @unlocked
    def hold(self, held: threading.Event, ended: threading.Event) -> None: ...


def are_open(locked: Locked) -> bool:
    return all(each.acquire(blocking=False) and each.release() is None for each in locked.all())


def test_locks_of_a_state_are_made_anew_and_open() -> None:
    state = Locked()
    for each in (
        state.lock,
        state.rlock,
        state.rlock,
        state.python_rlock,
        state.condition,
        state.ours,
        state.semaphore,
        state.bounded,
    ):
        each.acquire()
    state.event.set()
    found = again(state)
    assert are_open(found)
    assert found.event.is_set() and found.event.wait(0), "an event is what the domain has made of it"
    assert found.not_empty._lock is found.lock and found.not_full._lock is found.lock, "they share it as before"
    assert found.condition._lock is not found.lock
    assert (found.not_full.name, type(found.not_full), type(found.ours), found.ours.name) == (
        "not full",
        Named,
        OurLock,
        "ours",
    )
    with found.lock:
        assert not found.not_empty.acquire(blocking=False)
    assert (found.semaphore._value, found.bounded._value, found.barrier.parties) == (1, 2, 2)
    found.bounded.acquire()
    found.bounded.release()
    with pytest.raises(ValueError, match="released too many times"):
        found.bounded.release()


def test_a_semaphore_that_is_used_up_has_one_left_and_a_barrier_is_whole() -> None:
    state = Locked()
    state.semaphore.acquire()
    state.semaphore.acquire()
    state.barrier.abort()
    found = again(state)
    assert found.semaphore.acquire(timeout=5) and not found.barrier.broken


def test_those_who_wait_are_not_kept() -> None:
    state = Locked()
    ended = threading.Thread(target=lambda: state.condition.__enter__() and state.condition.wait())
    ended.start()
    while not state.condition._waiters:  # type: ignore[attr-defined]
        pass
    found = again(state)
    with state.condition:
        state.condition.notify()
    ended.join()
    assert not found.condition._waiters
    with found.condition:
        found.condition.notify()


@pytest.mark.parametrize("fork", [True, False])
def test_a_domain_with_locks_lives_through_snapshots_restarts_and_replay(fork: bool, tmp_path: Path) -> None:
    with init_system(Locked, tmp_path, validation="off", fork=fork) as locked:
        assert locked.add() == 1
        locked.lock.acquire()
        locked.take_snapshot()
        assert control(locked).replay().lock.acquire(timeout=5)
        locked.lock.release()
        assert locked.add() == 2
    with init_system(Locked, tmp_path, validation="off", fork=fork) as locked:
        assert locked.add() == 3
        assert are_open(control(locked).replay(until=1))
    assert verify(tmp_path, Locked).problems == []
    assert coopy.replay(Locked, tmp_path).add() == 4


def test_a_transaction_that_fails_leaves_locks_that_are_open(tmp_path: Path) -> None:
    with init_system(Locked, tmp_path, validation="off") as locked:
        for method in (locked.add_or_not, locked.add_part_or_not):
            with pytest.raises(LookupError):
                method(True)
            assert locked.count == 0
        assert locked.not_empty._lock is not None and are_open(locked)
        assert locked.add_or_not(False) == 1


def test_a_domain_with_locks_can_be_checked_and_has_a_digest() -> None:
    state = Locked()
    assert digest.digest(state) == digest.digest(again(state)) == digest.digest(Locked())
    state.lock.acquire()
    assert digest.digest(state) == digest.digest(Locked())
    state.count = 3
    assert digest.digest(state) != digest.digest(Locked())
    locked = testing.memory_system(Locked, check=True, validation="off")
    assert locked.add() == 1
    assert control(locked).state_digest()[0] == 1
    control(locked).close()


def test_a_state_with_locks_is_pickled_by_pickle_and_not_by_dill() -> None:
    file = _Written()
    codec.Codec(Locked).dump_state(Locked(), file)
    assert file.data[:1] == b"P"


# -- byte code of another Python


def as_if_by(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_BYTE_CODE", b"B%c%b" % (len(python), python.encode()))
    monkeypatch.setattr(codec, "_WAYS", (*codec._WAYS[:-1], (codec._BYTE_CODE, *codec._WAYS[-1][1:])))


@pytest.mark.parametrize(("python", "said"), [("cpython 3.9", "Python 3.9"), ("pypy 3.11", r"Python 3.11 \(pypy\)")])
def test_byte_code_of_another_python_is_refused_by_name(
    python: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with init_system(Album, tmp_path, validation="off") as album:
        album.keep(1)
        with monkeypatch.context() as patch:
            as_if_by(python, patch)
            # Nobody reads what another Python wrote, be it at once.
            patch.setattr(bytecode, "of_another", lambda python: None)
            album.keep(lambda: 1)
    here = bytecode._written(bytecode.PYTHON)
    expected = rf"action 2 .*keep\(\): what is stored holds byte code .* that {said} wrote, and this is {here}.*Open the directory with {said}"
    for opening in (lambda: init_system(Album, tmp_path, validation="off"), lambda: coopy.replay(Album, tmp_path)):
        with pytest.raises(UndecodableAction, match=expected) as refused:
            opening()
        assert (refused.value.index, refused.value.method) == (2, "keep")
    assert any(said.replace("\\", "") in str(problem) for problem in verify(tmp_path, Album).problems)
    with Reading(str(tmp_path), Album) as reading:
        assert [said.replace("\\", "") in action.problem for action in reading.actions()] == [False, True]
    assert coopy.replay(Album, tmp_path, until=1).kept == [(1,)]


def test_byte_code_of_another_python_is_refused_in_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Album, tmp_path, validation="off", fork=False) as album, monkeypatch.context() as patch:
        as_if_by("cpython 3.9", patch)
        # Nobody reads what another Python wrote, be it at once.
        patch.setattr(bytecode, "of_another", lambda python: None)
        album.keep(lambda: 1)
        album.take_snapshot()
    with pytest.raises(CoopyError, match=r"byte code .* that Python 3\.9 wrote"):
        init_system(Album, tmp_path, validation="off")


def test_what_dill_kept_without_byte_code_is_read_by_any_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        pass

    as_if_by("cpython 3.9", monkeypatch)
    with init_system(Album, tmp_path, validation="off") as album:
        album.keep(Plain())
    assert type(coopy.replay(Album, tmp_path).kept[0][0]).__name__ == "Plain"


def test_byte_code_without_the_name_of_a_python_is_refused() -> None:
    import dill  # type: ignore[import-untyped, unused-ignore]

    found = codec.Codec(Album)
    with pytest.raises(coopy.DecodingError, match="keep.*a Python that is not named"):
        found.decode_call(b"D" + dill.dumps(("keep", (lambda: 1,)), 5))


def test_a_file_that_an_earlier_coopy_took_is_not_opened_again(tmp_path: Path) -> None:
    import dill  # type: ignore[import-untyped, unused-ignore]

    path = tmp_path / "report"
    with open(path, "w") as file:
        data = dill.dumps(("keep", (file,)), 5)
    path.write_text("written since")
    with pytest.raises(coopy.DecodingError, match="keep.*an open file of the process that wrote it"):
        codec.Codec(Album).decode_call(b"D" + data)
    assert path.read_text() == "written since"


def test_what_a_pickle_of_ours_restores_by_name_is_there() -> None:
    from coopy.values import bound

    assert pickle.loads(pickle.dumps((bound.new_lock, bound.new_condition))) == (bound.new_lock, bound.new_condition)


# -- elsewhere


def deliver(*args: Any, **kwargs: Any) -> None: ...


class Sender:
    def send(self, name: str) -> None:
        coopy.on_commit(deliver, 1, [UNKEPT[name]()])

    def send_by_name(self, name: str) -> None:
        coopy.on_commit(deliver, given=UNKEPT[name]())


@pytest.mark.parametrize("name", ["text", "socket", "thread", "generator"])
def test_what_belongs_to_a_process_is_no_argument_of_an_effect(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sender = testing.memory_system(Sender, validation="off")
    for call, path in ((sender.send, "#2[0]"), (sender.send_by_name, "given")):
        with pytest.raises(
            EncodingError, match=r"the effect deliver\(\) cannot be kept: " + re.escape(path) + " is .*belongs to this process"
        ):
            call(name)
    control(sender).close()


def test_a_lock_of_a_state_is_shown_as_no_more_than_that_and_is_no_difference() -> None:
    one, other = Locked(), Locked()
    one.rlock.acquire()
    other.count = 1
    assert [(each.path, each.before, each.after) for each in tree.differences(one, other)] == [(".count", 0, 1)]
    drawn = "\n".join(tree.tree(one, depth=4))
    assert ".rlock: <RLock>" in drawn and ".not_full: <Named>" in drawn and " at 0x" not in drawn
