"""Random operations on every structure: recorded by one process, and run again by others.

    python operations.py record SEED COUNT DIRECTORY
    python operations.py replay DIRECTORY
    python operations.py node SEED COUNT DIRECTORY NODE NODE...

The first two print a line for each structure: its name, and the digest of its state and of all that a reader sees of it. The third is a node of a
cluster, whose name comes first and then those of all. It has all structures in one system and makes so many calls of each when it reads a
line; at the next line it says the digest of all, and for each structure that of the changes that it has heard of.
"""

from __future__ import annotations

import hashlib
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, Full
from typing import Any

from coopy import control, init_system
from coopy.batteries import (
    Barrier,
    Counter,
    Deque,
    Dict,
    EditConflict,
    Ids,
    Latch,
    Leaderboard,
    List,
    LRUCache,
    MultiDict,
    PriorityQueue,
    Queue,
    RateLimiter,
    Semaphore,
    SessionStore,
    Set,
    TTLCache,
    watch,
)

REFUSED = (KeyError, IndexError, ValueError, TypeError, EditConflict, Empty, Full)
"""What structures raise for arguments that do not fit."""
WORDS = [f"{first}{second}" for first in "tea ink pen ball rope".split() for second in ("", "s", "-1", "-2")]


class Point:
    """A value that can't be frozen."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x

    def __hash__(self) -> int:
        return hash(self.x)

    def __lt__(self, other: object) -> bool:
        return self.x < other.x if isinstance(other, Point) else NotImplemented

    def __repr__(self) -> str:
        return f"Point({self.x})"


class Draws:
    """What operations are given."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)

    def word(self) -> str:
        return self.chance.choice(WORDS)

    def words(self) -> set[str]:
        return {self.word() for _ in range(self.chance.randrange(6))}

    def number(self) -> int:
        return self.chance.randrange(-5, 20)

    def place(self) -> int:
        return self.chance.randrange(-8, 8)

    def value(self) -> Any:
        return self.chance.choice(
            [
                self.word,
                self.number,
                self.words,
                lambda: [self.word(), {self.word(): [self.number()]}],
                lambda: Point(self.number()),
                lambda: (self.word(), frozenset(self.words())),
                lambda: None,
            ]
        )()

    def pairs(self) -> list[tuple[str, Any]]:
        return [(self.word(), self.value()) for _ in range(self.chance.randrange(4))]


Operation = Callable[[Draws], tuple[Any, ...]]


def nothing(_: Draws) -> tuple[Any, ...]:
    return ()


def of(*draws: str) -> Operation:
    """Returns what draws the arguments of an operation: the methods of `Draws` by name."""
    return lambda drawn: tuple(getattr(drawn, name)() for name in draws)


