"""The tutorial as one program: run it twice, and the second run finds what the first one wrote.

python examples/tutorial.py [data directory]
"""

from __future__ import annotations

import sys
from datetime import datetime

from coopy import clock, init_system, readonly


class WikiPage:
    """A page, and what it was before."""

    def __init__(self, name: str, content: str, at: datetime) -> None:
        self.name = name
        self.content = content
        self.last_modify = at
        self.history: list[tuple[str, datetime]] = []


class Wiki:
    """A plain class: nothing in it knows of coopy but the clock."""

    def __init__(self) -> None:
        self.pages: dict[str, WikiPage] = {}

    def create_page(self, name: str, content: str) -> None:
        if name in self.pages:
            raise ValueError(f"there is a page {name!r} already")
        self.pages[name] = WikiPage(name, content, clock.now())

    def edit_page(self, name: str, content: str) -> None:
        page = self.pages[name]
        page.history.append((page.content, page.last_modify))
        page.content = content
        page.last_modify = clock.now()

    @readonly
    def revisions(self, name: str) -> int:
        return len(self.pages[name].history) + 1


def main(directory: str) -> None:
    with init_system(Wiki, directory) as wiki:
        if "Home" in wiki.pages:
            revisions = wiki.revisions("Home")
            print(f"found {directory}/, with a page of {revisions} revision{'s' * (revisions > 1)}")
            wiki.edit_page("Home", f"Welcome back, visit {revisions + 1}")
        else:
            print(f"nothing in {directory}/ yet")
            wiki.create_page("Home", "Welcome, visit 1")
        page = wiki.pages["Home"]
        for content, at in [*page.history, (page.content, page.last_modify)]:
            print(f"  {at:%Y-%m-%d %H:%M:%S}  {content}")
    print("Run it again." if not page.history else "As many times as you like.")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data")
