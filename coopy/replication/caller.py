"""The half of a process that asks: its connections to who writes in a directory, and what becomes of a question when one ends.

Each thread that asks has a connection of its own meanwhile: it writes, and reads its answer, and no other thread stands between. What
is asked for is nobody's here; neither is what is done when this process comes to write itself (`Came`).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import select
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coopy.errors import OutcomeUnknown, SystemClosed, Unavailable, copy_of
from coopy.ground.raised import on_failure, told_as
from coopy.replication import local, parcels
from coopy.replication.parcels import Garbage, Parcel, Splitter, pack
from coopy.replication.waiting import Waiting

READ_BYTES = 64 * 1024
"""What is read at once: most answers, whole."""
IDLE_MAX = 64
"""So many connections are kept for the next calls; more are closed after their call."""
FRESH_S = 0.05
"""A connection over which nothing came for so long is asked for a sign of life before a call is sent over it, as a call that was sent
can't be taken back. While calls follow each other it costs nothing."""
ASKING_MAX = 2
"""So many threads of a process ask at a time, so that one asks while the answers for another wait for the disk."""
TOGETHER_MAX = 256
"""So many questions are asked together: a megabyte, if each is a large one of 4 KB."""
LOOK_S = 0.001
"""While there is no writer a caller looks so soon whether there is one, and then less often, up to LOOK_S_MAX."""
LOOK_S_MAX = 0.02
"""A fifth of the 100 ms in which another process is to write."""


class Lost(Exception):
    """A connection has ended, or was silent for too long (``was_silent``)."""

    def __init__(self, problem: str, was_silent: bool = False) -> None:
        super().__init__(problem)
        self.was_silent = was_silent


class Came(Exception):
    """This process has come to write."""


def _told(error: Exception, others: Sequence[Question]) -> Exception:
    """Has those for whom one has asked know what it was told."""
    for each in others:
        each.problem = error
    return error


def _nobody() -> None:
    pass


def _close_all(channels: Iterable[Channel]) -> None:
    for each in channels:
        each.close()


class Question:
    """What is asked: its kind and what is said; then whether it was sent once, and the answer."""

    __slots__ = ("kind", "call", "number", "since", "was_sent", "answer", "turn", "leads", "problem")

    def __init__(self, kind: int, call: bytes, number: int, since: int) -> None:
        self.kind = kind
        self.call = call
        self.number = number
        self.since = since
        self.was_sent = False
        self.answer: Parcel | None = None

    turn: Any
    """What its thread sleeps on while another asks for it. This and the next two are there once it has to wait for that."""
    leads: bool
    """Whether its thread is to ask, for others as well."""
    problem: Exception | None
    """What who has asked for it was told."""


