"""Client and server in one file, with the XML-RPC of the standard library.

    python examples/xmlrpc_server.py serve [--data data] [--port 8000]
    python examples/xmlrpc_server.py put Home "Welcome" [--port 8000]
    python examples/xmlrpc_server.py get Home [--port 8000]
    python examples/xmlrpc_server.py names [--port 8000]

One process holds the system, any number of clients call it. The system is safe
to use from many threads, so each request has one of its own. XML-RPC knows
nothing of passwords: the server listens on this machine alone.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from socketserver import ThreadingMixIn
from xmlrpc.client import Fault, ServerProxy
from xmlrpc.server import SimpleXMLRPCServer

from coopy import abort_exception, init_system, readonly

HOST = "127.0.0.1"


class Wiki:
    """The domain: names and texts."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}

    @abort_exception
    def put(self, name: str, text: str) -> int:
        """Writes a page; returns how many there are."""
        if not name:
            raise ValueError("a page has a name")
        self.pages[name] = text
        return len(self.pages)

    @readonly
    def get(self, name: str) -> str:
        """The text of a page."""
        return self.pages[name]

    @readonly
    def names(self) -> list[str]:
        """The names of all pages, in order."""
        return sorted(self.pages)


class Server(ThreadingMixIn, SimpleXMLRPCServer):
    """Answers each request in a thread of its own, and finishes those it has before it ends."""

    daemon_threads = False


def serve(data: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM. Port 0 is any free one; the port in use is printed."""
    with init_system(Wiki, data) as wiki, Server((HOST, port), logRequests=False) as server:
        # Method by method: whoever registers the whole system offers its controls, too.
        for method in (wiki.put, wiki.get, wiki.names):
            server.register_function(method)

        def stop(*_: object) -> None:
            # shutdown() waits for the loop that this handler has interrupted, so it needs another thread.
            threading.Thread(target=server.shutdown).start()

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        print(f"serving {data} on http://{HOST}:{server.server_address[1]}", flush=True)
        server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(description="A wiki over XML-RPC.")
    parser.add_argument("verb", choices=("serve", "put", "get", "names"))
    parser.add_argument("arguments", nargs="*", help="name and text for put, name for get")
    parser.add_argument("--data", default="data", help="data directory of the server")
    parser.add_argument("--port", type=int, default=8000)
    asked = parser.parse_args()
    if asked.verb == "serve":
        serve(asked.data, asked.port)
        return 0
    try:
        print(getattr(ServerProxy(f"http://{HOST}:{asked.port}"), asked.verb)(*asked.arguments))
    except Fault as fault:
        print(f"the server said: {fault.faultString}", file=sys.stderr)
        return 1
    except ConnectionRefusedError:
        print(f"nobody serves on port {asked.port}; start `{sys.argv[0]} serve` first", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
