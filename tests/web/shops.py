"""What is inspected: a class with all that a tree can show, and what should never reach a page as it is."""

from __future__ import annotations

from coopy import abort_exception
from coopy.batteries import Counter
from coopy.sync.locks import Locks

SCRIPT = "<script>alert(1)</script>"
QUOTE = "\"'><img src=x onerror=alert(2)>"


class Refuses:
    """Raises when it is shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


class Shop:
    def __init__(self) -> None:
        self.stock: dict[str, int] = {}
        self.notes: list[str] = []
        self.odd: dict[str, object] = {}
        self.sold = 0

    def put(self, name: str, number: int) -> None:
        self.stock[name] = self.stock.get(name, 0) + number

    def sell(self, name: str) -> int:
        self.stock[name] -= 1
        self.sold += 1
        return self.stock[name]

    def note(self, text: str) -> None:
        self.notes.append(text)

    def oddity(self, name: str) -> None:
        self.odd[name] = Refuses()

    def fail(self) -> None:
        raise ValueError("as it should")

    @abort_exception
    def refuse(self) -> None:
        raise ValueError("withdrawn")

    def forget(self, name: str) -> None:
        del self.stock[name]


class Shelf:
    """Has structures of coopy's in it."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.deep = {"locks": [Locks()]}
        self.names: list[str] = []

    def add(self, name: str) -> None:
        self.names.append(name)