STRUCTURES: dict[str, tuple[Callable[[], Any], dict[str, Operation]]] = {
    "Counter": (
        Counter,
        {
            "inc": nothing,
            "dec": nothing,
            "add": of("number"),
            "sub": of("number"),
            "set": of("number"),
            "compare_and_set": of("number", "number"),
            "get_and_set": of("number"),
        },
    ),
    "List": (
        List,
        {
            "append": of("value"),
            "extend": of("words"),
            "insert": of("place", "value"),
            "remove": of("value"),
            "pop": of("place"),
            "set": of("place", "value"),
            "reverse": nothing,
            "sort": nothing,
            "reset": lambda drawn: (drawn.words(),) if drawn.chance.random() < 0.05 else ([],),
            "__setitem__": lambda drawn: (slice(drawn.place(), drawn.place()), drawn.words()),
            "__delitem__": of("place"),
        },
    ),
    "Deque": (
        lambda: Deque(maxlen=30),
        {
            "append": of("value"),
            "appendleft": of("value"),
            "extend": of("words"),
            "extendleft": of("words"),
            "pop": nothing,
            "popleft": nothing,
            "rotate": of("place"),
            "remove": of("value"),
            "reverse": nothing,
            "insert": of("place", "value"),
            "resize": lambda drawn: (20 + drawn.chance.randrange(15),),
            "__setitem__": of("place", "value"),
            "__delitem__": of("place"),
        },
    ),
    "Dict": (
        Dict,
        {
            "__setitem__": of("value", "value"),
            "set": of("word", "value"),
            "__delitem__": of("word"),
            "pop": of("word"),
            "popitem": nothing,
            "setdefault": of("word", "value"),
            "update": of("pairs"),
            "put_if_absent": of("word", "value"),
            "replace_if_same": of("word", "value", "value"),
            "remove_if_same": of("word", "value"),
            "__ior__": lambda drawn: (dict(drawn.pairs()),),
            "finish_edit": of("word", "value", "value"),
        },
    ),
    "MultiDict": (
        MultiDict,
        {
            "add": of("word", "value"),
            "extend": of("pairs"),
            "set": of("word", "words"),
            "remove": of("word", "word"),
            "popone": of("word"),
            "popall": of("word"),
        },
    ),
    "Set": (
        Set,
        {
            "add": of("value"),
            "discard": of("word"),
            "remove": of("word"),
            "pop": nothing,
            "update": of("words", "words"),
            "intersection_update": lambda drawn: ({*WORDS[: drawn.chance.randrange(20)]},),
            "difference_update": of("words"),
            "symmetric_difference_update": of("words"),
            "__ior__": of("words"),
        },
    ),
    "Queue": (
        lambda: Queue(maxlen=50),
        {
            "put": of("value"),
            "put_many": of("words"),
            "get": nothing,
            "drain": lambda drawn: (drawn.number(),),
            "task_done": nothing,
            "put_nowait": of("value"),
            "get_nowait": nothing,
        },
    ),
    "PriorityQueue": (
        lambda: PriorityQueue(maxsize=50),
        {
            "put": lambda drawn: ((drawn.number(), drawn.value()),),
            "put_nowait": lambda drawn: ((drawn.word(), drawn.value()),),
            "get": nothing,
            "drain": lambda drawn: (drawn.chance.randrange(4),),
            "put_many": lambda drawn: ([(drawn.number(), drawn.value()) for _ in range(3)],),
        },
    ),
    "TTLCache": (
        lambda: TTLCache(ttl=0.002, maxsize=12),
        {
            "set": lambda drawn: (drawn.word(), drawn.value(), 0.0001 * (1 + drawn.chance.randrange(50))),
            "__setitem__": of("word", "value"),
            "touch": of("word"),
            "pop": of("word"),
            "put_if_absent": of("word", "value"),
            "expire": nothing,
            "__delitem__": of("word"),
        },
    ),
    "LRUCache": (
        lambda: LRUCache(maxsize=8),
        {
            "__setitem__": of("word", "value"),
            "set": of("word", "value"),
            "get": of("word"),
            "pop": of("word"),
            "__delitem__": of("word"),
            "resize": lambda drawn: (4 + drawn.chance.randrange(8),),
        },
    ),
    "SessionStore": (
        lambda: SessionStore(ttl=0.01, maxsize=20),
        {
            "create": lambda drawn: (dict(drawn.pairs()),),
            "expire": nothing,
            # Ids can't be known here: they are chosen like the keys of any cache.
            "set": of("word", "words"),
            "update": of("word"),
            "renew": of("word"),
            "delete": of("word"),
        },
    ),
    "RateLimiter": (
        lambda: RateLimiter(rate=700, per=3, burst=5),
        {"acquire": lambda drawn: (drawn.word(), 1 + drawn.chance.randrange(3)), "allow": of("word"), "reset": of("word")},
    ),
    "Leaderboard": (
        Leaderboard,
        {"set": of("word", "number"), "add": of("word", "number"), "discard": of("word"), "remove": of("word")},
    ),
    "Ids": (Ids, {"new": nothing, "reserve": lambda drawn: (1 + drawn.chance.randrange(9),)}),
    "Semaphore": (
        lambda: Semaphore(9),
        {
            "acquire": of("word"),
            "release": of("word"),
            "release_all": of("word"),
            "resize": lambda drawn: (5 + drawn.chance.randrange(9),),
        },
    ),
    "Latch": (lambda: Latch(5), {"count_down": nothing, "reset": lambda drawn: (drawn.chance.randrange(4),)}),
    "Barrier": (
        lambda: Barrier(3),
        {
            "arrive": of("word"),
            "abort": nothing,
            "reset": nothing,
            "leave": lambda drawn: (drawn.number(), drawn.chance.randrange(3)),
        },
    ),
}


