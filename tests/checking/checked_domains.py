"""Domains with mistakes that check=True finds, in a module that another process can import."""

from __future__ import annotations

import os
import time
from typing import Any

from coopy import abort_exception, entity, readonly, transactional, unlocked


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[Any] = []


@entity("marked", key="name")
class Marked:
    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[Any] = []


class Store:
    def __init__(self) -> None:
        self.items: list[Any] = []
        self.things: dict[str, Thing] = {}
        self.marked: dict[str, Marked] = {}
        self.accounts = {"a": 10, "b": 0}
        self.log: list[Any] = []
        self.seen = 0

    # -- what is fine

    def add(self, item: Any) -> int:
        self.items.append(item)
        return len(self.items)

    def count_words(self, words: list[str]) -> int:
        return len(words)

    def make(self, name: str) -> Thing:
        self.things[name] = Thing(name)
        return self.things[name]

    def mark(self, name: str) -> Marked:
        self.marked[name] = Marked(name)
        return self.marked[name]

    def attach(self, thing: Any, part: Any) -> None:
        thing.parts.append(part)

    def connect(self, *, things: Any) -> None:
        self.log.append(things)

    def fail(self, item: Any) -> None:
        self.items.append(item)
        raise KeyError(item)

    @readonly
    def first(self) -> Any:
        return self.items[0]

    @readonly
    def everything(self) -> Any:
        return self.items

    @readonly
    def a_copy(self) -> list[Any]:
        return list(self.items)

    @transactional
    def never(self, item: Any) -> None:
        self.fail(item)

    @transactional(parts=("accounts", "log"))
    def transfer(self, amount: int) -> None:
        self.accounts["a"] -= amount
        self.log.append(amount)
        self.accounts["b"] += amount
        if self.accounts["a"] < 0:
            raise ValueError(amount)

    @abort_exception
    def refuse(self, item: Any) -> None:
        raise ValueError(item)

    # -- what is not

    @readonly
    def look_and_write(self) -> int:
        self.seen += 1
        return self.seen

    @readonly
    @unlocked
    def look_and_write_freely(self) -> None:
        self.seen += 1

    @readonly
    def look_write_and_raise(self) -> None:
        self.seen += 1
        raise KeyError("seen")

    @abort_exception
    def write_and_refuse(self, item: Any) -> None:
        self.items.append(item)
        raise ValueError(item)

    @transactional(parts=("accounts",))
    def transfer_and_log(self, amount: int) -> None:
        self.accounts["a"] -= amount
        self.log.append(amount)
        raise ValueError(amount)

    @transactional(parts=("log",))
    def log_a_thing(self, name: str) -> None:
        self.log.append(self.things[name])
        self.things[name].parts.append(1)
        raise ValueError(name)

    def add_all(self, words: list[str]) -> None:
        for word in set(words):
            self.items.append(word)

    def sort_by_address(self) -> None:
        found = [Thing(str(number)) for number in range(30)]
        self.items = [each.name for each in sorted(found, key=id)]

    def add_local_hour(self) -> None:
        self.items.append(time.localtime(0).tm_hour)

    def add_user(self) -> None:
        self.items.append(os.environ.get("COOPY_TEST_USER"))

    def fail_by_environment(self) -> None:
        if "COOPY_TEST_USER" in os.environ:
            raise KeyError("COOPY_TEST_USER")
