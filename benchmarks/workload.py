"""The domains that are measured, and the few verbs that measuring needs."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

from coopy import readonly

NAMES = [f"account{number:02d}" for number in range(100)]


class Bank:
    """A small action: one dictionary, two arguments."""

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}

    def deposit(self, who: str, amount: int) -> int:
        balance = self.accounts.get(who, 0) + amount
        self.accounts[who] = balance
        return balance

    @readonly
    def get(self, who: str) -> int:
        return self.accounts[who]


class Item:
    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"item {number}"
        self.price = number * 1.5


class Store:
    """A large state: many objects of three attributes."""

    def __init__(self, count: int = 0) -> None:
        self.items = {number: Item(number) for number in range(count)}

    def touch(self, number: int) -> None:
        self.items[number].price += 1


def seconds_of(function: Callable[[], object]) -> float:
    """The time of one call, with the garbage of others out of the way."""
    gc.collect()
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def deposits(deposit: Callable[[str, int], object], count: int) -> None:
    for number in range(count):
        deposit(NAMES[number % 100], number)


def gets(get: Callable[[str], object], count: int) -> None:
    for number in range(count):
        get(NAMES[number % 100])


def rate_of_threads(deposit: Callable[[str, int], object], threads: int, calls: int) -> float:
    """Calls a second of so many threads, each making its share of the calls."""
    barrier = threading.Barrier(threads + 1)
    share = calls // threads

    def work(who: str) -> None:
        barrier.wait()
        for number in range(share):
            deposit(who, number)

    workers = [threading.Thread(target=work, args=(NAMES[number % 100],)) for number in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return share * threads / (time.perf_counter() - began)


def keep_busy(callers: int, calls: int, send: Callable[[int, Callable[[bool], None]], object]) -> tuple[float, int]:
    """Has so many calls under way at any time, until all are answered. Returns the seconds that took, and how many were refused.

    ``send(number, done)`` sends a call; ``done`` is called, in any thread, with whether it was carried out.
    """
    ended, lock = threading.Event(), threading.Lock()
    to_send, to_answer, refused = calls - callers, calls, 0

    def done(is_carried_out: bool) -> None:
        nonlocal to_send, to_answer, refused
        with lock:
            refused += not is_carried_out
            to_send -= 1
            to_answer -= 1
            number = to_send
            if to_answer == 0:
                ended.set()
        if number >= 0:
            send(number, done)

    began = time.perf_counter()
    for number in range(callers):
        send(number, done)
    ended.wait()
    return time.perf_counter() - began, refused
