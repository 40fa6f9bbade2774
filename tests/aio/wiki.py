"""A domain for the tests of asyncio; also for programs and type checkers, so it is a module of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from coopy import abort_exception, clock, readonly, transactional, unlocked

gates: dict[str, threading.Event] = {}
"""Events that methods wait for, by name: a thread can be held in the middle of an action."""
entered: dict[str, threading.Event] = {}


def gate(name: str) -> tuple[threading.Event, threading.Event]:
    """An event that `Wiki.hold` waits for, and one that says that it does."""
    gates[name], entered[name] = threading.Event(), threading.Event()
    return gates[name], entered[name]


class Wiki:
    title: str = "Wiki"

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}

    def create_page(self, name: str, text: str = "", *, draft: bool = False) -> int:
        self.pages[name] = f"draft: {text}" if draft else text
        return len(self.pages)

    def hold(self, name: str) -> None:
        """Holds the thread at a gate; a replay passes."""
        if name in gates:
            entered[name].set()
            assert gates[name].wait(30)
        self.pages[name] = "held"

    def fail(self, name: str) -> None:
        self.pages[name] = "before it failed"
        raise KeyError(name)

    def stop(self) -> None:
        raise StopIteration("from the domain")

    @transactional
    def fail_whole(self, name: str) -> None:
        self.pages[name] = "before it failed"
        raise KeyError(name)

    @abort_exception
    def refuse(self) -> None:
        raise ValueError("refused")

    def itself(self) -> Wiki:
        return self

    def stamp(self, name: str) -> str:
        self.pages[name] = clock.now().isoformat()
        return self.pages[name]

    def names(self) -> Iterator[str]:
        yield from self.pages

    @readonly
    def page(self, name: str) -> str:
        return self.pages[name]

    @readonly
    def sorted_names(self) -> Iterator[str]:
        yield from sorted(self.pages)

    @readonly
    def thread(self) -> int:
        return threading.get_ident()

    @readonly
    @unlocked
    def thread_unlocked(self) -> int:
        return threading.get_ident()

    @readonly
    @unlocked
    def first_unlocked(self, *pages: str) -> str:
        return next(iter(pages))

    @property
    def size(self) -> int:
        return len(self.pages)

    @staticmethod
    def slug(name: str) -> str:
        return name.lower()

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, name: str) -> str:
        return self.pages[name]

    def __setitem__(self, name: str, text: str) -> None:
        self.pages[name] = text


class Notes:
    """A domain without a method that takes no lock, so that its calls are written together."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}

    def create_page(self, name: str) -> int:
        self.pages[name] = ""
        return len(self.pages)

    hold = Wiki.hold
