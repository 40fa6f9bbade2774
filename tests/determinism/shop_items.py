"""A class of another module of the same package."""

from __future__ import annotations

import uuid


class Basket:
    def __init__(self) -> None:
        self.items: dict[str, str] = {}

    def put(self, item: str) -> None:
        self.items[self._key()] = item

    def _key(self) -> str:
        return str(uuid.uuid4())  # key of basket

    def get(self, item: str) -> str:
        return str(uuid.uuid1())