def seen(system: Any) -> str:
    """Returns what a reader sees, in the order in which it comes."""
    if isinstance(system, (Dict, MultiDict, TTLCache, LRUCache)):
        return repr(list(system.items()))
    if hasattr(type(system), "__iter__"):
        return repr([*system])
    return repr(system)


def line(name: str, system: Any) -> str:
    _, digest = control(system).state_digest()
    # Of a set in a value the order that is printed depends on the hash seed: that of its letters does not.
    text = "".join(sorted(seen(system))) if name not in ("Counter", "Ids") else seen(system)
    return f"{name} {control(system).index} {digest} {hashlib.sha256(text.encode()).hexdigest()}"


def record(seed: str, count: int, basedir: Path) -> Iterator[str]:
    """Calls random methods of each structure."""
    for name, (make, operations) in STRUCTURES.items():
        drawn = Draws(f"{seed} {name}")
        names = list(operations)
        system = init_system(make(), basedir / name, durability="buffered", self_check=False)
        for _ in range(count):
            chosen = drawn.chance.choice(names)
            with suppress(*REFUSED):
                getattr(system, chosen)(*operations[chosen](drawn))
        yield line(name, system)
        system.close()


def replay(basedir: Path) -> Iterator[str]:
    """Opens each structure, which runs again what was called."""
    for name, (make, _) in STRUCTURES.items():
        with init_system(make(), basedir / name, create=False, self_check=False) as system:
            yield line(name, system)


class Everything:
    """One of each structure."""

    def __init__(self) -> None:
        self.structures = {name: make() for name, (make, _) in STRUCTURES.items()}

    def do(self, name: str, method: str, args: tuple[Any, ...]) -> None:
        with suppress(*REFUSED):
            getattr(self.structures[name], method)(*args)


def node(seed: str, count: int, basedir: Path, name: str, nodes: list[str]) -> Iterator[str]:
    """Makes calls as a node of a cluster, and says what has come of those of all nodes."""
    system = init_system(Everything, basedir, cluster=nodes, node=name, validation="off", progress=lambda done, total: None)
    controls = control(system)
    watches = {each: watch(system, of=partial(_one_of, each), timeout=0) for each in STRUCTURES}
    yield "ready"
    sys.stdin.readline()
    drawn = Draws(seed)
    for _ in range(count):
        calls = []
        for each, (_, operations) in STRUCTURES.items():
            chosen = drawn.chance.choice(list(operations))
            calls.append(controls.submit("do", each, chosen, operations[chosen](drawn)))
        for call in calls:
            call.result(60)
    yield "made"
    sys.stdin.readline()
    controls.sync(60)
    yield controls.state_digest()[1]
    for each, watched in watches.items():
        watched._facts._subscription.wait(60)  # type: ignore[union-attr]
        changes = ["".join(sorted(repr(change[2:]))) for change in watched]
        yield f"{each} {len(changes)} {hashlib.sha256(repr(changes).encode()).hexdigest()}"
    sys.stdin.readline()
    controls.close()


def _one_of(name: str, everything: Everything) -> Any:
    return everything.structures[name]


def main() -> None:
    warnings.simplefilter("ignore")
    if sys.argv[1] == "node":
        lines = node(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5], sys.argv[6:])
    elif sys.argv[1] == "record":
        lines = record(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        lines = replay(Path(sys.argv[2]))
    for each in lines:
        print(each, flush=True)


if __name__ == "__main__":
    main()
