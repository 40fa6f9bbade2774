"""Classes whose objects have keys, for tests."""

from __future__ import annotations

from typing import Any

import coopy
from coopy import abort_exception, clock, env, readonly, transactional
from coopy.objects import alarm, cancel_alarm, tell


class Room:
    """A room, in which people speak; it has every kind of method that there is."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.said: list[Any] = []

    def say(self, who: str, text: str = "") -> int:
        self.said.append((who, text))
        return len(self.said)

    def keep(self, what: Any) -> Any:
        self.said.append(what)
        return what

    def draw(self) -> tuple[str, float]:
        found = env.token_hex(8), clock.time()
        self.said.append(found)
        return found

    def fail(self, text: str) -> None:
        self.said.append(text)
        raise ValueError(text)

    @abort_exception
    def refuse(self, text: str) -> None:
        raise ValueError(text)

    @transactional
    def undo(self, text: str) -> None:
        self.said.append(text)
        raise ValueError(text)

    @transactional
    def undo_if(self, text: str, fails: bool) -> None:
        self.said.append(text)
        if fails:
            raise ValueError(text)

    @readonly
    def last(self, count: int = 10) -> list[Any]:
        return self.said[-count:]

    @readonly
    def count(self) -> int:
        return len(self.said)

    def itself(self) -> Room:
        return self

    def numbers(self) -> Any:
        yield from range(len(self.said))

    @property
    def name(self) -> str:
        return f"room {self.key}"


class Choosy:
    """An object that is not made of every key."""

    def __init__(self, key: str) -> None:
        if key.startswith("bad"):
            raise LookupError(key)
        self.key = key
        self.born = env.token_hex(4)
        self.calls = 0

    def call(self) -> int:
        self.calls += 1
        return self.calls

    @transactional
    def first(self, fails: bool) -> str:
        self.calls += 1
        if fails:
            raise ValueError(self.key)
        return self.born


class Counter:
    """An object that is made of nothing."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> int:
        self.total += number
        return self.total

    @readonly
    def get(self) -> int:
        return self.total


class Echo:
    """Is told each token of the ledger of the same key."""

    def __init__(self) -> None:
        self.heard_of: list[str] = []

    def heard(self, token: str) -> None:
        self.heard_of.append(token)


class Ledger:
    """Each action that counts leaves its token, and a digest of all before it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.tokens: list[str] = []
        self.drawn: list[str] = []

    def add(self, token: str, filler: str) -> int:
        self.tokens.append(token)
        self.drawn.append(env.token_hex(2))
        tell(Echo, self.key).heard(token)
        return len(self.tokens)

    @transactional
    def undo(self, token: str) -> None:
        self.tokens.append("never")
        raise ValueError(token)

    @readonly
    def all(self) -> list[str]:
        return list(self.tokens)


def crashed(objects: Any) -> None:
    """Lets go of objects as a process does that is killed."""
    directory = objects._directory
    directory._closing.set()
    directory._is_closed = True
    behind = directory.engine.store._log._behind
    if behind is not None:
        behind.join()  # It ends with the process, and would find its file closed.
    directory.engine.store.abandon()


def reopened(objects: Any, *, crash: bool = True, **options: Any) -> Any:
    """The same objects, opened again after a crash, or after they were closed."""
    (crashed if crash else type(objects).close)(objects)
    return coopy.objects(objects.cls, objects._directory.name, **options)


class Device:
    """A device, which is asked for its state now and then, and reports to a site."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.seen: list[Any] = []

    def wake_in(self, seconds: float, what: str, name: str | None = None) -> None:
        alarm("woken", what, after=seconds, name=name)

    def sleep(self, name: str) -> None:
        cancel_alarm(name)

    def woken(self, what: str) -> None:
        self.seen.append((what, clock.time()))

    def beat(self, seconds: float) -> None:
        """Comes again and again."""
        self.seen.append(clock.time())
        alarm("beat", seconds, after=seconds)

    def wake_and_fail(self) -> None:
        alarm("woken", "never", after=0)
        tell(Site, "a").report(self.key, "never")
        raise ValueError(self.key)

    def fail(self, what: str) -> None:
        self.seen.append(what)
        raise ValueError(what)

    @transactional
    def undo(self, what: str) -> None:
        self.seen.append("never")
        raise ValueError(what)

    def fail_in(self, name: str, seconds: float) -> None:
        alarm(name, "x", after=seconds)

    def report(self, site: str, *what: str) -> None:
        for each in what:
            tell(Site, site).report(self.key, each)

    def report_to_all(self, sites: list[str], what: str) -> None:
        for site in sites:
            tell(Site, site).report(self.key, what=what)

    def heard(self, what: str) -> None:
        self.seen.append(what)

    @readonly
    def all_seen(self) -> list[Any]:
        return list(self.seen)

    def tell_itself(self, what: str) -> None:
        self.seen.append("telling")
        tell(Device, self.key).heard(what)


class Site:
    def __init__(self, key: str) -> None:
        if key == "bad":
            raise LookupError(key)
        self.reports: list[tuple[str, str]] = []

    def report(self, device: str, what: str) -> None:
        self.reports.append((device, what))
        if what == "fail":
            raise ValueError(what)

    @transactional
    def undo(self, device: str, what: str) -> None:
        self.reports.append(("never", what))
        raise ValueError(what)

    def answer(self, device: str, what: str) -> None:
        self.reports.append((device, what))
        tell(Device, device).heard(f"{what} heard")
