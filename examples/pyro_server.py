"""Serves a system to other processes with Pyro5 (pip install Pyro5).

    python examples/pyro_server.py [data directory] [port]
    python examples/pyro_client.py

Pyro calls methods of an object that is exposed; that object delegates to the
system. Pyro serves each client in a thread of its own, and the system is safe
to use from many threads, so nothing needs to be synchronized here.

Pyro asks for no password: the server listens on this machine alone.
"""

from __future__ import annotations

import sys

try:
    import Pyro5.api
except ImportError:
    sys.exit("This example needs Pyro5. Install it with: pip install Pyro5")

import contextlib

from coopy import init_system, readonly

HOST, PORT, NAME = "127.0.0.1", 5460, "wiki"


class Wiki:
    """The domain: names and texts."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}

    def create_page(self, name: str, text: str) -> int:
        """Writes a page; returns how many there are."""
        self.pages[name] = text
        return len(self.pages)

    @readonly
    def page(self, name: str) -> str:
        """The text of a page."""
        return self.pages[name]


@Pyro5.api.expose
class RemoteWiki:
    """What clients see: no more of the system than they need."""

    def __init__(self, wiki: Wiki) -> None:
        self._wiki = wiki

    def create_page(self, name: str, text: str) -> int:
        return self._wiki.create_page(name, text)

    def page(self, name: str) -> str:
        return self._wiki.page(name)


def main(directory: str, port: int) -> None:
    with init_system(Wiki, directory) as wiki, Pyro5.api.Daemon(host=HOST, port=port) as daemon:
        print(f"serving {directory} as {daemon.register(RemoteWiki(wiki), NAME)}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            daemon.requestLoop()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data", int(sys.argv[2]) if len(sys.argv) > 2 else PORT)
