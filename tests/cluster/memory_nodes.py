"""Nodes of one process over a line in memory, for tests."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import coopy
from coopy.errors import JournalError, MissingActions
from coopy.ground import action, batch
from coopy.ground.line import Line
from coopy.ground.storage import MemoryLog, MemorySnapshots
from coopy.replication.follower import Passed, Replicated, Superseded
from coopy.spine import methods, proxy
from coopy.spine.machine import Machine, construct
from coopy.values.codec import Codec

SECRET = b"s" * 32


@coopy.entity("accounts", key="owner")
class Account:
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = 0
        self.friends: list[Account] = []


class Bank:
    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.history: list[Any] = []

    def deposit(self, owner: str, amount: int = 1) -> int:
        account = self.accounts.setdefault(owner, Account(owner))
        account.balance += amount
        return account.balance

    def log(self, *, what: str, by: str = "nobody") -> tuple[str, str]:
        self.history.append((what, by))
        return what, by

    def fail(self, text: str) -> None:
        self.history.append(text)
        raise ValueError(text)

    @coopy.abort_exception
    def refuse(self, text: str) -> None:
        raise ValueError(text)

    @coopy.transactional
    def transfer(self, text: str) -> None:
        self.history.append(text)
        raise ValueError(text)

    @coopy.transactional(parts=("history",))
    def book(self, text: str) -> None:
        self.history.append(text)
        raise ValueError(text)

    def count(self, upto: int) -> Any:
        for number in range(upto):
            self.history.append(number)
            yield number

    def befriend(self, one: Account, other: Account) -> str:
        one.friends.append(other)
        return other.owner

    def notify(self, text: str) -> None:
        coopy.on_commit(print, text)

    def tick(self) -> Any:
        self.history.append(coopy.clock.utcnow())

    def notify_and_fail(self, text: str) -> None:
        coopy.on_commit(print, text)
        raise ValueError(text)

    def fail_once(self, text: str) -> int:
        """Fails as a process does that has no memory left, and not when it is tried again."""
        self.history.append(text)
        if GATES.pop(text, None) is not None:
            raise MemoryError
        return len(self.history)

    def itself(self) -> Bank:
        return self

    def where(self) -> str:
        """Not the same everywhere, as no method should be."""
        return threading.current_thread().name

    def held(self, text: str) -> str:
        GATES[text].wait()
        return text

    @coopy.readonly
    def balance(self, owner: str) -> int:
        return self.accounts[owner].balance

    @coopy.readonly
    def state(self) -> Any:
        accounts = [(name, each.balance, [friend.owner for friend in each.friends]) for name, each in self.accounts.items()]
        return accounts, list(self.history)


GATES: dict[str, threading.Event] = {}


class Engine(Replicated):
    ahead_ns = 0
    """By how much the clock of this node is ahead."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ended = threading.Event()
        self.clock = lambda: time.time_ns() + self.ahead_ns

    def fail(self, error: BaseException) -> None:
        super().fail(error)
        self.ended.set()


class FailingLog(MemoryLog):
    """Takes so many records more, and then fails once."""

    left = -1

    def append(self, record: bytes) -> int:
        if self.left == 0:
            self.left = -1
            raise JournalError(errno.ENOSPC, "No space left on device. Nothing was recorded", "memory")
        self.left -= 1
        return super().append(record)


