"""The domain of nodes that are processes of their own."""

from __future__ import annotations

import os

import coopy


def weather() -> str:
    """Not the same everywhere, as nothing should be that a method looks at."""
    return os.environ.get("WEATHER", "sun")


class Bank:
    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.seen: list[str] = []

    def deposit(self, owner: str, amount: int = 1) -> int:
        self.accounts[owner] = self.accounts.get(owner, 0) + amount
        return self.accounts[owner]

    def fail(self) -> None:
        raise ValueError("no")

    def look_outside(self) -> str:
        self.seen.append(weather())
        return self.seen[-1]

    @coopy.readonly
    def balance(self, owner: str) -> int:
        return self.accounts.get(owner, 0)

    @coopy.readonly
    def weather(self) -> list[str]:
        return list(self.seen)
