"""The raw limits: the least that could do the same work in Python, without a library around it.

Each writes a record of (name, args, None) as pickle with a CRC-32 and a head of 24 bytes, and makes the
bare call.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import pickle
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks.workload import NAMES, Bank

_pack = struct.Struct("<IIQQ").pack
_dumps = pickle.dumps
_crc32 = zlib.crc32
PREALLOCATED = 64 << 20


def _record(who: str, amount: int) -> bytes:
    data = _dumps(("deposit", (who, amount), None), 5)
    return _pack(_crc32(data), len(data), amount, 0) + data


def append(path: str, count: int) -> Callable[[], None]:
    """Pickle, CRC, os.write, call."""

    def run() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        deposit, write = Bank().deposit, os.write
        for number in range(count):
            who = NAMES[number % 100]
            data = _dumps(("deposit", (who, number), None), 5)
            write(fd, _pack(_crc32(data), len(data), number, 0) + data)
            deposit(who, number)
        os.close(fd)

    return run


def _preallocated(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.posix_fallocate(fd, 0, PREALLOCATED)
    os.fsync(fd)
    return fd


class Synced:
    """One thread: pwrite into a preallocated file, fdatasync, call."""

    def __init__(self, path: str) -> None:
        self._fd = _preallocated(path)
        self._offset = 0
        self._bank = Bank()

    def deposit(self, who: str, amount: int) -> int:
        data = _record(who, amount)
        os.pwrite(self._fd, data, self._offset)
        self._offset += len(data)
        result = self._bank.deposit(who, amount)
        os.fdatasync(self._fd)
        return result

    def close(self) -> None:
        os.close(self._fd)


class Gate(Synced):
    """Callers queue behind a gate; whoever gets in writes, calls and syncs for all."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._queue: deque[list[Any]] = deque()
        self._gate = threading.Lock()

    def _serve(self) -> list[list[Any]]:
        batch = []
        while self._queue:
            batch.append(self._queue.popleft())
        data = b"".join([slot[0] for slot in batch])
        os.pwrite(self._fd, data, self._offset)
        self._offset += len(data)
        for slot in batch:
            slot[2] = self._bank.deposit(*slot[1])
        os.fdatasync(self._fd)
        for slot in batch:
            slot[3] = True
        return batch

    def deposit(self, who: str, amount: int) -> int:
        slot: list[Any] = [_record(who, amount), (who, amount), None, False]
        self._queue.append(slot)
        while not slot[3]:
            with self._gate:
                if not slot[3]:
                    self._serve()
        return int(slot[2])


class Parked(Gate):
    """The same, with a lock for each caller to sleep on, and the gate handed over."""

    def deposit(self, who: str, amount: int) -> int:
        lock = threading.Lock()
        lock.acquire()
        slot: list[Any] = [_record(who, amount), (who, amount), None, False, lock]
        self._queue.append(slot)
        if not self._gate.acquire(False):
            lock.acquire()
            if slot[3]:
                return int(slot[2])
        batch = self._serve()
        following = None
        if self._queue:
            following = self._queue[0]
        else:
            self._gate.release()
            if self._queue and self._gate.acquire(False):
                if self._queue:
                    following = self._queue[0]
                else:
                    self._gate.release()
        if following is not None:
            following[4].release()
        for other in batch:
            if other is not slot:
                other[4].release()
        return int(slot[2])


class Chained(Parked):
    """The same; who was served wakes the next that was, so that few contend for the interpreter at once."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._served: deque[list[Any]] = deque()

    def deposit(self, who: str, amount: int) -> int:
        lock = threading.Lock()
        lock.acquire()
        slot: list[Any] = [_record(who, amount), (who, amount), None, False, lock]
        self._queue.append(slot)
        if not self._gate.acquire(False):
            lock.acquire()
            if slot[3]:
                self._wake()
                return int(slot[2])
        batch = self._serve()
        following = None
        if self._queue:
            following = self._queue[0]
        else:
            self._gate.release()
            if self._queue and self._gate.acquire(False):
                if self._queue:
                    following = self._queue[0]
                else:
                    self._gate.release()
        if following is not None:
            following[4].release()
        self._served.extend(other for other in batch if other is not slot)
        self._wake()
        self._wake()
        return int(slot[2])

    def _wake(self) -> None:
        with contextlib.suppress(IndexError):
            self._served.popleft()[4].release()


class Mapped(Synced):
    """Each caller stores into a map and calls, under a lock; then whoever gets the gate syncs for all."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._map = mmap.mmap(self._fd, PREALLOCATED)
        self._lock = threading.RLock()
        self._gate = threading.Lock()
        self._waiters: deque[tuple[int, threading.Lock]] = deque()
        self._written = self._synced = 0

    def deposit(self, who: str, amount: int) -> int:
        with self._lock:
            data = _record(who, amount)
            self._map[self._offset : self._offset + len(data)] = data
            self._offset += len(data)
            self._written = mine = self._written + 1
            result = self._bank.deposit(who, amount)
        if self._synced < mine:
            self._wait(mine)
        return result

    def _wait(self, mine: int) -> None:
        lock = threading.Lock()
        lock.acquire()
        if not self._gate.acquire(False):
            self._waiters.append((mine, lock))
            if not self._gate.acquire(False):
                lock.acquire()
                if self._synced >= mine:
                    return
        while True:
            upto = self._written
            os.fdatasync(self._fd)
            self._synced = upto
            ready, rest = [], []
            while self._waiters:
                waiter = self._waiters.popleft()
                (ready if waiter[0] <= upto else rest).append(waiter)
            following = rest.pop(0) if rest else None
            self._waiters.extendleft(reversed(rest))
            if following is None:
                self._gate.release()
                if self._waiters and self._gate.acquire(False):
                    following = self._waiters.popleft() if self._waiters else None
                    if following is None:
                        self._gate.release()
            if following is not None and following[1] is not lock:
                following[1].release()
            for waiter in ready:
                if waiter[1] is not lock:
                    waiter[1].release()
            if following is None or following[1] is not lock:
                return


GROUP_COMMITS = (Gate, Parked, Chained, Mapped)


def write_batches(path: str, count: int) -> None:
    """Records in batches of 1,000, each batch one pickle with one CRC."""
    with open(path, "wb") as file:
        for start in range(0, count, 1000):
            batch = [("deposit", (NAMES[number % 100], number), None) for number in range(start, start + 1000)]
            data = _dumps(batch, 5)
            file.write(struct.pack("<II", _crc32(data), len(data)) + data)


def replay_batches(path: str) -> Bank:
    gc.disable()
    with open(path, "rb") as file:
        data = memoryview(file.read())
    bank, offset = Bank(), 0
    while offset < len(data):
        checksum, size = struct.unpack_from("<II", data, offset)
        part = data[offset + 8 : offset + 8 + size]
        assert _crc32(part) == checksum
        for name, args, _ in pickle.loads(part):
            getattr(bank, name)(*args)
        offset += 8 + size
    return bank
