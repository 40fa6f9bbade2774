"""A projection that several programs open."""

from __future__ import annotations

from typing import Any

from coopy.messaging import Projection


class Total(Projection):
    def __init__(self) -> None:
        self.total = 0
        self.count = 0

    def when(self, event: Any) -> None:
        self.total += int(event.data)
        self.count += 1
