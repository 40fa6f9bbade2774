"""What the simulated nodes keep: registers, counters, and each deposit in the order it was applied."""

from __future__ import annotations

from coopy import readonly


class Bank:
    """Every write leaves a trace that tells whether it happened, when, and how often."""

    def __init__(self) -> None:
        self.registers: dict[str, int | None] = {}
        self.totals: dict[str, int] = {}
        self.deposits: list[str] = []

    def write(self, key: str, value: int) -> None:
        self.registers[key] = value

    def compare_and_set(self, key: str, expected: int | None, value: int) -> bool:
        if self.registers.get(key) != expected:
            return False
        self.registers[key] = value
        return True

    def add(self, key: str, amount: int, deposit: str) -> int:
        self.deposits.append(deposit)
        self.totals[key] = self.totals.get(key, 0) + amount
        return self.totals[key]

    @readonly
    def read(self, key: str) -> int | None:
        return self.registers.get(key)

    @readonly
    def get(self, key: str) -> int:
        return self.totals.get(key, 0)

    @readonly
    def applied(self) -> list[str]:
        return list(self.deposits)