class Channel:
    """One connection, used by one thread at a time. Raises `Lost`."""

    def __init__(self, directory: str, name: str, process: bytes, greeting: bytes, timeout_s: float) -> None:
        """``greeting`` is what a HELLO says. The answer is ``welcome``. Raises `UsageError` if the other side wants none of us."""
        self._process = process
        self._splitter = Splitter()
        self._heard_at = 0.0
        self._early: list[Parcel] = []
        """What has come with the welcome."""
        self._timeout_s = timeout_s
        try:
            self._socket = local.connected(directory, name)
        except OSError as error:
            raise Lost(f"nobody answers at {name}: {error.strerror}") from error
        # Whoever waits in `recv` is woken as soon as the other side has read what was sent, too, and takes the processor from it: 4 µs of a call.
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        self._answers = Waiting(poller)
        with on_failure(self.close):
            self.wait_at_most(timeout_s)
            self._send(pack(parcels.HELLO, 0, 0, greeting, process))
            self.welcome, *self._early = self.receive()

    def wait_at_most(self, seconds: float) -> None:
        """Has what waits give up after so many seconds; 0 for never."""
        self._wait_ms = math.ceil(seconds * 1000) if seconds else None
        local.wait_at_most(self._socket, seconds, socket.SO_SNDTIMEO)

    def ask(self, questions: Sequence[Question]) -> None:
        """Sends what has not been answered, and waits for all answers."""
        if time.monotonic() > self._heard_at + FRESH_S:
            self._send(pack(parcels.PING, 0, 0, b"NN", self._process))
            self.receive()
        if len(questions) == 1:
            (question,) = questions
            self._send(self._packed(question))
            while question.answer is None:
                for parcel in self.receive():
                    if parcel.number == question.number:
                        question.answer = parcel
            return
        waiting = {each.number: each for each in questions if each.answer is None}
        self._send(b"".join([self._packed(each) for each in waiting.values()]))
        while waiting:
            for parcel in self.receive():
                found = waiting.pop(parcel.number, None)
                if found is not None:
                    found.answer = parcel

    def _packed(self, question: Question) -> bytes:
        """Returns what is sent, and notes that it is."""
        kind = question.kind
        if question.was_sent and kind == parcels.CALL:
            kind = parcels.AGAIN
        question.was_sent = True
        return pack(kind, question.number, question.since, question.call, self._process)

    def receive(self) -> list[Parcel]:
        """Returns what has come, one at least."""
        if self._early:
            found, self._early = self._early, []
            return found
        while True:
            try:
                if not self._answers.wait(self._wait_ms):
                    raise Lost(f"no answer for {self._timeout_s:g} s", was_silent=True)
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise Lost("the connection was closed")
                found = self._splitter.split(data)
            except (OSError, Garbage) as error:
                raise Lost(str(error)) from error
            if found:
                self._heard_at = time.monotonic()
                return found

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except BlockingIOError as error:
            raise Lost(f"nothing was taken for {self._timeout_s:g} s", was_silent=True) from error
        except OSError as error:
            raise Lost(str(error)) from error

    def end(self) -> None:
        """Has who waits for something wake up. May be called by another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Caller:
    """The connections of one process to whoever writes in a directory."""

    def __init__(self, directory: str, greet: Callable[[str], bytes], timeout_s: float) -> None:
        """``greet`` says what a HELLO of a purpose says: "calls" or "news"."""
        self.directory = directory
        self.timeout_s = timeout_s
        self.process = os.urandom(8)
        self.writer: local.Published | None = None
        """Who writes, as far as is known."""
        self._greet = greet
        self.wakes: Callable[[], object] | None = None
        """Called before the first question; see `SharedSystem.forked`."""
        self.suspects: Callable[[], object] = _nobody
        """Told that the writer seems to have ended."""
        self._idle: deque[Channel] = deque()
        self._queue: deque[Question] = deque()
        self._tokens: deque[None] = deque([None] * ASKING_MAX)
        self._channels: weakref.WeakSet[Channel] = weakref.WeakSet()
        """All there are: a forked child closes them."""
        weakref.finalize(self, _close_all, self._idle).atexit = False
        self._numbers = itertools.count(1)
        self._writes = False
        self._refusal: BaseException | None = None

    def question(self, kind: int, call: bytes, since: int) -> Question:
        """Returns what may be asked, with a number of its own."""
        return Question(kind, call, next(self._numbers), since)

    def connected(self, purpose: str, timeout_s: float) -> Channel:
        """Returns a connection to who writes now. Raises `Lost`."""
        try:
            writer = local.published(self.directory)
        except OSError as error:
            raise Lost(str(error)) from error
        if writer is None:
            raise Lost("nobody has said that it writes")
        found = Channel(self.directory, writer.name, self.process, self._greet(purpose), timeout_s)
        self._channels.add(found)
        if found.welcome.kind != parcels.WELCOME:
            found.close()
            raise Lost("the other side has refused")
        self.writer = writer
        return found

    def ask_one(self, question: Question) -> None:
        """Asks one question, as `ask` does. While some threads ask, the questions of the others gather, and are asked together by the next."""
        if not self._leads(question):
            if question.answer is not None:
                return
            if question.problem is not None:
                raise copy_of(question.problem)
            self.ask((question,))  # Who has asked for it was interrupted.
            return
        others: list[Question] = []
        try:
            if self._queue:
                self._gather(others)
                with told_as(_told, others):
                    self.ask((question, *others))
            else:
                self.ask((question,))
        finally:
            self._hand_over()
            for each in others:
                each.turn.release()

    def _gather(self, others: list[Question]) -> None:
        """Takes the questions of those that wait."""
        with contextlib.suppress(IndexError):
            while len(others) < TOGETHER_MAX:
                others.append(self._queue.popleft())

    def _leads(self, question: Question) -> bool:
        """Returns whether this thread is to ask; if not, another has asked for it."""
        try:
            self._tokens.pop()
            return True
        except IndexError:
            pass
        question.leads, question.problem = False, None
        turn = question.turn = threading.Lock()
        turn.acquire()
        self._queue.append(question)
        # Those that ask may have come to an end just before.
        if self._tokens:
            self._hand_over(self._tokens)
        with on_failure(self._gone, question):
            turn.acquire()
        return question.leads

    def _gone(self, question: Question) -> None:
        """Has nobody wait for a thread that was interrupted while it waited."""
        try:
            self._queue.remove(question)
        except ValueError:
            if question.leads:
                self._hand_over()

    def _hand_over(self, tokens: deque[None] | None = None) -> None:
        """Has the next that waits ask. With ``tokens`` only if one can be taken from there."""
        if tokens is not None:
            try:
                tokens.pop()
            except IndexError:
                return
        while True:
            if not self._queue:
                self._tokens.append(None)
                # Who came in between found no token.
                if not self._queue:
                    return
                try:
                    self._tokens.pop()
                except IndexError:
                    return
            try:
                following = self._queue.popleft()
            except IndexError:
                continue
            following.leads = True
            following.turn.release()
            return

    def ask(self, questions: Sequence[Question], timeout_s: float | None = None) -> None:
        """Asks until all have their answers. Raises `Came`, `Unavailable`, `OutcomeUnknown`, `SystemClosed`."""
        if timeout_s is None:
            timeout_s = self.timeout_s
        deadline = time.monotonic() + timeout_s if timeout_s != self.timeout_s else 0.0
        look_s = LOOK_S
        if self.wakes is not None:
            self.wakes()
        while True:
            if self._writes:
                raise Came
            self.refuse_if_closed()
            try:
                self._ask(questions, timeout_s)
                return
            except Lost as lost:
                now = time.monotonic()
                deadline = deadline or now + (0.0 if lost.was_silent else timeout_s)
                if lost.was_silent or now >= deadline:
                    raise self._given_up(questions, lost, timeout_s) from lost
                self.suspects()
            time.sleep(look_s)
            look_s = min(look_s * 2, LOOK_S_MAX)

    def refuse_if_closed(self) -> None:
        """Raises `SystemClosed`, or why nothing is asked any more."""
        if self._refusal is not None:
            raise copy_of(self._refusal)

    def _ask(self, questions: Sequence[Question], timeout_s: float) -> None:
        try:
            channel = self._idle.pop()
        except IndexError:
            channel = self.connected("calls", timeout_s)
        is_kept = False
        try:
            if timeout_s != self.timeout_s:
                channel.wait_at_most(timeout_s)
            channel.ask(questions)
            is_kept = len(self._idle) < IDLE_MAX and timeout_s == self.timeout_s and self._refusal is None
        finally:
            # Over one that was left in the middle comes the answer to this next.
            if is_kept:
                self._idle.append(channel)
            else:
                channel.close()

    def _given_up(self, questions: Iterable[Question], lost: Lost, timeout_s: float) -> Exception:
        """Returns what to raise for questions that have waited too long."""
        where = f"{self._who()} has not answered within {timeout_s:g} s ({lost})."
        if any(each.was_sent and each.answer is None and each.kind == parcels.CALL for each in questions):
            return OutcomeUnknown(f"{where} The call was sent, and may be recorded yet, once.")
        return Unavailable(f"{where} Nothing was recorded; call again.")

    def _who(self) -> str:
        """Returns who was asked, as the beginning of a sentence."""
        who = f"process {self.writer.pid}" if self.writer is not None else "no process"
        return f"{self.directory}: {who} writes there, and"

    def forked(self) -> None:
        """Called in a forked child: closes its copies of the parent's connections."""
        for each in list(self._channels):
            each.close()

    def came(self) -> None:
        """Has everybody who asks know that this process writes now."""
        self._writes = True
        self.drop()

    def close(self, why: Exception | None = None) -> None:
        """Has everybody who asks from now on be told why not: that the system is closed."""
        closed = SystemClosed(f"the system in {self.directory} is closed. Open it again to use it.")
        self._refusal = self._refusal or why or closed
        self.drop()

    def drop(self) -> None:
        """Closes the connections that are not used."""
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return
