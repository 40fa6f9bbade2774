"""A wiki that `coopy serve` has open, for a container or a unit of systemd beside this file."""

from __future__ import annotations

from coopy import readonly


class Wiki:
    """Pages by name."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}

    def write(self, name: str, text: str) -> int:
        """Writes a page. Returns how many there are."""
        self.pages[name] = text
        return len(self.pages)

    @readonly
    def page(self, name: str) -> str:
        """Returns the text of a page. Raises KeyError."""
        return self.pages[name]
