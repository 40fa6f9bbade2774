"""Serves the inspector: takes a port of this machine, prints the link, and answers until Ctrl-C. Needs the extra `[web]`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import uvicorn

from coopy.errors import UsageError
from coopy.tools.keyed import has_objects
from coopy.tools.web_app import application
from coopy.tools.web_keyed import KeyedPage
from coopy.tools.web_pages import Page

HOST = "127.0.0.1"
KEEP_ALIVE_S = 30  # A page that is looked at asks again after less.
END_S = 2  # Whoever still waits for an answer then is told nothing.


def serve(basedir: str, spec: str | None, port: int, write: bool, tell: Callable[[str], None]) -> None:
    """Serves the pages of a directory until Ctrl-C. Raises `UsageError` if the port is taken, or there is no state to show."""
    here = taken(port)
    page = KeyedPage(basedir, spec) if has_objects(basedir) else Page(basedir, spec, write=write)
    try:
        number = here.getsockname()[1]
        app = application(page, number)
        tell(f"{app.link()}")
        tell(
            f"The link is good for one browser. {'Calls and branches are allowed.' if write else 'Nothing is changed.'} Ctrl-C ends it."
        )
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off", http="h11", ws="none",
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=END_S,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[here])
    finally:
        page.close()
        here.close()


def taken(port: int) -> socket.socket:
    """Returns a socket at a port of this machine; 0 is any that is free. Raises `UsageError`."""
    here = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        here.bind((HOST, port))
    except OSError as error:
        here.close()
        raise UsageError(
            f"port {port}: {os.strerror(error.errno or 0)}. Choose another with --port, or none. Nothing was opened."
        ) from None
    return here
