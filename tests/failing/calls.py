"""System calls that fail: the n-th of a kind, once or from then on, in one of the ways in which it can.

The functions of `os` and their like are replaced, so that every call of coopy's is met, whatever module makes it and
also in a forked child; calls of others (the tests, the interpreter, other libraries) go through. Counts are kept
in memory that a child shares. What a sync means is the model of the disk's to say: here it takes no time.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import mmap
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

ERRNOS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "ENOMEM", "EMFILE", "EAGAIN", "EINTR", "EACCES")
SYNCS = frozenset({"fdatasync", "fsync"})
ON_DISK = (
    "open",
    "close",
    "fstat",
    "pread",
    "pwrite",
    "mmap",
    "posix_fallocate",
    "ftruncate",
    "fdatasync",
    "fsync",
    "mkdir",
    "rmdir",
    "replace",
    "rename",
    "unlink",
    "listdir",
    "stat",
    "lstat",
    "flock",
    "file",
)
"""Kinds that a disk answers; "file" is the built-in open, which `lock` is opened with."""

OF_PROCESSES = ("pipe", "fork", "waitpid", "read", "write", "set_blocking", "kill", "thread", "popen")
KINDS = ON_DISK + OF_PROCESSES
ANY = "any"
"""All of ON_DISK: a disk that answers nothing any more."""
PATH = "path"
"""All that are given a path: the directory has vanished (somebody has moved it, or the disk below it is gone)."""
BY_PATH = frozenset({"open", "mkdir", "rmdir", "replace", "rename", "unlink", "listdir", "stat", "lstat", "file"})

TOGETHER = {ANY: frozenset(ON_DISK), PATH: BY_PATH}

_DONE_AND_FAILED = frozenset({"open", "replace", "rename", "unlink", "mkdir", "rmdir", "fsync", "fdatasync", "ftruncate"})
_HALF = frozenset({"pread", "pwrite"})
_THROUGH = frozenset({"genericpath", "posixpath", "os", "contextlib", "shutil", "pathlib", "crash.disk_model", "failing.disk"})
"""Modules that pass a call on: who has called them counts."""


def ways(kind: str) -> list[str]:
    """In which ways a call of that kind can fail."""
    if kind == "thread":
        return ["no thread"]
    if kind == ANY:
        return ["EIO", "EROFS", "ENOMEM", "EMFILE"]
    if kind == PATH:
        return ["ENOENT"]
    found = list(ERRNOS)
    if kind in _DONE_AND_FAILED:
        found.append("done EIO")  # It was carried out, and the answer was lost.
    if kind in _HALF:
        found.append("short")
    if kind == "pwrite":
        found += ["half ENOSPC", "half EIO"]
    if kind == "posix_fallocate":
        found.append("half ENOSPC")
    if kind == "waitpid":
        found.append("ECHILD")
    return found


class Fault(NamedTuple):
    """The ``number``-th call of a kind fails in that way, and, if ``lasting``, all of the kind after it."""

    kind: str
    number: int
    way: str
    lasting: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.number} {self.way}{' from then on' if self.lasting else ''}"


_SLOTS = struct.Struct("<Q")


class Failing:
    """The replaced functions. Counts, and fails, while it is `armed`."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 4096)
        self._armed = False
        self.fault: Fault | None = None
        self._rest: str | None = None
        self._real: dict[str, Callable[..., Any]] = {}
        self._undo: list[Callable[[], None]] = []

    # -- installing

    def install(self) -> None:
        for kind in KINDS:
            holder, name = _place(kind)
            if not hasattr(holder, name):
                continue
            real = self._real[kind] = getattr(holder, name)
            setattr(holder, name, self._wrapped(kind, real))
            self._undo.append(lambda holder=holder, name=name, real=real: setattr(holder, name, real))  # type: ignore[misc]

    def uninstall(self) -> None:
        while self._undo:
            self._undo.pop()()

    @contextmanager
    def installed(self) -> Iterator[Failing]:
        self.install()
        try:
            yield self
        finally:
            self.uninstall()

    # -- failing

    def arm(self, fault: Fault | None) -> None:
        """Counts from now on; and fails as said."""
        self._shared[:] = bytes(len(self._shared))
        self.fault, self._rest, self._armed = fault, None, True

    def end_of_operation(self) -> bool:
        """Forgets what was to fail as the rest of a write that nobody has gone on with. Whether a call has failed."""
        self._rest = None
        return self.fired

    def disarm(self) -> None:
        self._armed = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Lets all calls through meanwhile."""
        armed, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = armed

    @property
    def fired(self) -> bool:
        return self._read(0) > 0

    def counts(self) -> dict[str, int]:
        """How often each kind was called."""
        found = {kind: self._read(place) for place, kind in enumerate(KINDS, 1)}
        found = {kind: count for kind, count in found.items() if count}
        for together, kinds in TOGETHER.items():
            if any(kind in kinds for kind in found):
                found[together] = sum(count for kind, count in found.items() if kind in kinds)
        return found

    def _read(self, slot: int) -> int:
        return int(_SLOTS.unpack_from(self._shared, 8 * slot)[0])

    def _add(self, slot: int) -> int:
        count = self._read(slot) + 1
        _SLOTS.pack_into(self._shared, 8 * slot, count)
        return count

    def _wrapped(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        slot = KINDS.index(kind) + 1
        slots = {together: len(KINDS) + 1 + place for place, together in enumerate(TOGETHER) if kind in TOGETHER[together]}

        def call(*args: Any, **kwargs: Any) -> Any:
            if not _is_ours():
                return real(*args, **kwargs)
            if kind in SYNCS:
                done: Callable[..., Any] = _nothing
            else:
                done = real
            if not self._armed:
                return done(*args, **kwargs)
            numbers = {together: self._add(each) for together, each in slots.items()}
            numbers[kind] = self._add(slot)
            fault = self.fault
            if fault is None or fault.kind not in numbers:
                return done(*args, **kwargs)
            number = numbers[fault.kind]
            if number < fault.number or (number > fault.number and not fault.lasting and self._rest is None):
                return done(*args, **kwargs)
            self._add(0)
            return self._fail(kind, fault.way, done, args, kwargs)

        call.__name__ = kind
        return call

    def _fail(self, kind: str, way: str, done: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if way == "no thread":
            raise RuntimeError("can't start new thread")
        if kind == "close":
            done(*args)  # Whatever it answers, the number is free.
        if self._rest is not None:
            way, self._rest = self._rest, None
        if way == "short":
            return self._half(kind, done, args)
        if way.startswith("half "):
            if kind == "pwrite":
                # The rest of it is what fails.
                self._rest = way.removeprefix("half ")
                return self._half(kind, done, args)
            fd, offset, size = args
            done(fd, offset, max(1, size // 2))
        if kind == "waitpid" and way == "ECHILD":
            done(args[0], 0)  # Somebody else has waited for the child, so it is gone, also if we only asked.
        elif way.startswith("done "):
            result = done(*args, **kwargs)
            if kind == "open":
                self._real["close"](result)
        code = getattr(errno, way.rpartition(" ")[2])
        raise OSError(code, os.strerror(code))

    def _half(self, kind: str, done: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        fd, what, offset = args
        if kind == "pread":
            return done(fd, max(1, what // 2), offset)
        return done(fd, what[: max(1, len(what) // 2)], offset)


def _nothing(*args: Any) -> None:
    pass


def _place(kind: str) -> tuple[Any, str]:
    """Where the function of a kind is to be found."""
    others: dict[str, tuple[Any, str]] = {
        "mmap": (mmap, "mmap"),
        "flock": (fcntl, "flock"),
        "file": (builtins, "open"),
        "thread": (threading.Thread, "start"),
        "popen": (subprocess, "Popen"),
    }
    return others.get(kind, (os, kind))


def _is_ours() -> bool:
    """Whether coopy has made the call."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name not in _THROUGH:
            return bool(name.startswith("coopy."))
        found = frame.f_back
        if found is None:
            return False
        frame = found
