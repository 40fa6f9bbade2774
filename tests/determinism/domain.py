"""A domain class as people write it before they have heard of coopy."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Iterator
from datetime import datetime
from time import time
from typing import Any

from determinism import ledger
from determinism.ledger import Deck, Entry


class Shop:
    def __init__(self) -> None:
        self.id = uuid.uuid4()
        self.opened = datetime.now()
        self.deck = Deck()
        self.entries: list[Entry] = []
        self.seen: list[Any] = []

    def sell(self, text: str) -> uuid.UUID:
        entry = Entry(text)
        self.entries.append(entry)
        self.seen.append([time(), random.randint(1, 10**6), os.urandom(4), ledger.token()])
        return entry.key

    def look(self) -> None:
        def nested() -> list[Any]:
            return [*ledger.moments(), *(random.random() for _ in range(2))]

        self.seen.append([nested(), sorted([random.random() for _ in range(3)]), ledger.draws(), self.deck.draw()])

    def fail(self) -> None:
        self.seen.append(random.random())
        raise ValueError(datetime.now().isoformat())

    def each(self) -> Iterator[float]:
        for _ in range(2):
            self.seen.append(random.random())
            yield self.seen[-1]

    def state(self) -> str:
        """All there is, as text."""
        return repr([self.id, self.opened, self.deck.cards, self.deck.rng.getstate(), self.entries, self.seen])
