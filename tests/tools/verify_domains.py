"""Domains for the tests of verify, in a module of their own: other processes import them by name."""

from __future__ import annotations

import os
import time
from typing import Any

from coopy import abort_exception


class Clean:
    """Depends on nothing that is not recorded."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.seen: set[str] = set()
        self.at: Any = None
        self.drawn = ""
        self.me = {"self": self}

    def add(self, word: str) -> int:
        if word == "bad":
            print("said where nobody listens", flush=True)
            raise ValueError(word)
        self.words.append(word)
        self.seen.add(word)
        self.at = self._clock.now()  # type: ignore[attr-defined]
        self.drawn = self._env.token_hex(4)  # type: ignore[attr-defined]
        return len(self.words)

    def turn(self) -> None:
        self.me["other"] = self

    @abort_exception
    def refuse(self) -> None:
        raise ValueError("refused")


class Spoiling(Clean):
    """Breaks its word: it changes before it refuses."""

    @abort_exception
    def refuse(self) -> None:
        self.words.append("spoiled")
        raise ValueError("refused")


class Ordered(Clean):
    """Lists a set as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, dict[str, list[str]]] = {"Home": {"links": []}}

    def list_all(self, title: str, *, page: str = "Home") -> None:
        for word in self.seen:
            self.pages[page]["links"].append(word)


class Environment(Clean):
    """Asks the environment."""

    def look(self, name: str) -> None:
        self.seen_there = os.environ.get(name, "not there")

    def need(self, name: str) -> None:
        self.words.append(os.environ[name] and name)


class Zoned(Clean):
    """Asks for the local time zone."""

    def note(self, second: int) -> None:
        self.at = time.localtime(second).tm_hour


class Placed(Clean):
    """Asks where it is run."""

    def note(self) -> None:
        self.at = os.getcwd()


COUNT = [0]


class Remembering(Clean):
    """Keeps something where no snapshot keeps it."""

    def note(self) -> None:
        COUNT[0] += 1
        self.at = COUNT[0]


class Loaded(Clean):
    """Is loaded with something that is not its own."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, loaded=time.localtime(0).tm_hour)


class Locked(Clean):
    """Holds what can be pickled but not compared."""

    def __init__(self) -> None:
        super().__init__()
        self.odd = Odd()


class Odd:
    digestible = True

    def __reduce__(self) -> Any:
        if not Odd.digestible:
            raise TypeError("not today")
        return Odd, ()
