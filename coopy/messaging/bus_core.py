"""What a member of a bus does, whichever face the program sees: it publishes, subscribes, asks and answers over a link.

Between the members, on CONTROL, as JSON; who is not coopy says and hears nothing of it:

    {"from": publisher, "last": {subject: number, ...}}    so many messages were sent to each subject, by now
    {"tell": [pattern, ...]}                               asks all publishers for that, of subjects that the patterns hear
    {"count": subject}                                     asks how many subscriptions hear a subject; answered with {"from", "count"}

Numbers show a gap only when the next message comes. So after a connection was lost, when the next may never come, a publisher says how
many it has sent, and a subscriber asks. And a server drops messages for a connection that does not take them: so a publisher that has gone
quiet says once, on MARKS and the subject, how many it has sent there; only who hears the subject hears that.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from coopy import OutcomeUnknown, RemoteError, SystemClosed, Unavailable, UsageError
from coopy.ground.raised import on_failure
from coopy.messaging import bus_subjects
from coopy.messaging.bus_local import Link
from coopy.messaging.bus_message import ERROR, ERROR_CODE, Message, compose, numbers
from coopy.messaging.bus_payload import BYTES, JSON, Payloads
from coopy.messaging.bus_subscription import MissedCallback, Subscription
from coopy.network.limits import Sparing
from coopy.network.subjects import INBOX
from coopy.network.wire import Delivered, header, status

CONTROL, MARKS = "_COOPY.bus", "_COOPY.last."
SUBJECTS_MAX = 100_000
"""Subjects of which a publisher keeps the count: about 20 MB. Beyond it goes on under another name, and counts anew."""
_SAID_AT_ONCE = 1000
"""Subjects in one message of CONTROL: below a megabyte, whatever they are called."""
UNSUBSCRIBE_S = 2.0
"""How long the server has to say that nothing comes any more."""
_ASK_S = 0.1
"""Who waits for subscribers asks that often."""
_LAST = b"last"
"""The token to which it is answered how many messages were sent."""
_UNHEARD = b"503"
"""The status of what a server says in place of an answer, if nobody hears the question."""


class Core:
    """One member of a bus."""

    def __init__(self, link: Link, payloads: Payloads, sparing: Sparing, timeout_s: float) -> None:
        self.link = link
        self.payloads = payloads
        self.sparing = sparing
        self.timeout_s = timeout_s
        self.publisher = secrets.token_urlsafe(8)
        self._name = self.publisher.encode()
        self._inbox = f"{INBOX}.{secrets.token_urlsafe(16)}"
        self._number = itertools.count(1)
        self._closed = False
        # Guarded by the lock of the link.
        self._sent: dict[bytes, int] = {}
        self._subscriptions: dict[int, Subscription[Any]] = {}
        self._asked: dict[bytes, Callable[[Delivered], object]] = {}
        """What is to be done with an answer, by the last word of the subject it comes to."""
        self._flushing: dict[bytes, Future[None]] = {}
        self._busy = False
        """Whether something was published since it was last looked."""
        self._unsaid = False
        self._said: dict[bytes, int] = {}
        """What was last said of `_sent`."""
        self._closing: list[Callable[[], None]] = []

    def start(self, timeout_s: float | None) -> None:
        """Connects. Raises what `coopy.messaging.bus_local.Link.start` raises."""
        self.link.start(self._resumed, self._failed, self._quiet, timeout_s)
        self.link.subscribe(next(self._number), f"{self._inbox}.*".encode(), b"", self._answered)
        self.link.subscribe(next(self._number), CONTROL.encode(), b"", self._told)
        self._asked[_LAST] = lambda delivered: self._told((delivered,))

    # -- out

    def publish(self, subject: str, value: object, headers: Mapping[str, str] | None, reply: bytes = b"") -> None:
        """Raises `UsageError`, `EncodingError`, `Unavailable`, `SystemClosed`."""
        to = bus_subjects.subject(subject)
        kind, data = self.payloads.encode(to, value)
        link = self.link
        if link.crowded:
            link.make_room(self.timeout_s)
        with link.lock:
            self._check()
            number = self._sent.get(to, 0) + 1
            if number == 1 and len(self._sent) >= SUBJECTS_MAX:
                self._begin_anew()
            link.publish(to, reply, compose(self._name, number, kind, headers), data)
            self._sent[to] = number
            self._busy = True

    def _begin_anew(self) -> None:
        self._say_last(self._sent)
        self._sent.clear()
        self._said.clear()
        self.publisher = secrets.token_urlsafe(8)
        self._name = self.publisher.encode()

    def answer(self, reply: bytes, value: object, headers: Mapping[str, str] | None = None) -> None:
        """Sends an answer, which has no number. Raises as `publish`."""
        kind, data = self.payloads.encode(reply, value)
        link = self.link
        if link.crowded:
            link.make_room(self.timeout_s)
        with link.lock:
            self._check()
            link.publish(reply, b"", compose(self._name, 0, kind, headers), data)

    def answer_error(self, reply: bytes, code: str, said: str) -> None:
        """Sends an error in place of an answer (ADR-32)."""
        line = " ".join(said.split()) or code
        self.answer(reply, b"", {ERROR.decode(): line, ERROR_CODE.decode(): code})

    # -- in

    def subscribe(
        self,
        pattern: str,
        group: str,
        of: Any,
        missed: MissedCallback | None,
        waiting: int,
        waiting_bytes: int,
    ) -> Subscription[Any]:
        """Subscribes; `flushed` says when the server has it. Raises `UsageError`, `SystemClosed`."""
        heard, members = bus_subjects.pattern(pattern), bus_subjects.group(group)
        found: Subscription[Any] = Subscription(self, pattern, group, of, missed, waiting, waiting_bytes)
        with self.link.lock:
            self._check()
            found.number = next(self._number)
            self._subscriptions[found.number] = found
            self.link.subscribe(found.number, heard, members, found.put)
            if self.link.loses and not group:
                found.marks = next(self._number)
                self.link.subscribe(found.marks, MARKS.encode() + heard, b"", lambda batch: _marked(found, batch))
        return found

    def answer_always(self, pattern: str, said: Callable[[], bytes]) -> Callable[[], None]:
        """Has the thread that reads answer questions with what ``said`` returns at once; what is returned ends that. Raises `SystemClosed`."""

        def put(batch: Sequence[Delivered]) -> None:
            for each in batch:
                if each.reply:
                    with self.link.lock, contextlib.suppress(Unavailable, SystemClosed):
                        self.link.publish(each.reply, b"", compose(self._name, 0, BYTES, None), said())

        with self.link.lock:
            self._check()
            number = next(self._number)
            self.link.subscribe(number, bus_subjects.pattern(pattern), b"", put)

        def end() -> None:
            self.link.unsubscribe(number)
            self.link.forget(number)

        return end

    def hear_also(self, subscription: Subscription[Any], pattern: str) -> int:
        """Has a subscription hear one more pattern; returns the number for `hear_no_more`. Raises `UsageError`, `SystemClosed`."""
        with self.link.lock:
            self._check()
            number = next(self._number)
            self.link.subscribe(number, bus_subjects.pattern(pattern), b"", subscription.put)
        return number

    def hear_no_more(self, number: int) -> None:
        """Takes back what `hear_also` has done."""
        self.link.unsubscribe(number)
        self.link.forget(number)

    def unsubscribe(self, number: int) -> None:
        """Nothing comes to it any more, and what was on its way has come. Doing it twice is fine."""
        with self.link.lock:
            subscription = self._subscriptions.pop(number, None)
            if subscription is None:
                return
            self.link.unsubscribe(number)
            self.link.unsubscribe(subscription.marks)
            self.link.forget(subscription.marks)
        if self.link.connected:
            # A server that does not answer has lost its subscriptions soon.
            with contextlib.suppress(SystemClosed, FutureTimeout):
                self.flushed().result(UNSUBSCRIBE_S)
        self.link.forget(number)

    def flushed(self) -> Future[None]:
        """Returns what is done once the server has all that was sent before: a message to this member itself has come back."""
        found: Future[None] = Future()
        with self.link.lock:
            self._check()
            token = b"f%d" % next(self._number)
            self._flushing[token] = found
            self._flush(token)
        return found

    def _flush(self, token: bytes) -> None:
        self.link.publish(b"%s.%s" % (self._inbox.encode(), token), b"", compose(self._name, 0, JSON, None), b"")

    # -- questions

    def ask(self, subject: str, value: object, headers: Mapping[str, str] | None, timeout_s: float) -> Future[Delivered]:
        """Sends a question, and returns what its answer will be in. Raises as `publish`."""
        found: Future[Delivered] = Future()
        token = self.expect(lambda delivered: None if found.done() else found.set_result(delivered))
        found.add_done_callback(lambda _: self.forget(token))
        with on_failure(self.forget, token):
            self.publish(subject, value, headers, f"{self._inbox}.{token.decode()}".encode())
        return found

    def expect(self, answered: Callable[[Delivered], object]) -> bytes:
        """Has a function called, in the thread that reads, with each answer to a new token."""
        token = b"a%d" % next(self._number)
        with self.link.lock:
            self._check()
            self._asked[token] = answered
        return token

    def forget(self, token: bytes) -> None:
        """Drops what else is answered to a token."""
        with self.link.lock:
            self._asked.pop(token, None)

    def reply_to(self, token: bytes) -> bytes:
        """Returns the subject to which the answers to a token go."""
        return f"{self._inbox}.".encode() + token

    def message(self, subject: str, delivered: Delivered, of: Any) -> Message[Any]:
        """Returns an answer. Raises `Unavailable` if nobody heard the question, `RemoteError` if the answer is an error."""
        if status(delivered.headers) == _UNHEARD and not delivered.data:
            raise Unavailable(
                f"nobody listens to {subject}, so nobody has the question. Start who answers it, or wait for it: wait_for_subscribers()."
            )
        found: Message[Any] = Message(self, delivered, *numbers(delivered.headers), of)
        if found.error:
            code = (header(delivered.headers, ERROR_CODE) or b"").decode(errors="replace")
            kind, colon, text = found.error.partition(": ")
            raise RemoteError(
                kind if colon else f"error {code}", text if colon else found.error, f"  at {subject}, by its service ({code})"
            )
        return found

    def too_late(self, subject: str, timeout_s: float) -> OutcomeUnknown:
        """What is raised when an answer did not come."""
        return OutcomeUnknown(
            f"no answer from {subject} within {timeout_s:g} s. Somebody listens there, and may have done what it was asked, or may do so yet."
        )

    def wait_for_subscribers(self, subject: str, count: int, timeout_s: float) -> None:
        """Returns when so many subscriptions of members hear a subject. Raises `Unavailable`."""
        to = bus_subjects.subject(subject)
        heard: dict[str, int] = {}
        changed = threading.Condition()

        def answered(delivered: Delivered) -> None:
            said = _plain(delivered.data)
            with changed:
                if isinstance(said.get("count"), int):
                    heard[str(said.get("from"))] = said["count"]
                changed.notify()

        token = self.expect(answered)
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                with self.link.lock:
                    self._check()
                    self._say({"count": to.decode()}, self.reply_to(token))
                with changed:
                    if changed.wait_for(lambda: sum(heard.values()) >= count, _ASK_S):
                        return
                    there = sum(heard.values())
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{there} of {count} subscriptions hear {subject} after {timeout_s:g} s. Nothing was sent. Only members of this bus are "
                        f"counted, not other programs at the server."
                    )
                heard.clear()
        finally:
            self.forget(token)

    # -- the thread that reads

    def _answered(self, batch: Sequence[Delivered]) -> None:
        for each in batch:
            token = each.subject.rpartition(b".")[2]
            with self.link.lock:
                done = self._asked.get(token)
                flushed = self._flushing.pop(token, None)
            if done is not None:
                done(each)
            elif flushed is not None and not flushed.done():
                flushed.set_result(None)

    def _told(self, batch: Sequence[Delivered]) -> None:
        for each in batch:
            said = _plain(each.data)
            if said.get("from") == self.publisher:
                continue
            if isinstance(last := said.get("last"), dict) and all(isinstance(number, int) for number in last.values()):
                with self.link.lock:
                    subscriptions = list(self._subscriptions.values())
                for subscription in subscriptions:
                    subscription.told_last(str(said.get("from")).encode(), last)
            elif isinstance(patterns := said.get("tell"), list):
                with self.link.lock:
                    sent = {subject: number for subject, number in self._sent.items() if _hear(patterns, subject.decode())}
                    self._say_last(sent, each.reply or CONTROL.encode())
            elif isinstance(subject := said.get("count"), str) and each.reply:
                with self.link.lock:
                    count = sum(bus_subjects.matches(one.pattern, subject) for one in self._subscriptions.values())
                    self._say({"from": self.publisher, "count": count}, b"", each.reply)

    def _quiet(self) -> None:
        """Called every second: says how many messages were sent, once nothing more is."""
        with self.link.lock:
            if self._busy:
                self._busy, self._unsaid = False, True
                return
            if not self._unsaid:
                return
            self._unsaid = False
            new = {subject: number for subject, number in self._sent.items() if self._said.get(subject) != number}
            self._said = dict(self._sent)
            if len(new) > _SAID_AT_ONCE:
                self._say_last(new)
                return
            for subject, number in new.items():
                self._say({"from": self.publisher, "last": {subject.decode(): number}}, b"", MARKS.encode() + subject)

    def _failed(self) -> None:
        """There never was a connection, and there will be none: nobody is to wait for messages."""
        with self.link.lock:
            subscriptions = list(self._subscriptions.values())
        for each in subscriptions:
            each.end()

    def _resumed(self) -> None:
        """There is a connection again; what was sent on the one before may be lost."""
        with self.link.lock:
            for token in list(self._flushing):
                self._flush(token)
            self._say_last(self._sent)
            patterns = sorted({each.pattern for each in self._subscriptions.values() if not each.group})
            if patterns:
                self._say({"tell": patterns}, self.reply_to(_LAST))

    def _say_last(self, sent: Mapping[bytes, int], to: bytes = CONTROL.encode()) -> None:
        """With the lock held."""
        for first in range(0, len(sent), _SAID_AT_ONCE):
            part = itertools.islice(sent.items(), first, first + _SAID_AT_ONCE)
            self._say({"from": self.publisher, "last": {subject.decode(): number for subject, number in part}}, b"", to)

    def _say(self, what: object, reply: bytes = b"", to: bytes = CONTROL.encode()) -> None:
        """With the lock held. What can't be sent is not: whoever asks, asks again, and whoever is connected again says it again."""
        with contextlib.suppress(Unavailable, SystemClosed):
            self.link.publish(to, reply, b"NATS/1.0\r\n\r\n", json.dumps(what).encode())

    # -- the end

    def before_closing(self, function: Callable[[], None]) -> None:
        """Has a function called by `close`, before anything else."""
        self._closing.append(function)

    def close(self) -> None:
        """Closing twice is fine."""
        if self._closed:
            return
        closing, self._closing = self._closing, []
        for function in closing:
            function()
        with self.link.lock:
            self._closed = True
            subscriptions = list(self._subscriptions.values())
            self._subscriptions.clear()
            waiting: list[Future[None]] = list(self._flushing.values())
            self._flushing.clear()
        self.link.close()
        for each in waiting:
            if not each.done():
                each.set_exception(SystemClosed("the bus was closed"))
        for subscription in subscriptions:
            subscription.close()
        self.sparing.close()

    def _check(self) -> None:
        if self._closed:
            raise SystemClosed("the bus is closed")
        self.link.check()


def _marked(subscription: Subscription[Any], batch: Sequence[Delivered]) -> None:
    for each in batch:
        said = _plain(each.data)
        last = said.get("last")
        if isinstance(last, dict) and all(isinstance(number, int) for number in last.values()):
            subscription.told_last(str(said.get("from")).encode(), last)


def _plain(data: bytes) -> dict[str, Any]:
    """What another member says; nothing if it is nonsense."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _hear(patterns: Iterable[object], subject: str) -> bool:
    return any(isinstance(each, str) and bus_subjects.matches(each, subject) for each in patterns)


def positive(name: str, seconds: float) -> float:
    """Returns a number of seconds. Raises `UsageError`."""
    if not isinstance(seconds, (int, float)) or not 0 < seconds < 1e6:
        raise UsageError(f"{name}={seconds!r}: must be seconds, more than 0")
    return float(seconds)