class Node:
    """``ended`` is set once it applies no more; ``mends`` are the errors that it goes on after."""

    def __init__(
        self,
        line: Line,
        name: str = "a",
        *,
        cls: type = Bank,
        log: MemoryLog | None = None,
        snapshots: MemorySnapshots | None = None,
        follows: bool = True,
        mends: tuple[type[BaseException], ...] = (),
        **options: Any,
    ) -> None:
        self.line, self.name, self.cls = line, name, cls
        self.log = MemoryLog() if log is None else log
        self.snapshots = MemorySnapshots() if snapshots is None else snapshots
        self.mends = mends
        self.went_back: list[int] = []
        """The actions that were withdrawn after this node had applied them."""
        self.others: list[Node] = []
        """Those that it may take a state of."""
        self._waits = threading.Event()
        codec = Codec(cls)
        self.engine = Engine(self.log, self.snapshots, codec, SECRET, line, name, behind=self._mend, **options)
        self.ended = self.engine.ended
        if not self.snapshots.indexes():
            header = action.header(1, 0, 0)
            self.engine.save(Machine(construct(cls, header, SECRET), 0, header, SECRET))
        self.bank: Any = proxy.attach(proxy.build(cls), self.engine, None)
        self.engine.proxy = codec.proxy = self.bank
        self.engine.start()
        if follows:
            self.engine.follow()
            self.engine.reach(line.last(), 10)
            if not self.engine.only_reads:
                self.engine.begin()

    def _mend(self, error: BaseException) -> None:
        if isinstance(error, Superseded):
            self.went_back.append(error.index)
            try:
                self.engine.run(lambda: self._cut(error.index))
            except MissingActions:
                self._begin_anew(*self._fetched(error.sequence))
            return
        if isinstance(error, Passed):
            self._begin_anew(*self._fetched(error.sequence))
            return
        if not isinstance(error, self.mends):
            raise error
        self.line.follow(self.engine.position)

    def _cut(self, index: int) -> None:
        amendment = self.engine.amendment_before(index)
        log = MemoryLog()
        log._first, log._records = self.log._first, self.log._records[: index - self.log._first]
        log.last = log.settled = index - 1
        log.amend(amendment)
        for each in [each for each in self.snapshots.indexes() if each >= index]:
            del self.snapshots._snapshots[each]
        self.log = log
        self.engine.replace(log, self.snapshots)

    def _fetched(self, least: int) -> tuple[int, memoryview]:
        """The state of another node that has come to that message."""
        for _ in range(1000):
            for each in self.others:
                if each.engine.position >= least:
                    return each.engine.run(each._dumped)
            self._waits.wait(0.01)
        raise MissingActions("memory", 0, least, "No other node has come so far.")

    def _dumped(self) -> tuple[int, memoryview]:
        before, self.engine._snapshots = self.engine._snapshots, MemorySnapshots()
        self.engine.save(self.engine.machine)
        found, self.engine._snapshots = self.engine._snapshots.latest(), before
        assert found is not None
        return found

    def _begin_anew(self, index: int, state: memoryview) -> None:
        self.log, self.snapshots = MemoryLog(), MemorySnapshots()
        self.log._first, self.log.last, self.log.settled = index + 1, index, index
        self.snapshots._snapshots = {index: bytes(state)}
        self.engine.replace(self.log, self.snapshots)

    def copy(self, line: Line, records: int | None = None, **options: Any) -> Node:
        """A node with what this one has, or had after so many of its records."""
        log = MemoryLog()
        log._first = self.log._first
        log._records = self.log._records[: None if records is None else records]
        log.last = log.settled = log._first + len(log._records) - 1
        snapshots = MemorySnapshots()
        snapshots._snapshots = {index: data for index, data in self.snapshots._snapshots.items() if index <= log.last}
        name, cls = options.pop("name", self.name), options.pop("cls", self.cls)
        return Node(line, name, cls=cls, log=log, snapshots=snapshots, **options)

    @property
    def records(self) -> list[bytes]:
        return self.log._records

    @property
    def state(self) -> Any:
        return self.bank.state()

    def encode(self, name: str, *args: Any, **kwargs: Any) -> bytes:
        """The record of a call, as this node would send it."""
        return self.engine.encode(methods.method_for(name, getattr(self.cls, name), ()), args, kwargs)

    def take(self, *messages: bytes, after: int | None = None) -> None:
        """Applies messages as the line would bring them, for a node that does not follow it."""
        for sequence, data in enumerate(messages, self.engine.position + 1 if after is None else after + 1):
            self.engine.take(sequence, data)


def packed(node: str, incarnation: int, number: int, *records: bytes) -> bytes:
    return batch.pack(batch.ACTIONS, node, incarnation, number, records)


def until(what: Callable[[], object]) -> None:
    """Waits for what threads bring about."""
    ended = threading.Event()
    for _ in range(1000):
        if what():
            return
        ended.wait(0.01)
    pytest.fail("it did not come about")
