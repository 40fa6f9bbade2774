"""A module of the domain that knows nothing of coopy: it asks the standard library, in its own ways."""

from __future__ import annotations

import random
import secrets
import time
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from random import Random, choice, gauss
from typing import Any
from uuid import UUID, uuid1, uuid4


@dataclass
class Entry:
    text: str
    at: datetime = field(default_factory=datetime.now)
    key: UUID = field(default_factory=uuid4)


def token(size: int = 4) -> str:
    return secrets.token_hex(size)


class Deck:
    """Keeps a generator of its own, seeded by nobody."""

    def __init__(self) -> None:
        self.rng = Random()
        self.cards = list(range(52))
        self.rng.shuffle(self.cards)

    def draw(self) -> int:
        return self.cards[self.rng.randrange(52)]


def moments(at: Any = datetime.now) -> list[Any]:
    return [
        at(),
        datetime.now(timezone.utc),
        datetime.today(),
        date.today(),
        time.time(),
        time.time_ns(),
        time.strftime("%Y-%m-%d %H:%M:%S %z"),
        tuple(time.localtime()),
        time.monotonic(),
    ]


def draws() -> list[Any]:
    random.seed()
    return [random.random(), choice("abcdef"), gauss(0, 1), random.sample(range(99), 3), uuid1(), secrets.choice(range(99))]
