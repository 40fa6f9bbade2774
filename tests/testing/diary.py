"""The domain of these tests: it asks for time and chance, can fail, and can be changed behind its back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from coopy import abort_exception, clock, on_commit, readonly, transactional, unlocked

sent: list[str] = []


def send(text: str) -> None:
    sent.append(text)


class Diary:
    _clock: Any
    _env: Any

    def __init__(self) -> None:
        self.began = self._clock.now()
        self.lines: list[str] = []
        self.times: list[datetime] = []
        self.tokens: list[str] = []

    def write(self, line: str) -> int:
        self.lines.append(line)
        self.times.append(self._clock.now())
        return len(self.lines)

    def draw(self) -> str:
        self.tokens.append(self._env.token_hex(8))
        return self.tokens[-1]

    def tell(self, text: str) -> None:
        on_commit(send, text)

    def write_and_raise(self, line: str) -> None:
        self.lines.append(line)
        raise ValueError(line)

    @abort_exception
    def refuse(self, line: str) -> None:
        raise ValueError(line)

    @transactional
    def undo(self, line: str) -> None:
        self.lines.append(line)
        raise ValueError(line)

    @readonly
    def all_lines(self) -> list[str]:
        return self.lines

    @readonly
    def asked(self) -> tuple[datetime, datetime]:
        return self._clock.now(), clock.now()

    @readonly
    @unlocked
    def asked_without_lock(self) -> tuple[datetime, datetime]:
        return self._clock.now(), clock.now()

    @property
    def asked_by_property(self) -> tuple[datetime, datetime]:
        return self._clock.now(), clock.now()

    def ask_one_by_one(self) -> Iterator[datetime]:
        yield self._clock.now()

    @readonly
    def drawn(self) -> str:
        return str(self._env.token_hex(8))

    @readonly
    def tell_at_once(self, text: str) -> None:
        on_commit(send, text)
