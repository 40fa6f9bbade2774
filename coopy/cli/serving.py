"""`coopy serve`: a system for other processes and other machines."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from coopy.errors import UsageError


def serve(
    spec: Annotated[str, typer.Argument(metavar="MODULE:CLASS", help="The domain class.")],
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The data directory; made if it is not there.")],
    listen: Annotated[
        list[str],
        typer.Option("--listen", "-l", metavar="URL", help="Where: unix:PATH or tcp://HOST:PORT. May be given again."),
    ],
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="FILE", help="The key for tcp; made if it is not there. By default serve.key in DIR."),
    ] = None,
    tls: Annotated[
        str | None,
        typer.Option("--tls", metavar="FOLDER", help="With the certificate in a folder as `coopy cluster init` makes it."),
    ] = None,
    durability: Annotated[
        str, typer.Option("--durability", metavar="HOW", help="sync or buffered; see init_system().")
    ] = "sync",
    snapshot_time: Annotated[
        float, typer.Option("--snapshot-time", min=0, metavar="SECONDS", help="Take a snapshot so often; 0 for never.")
    ] = 0,
) -> None:
    """Serves a system to other processes, here and on other machines.

    They use it with coopy.connect(URL, Class, key=FILE). The directory is opened as with shared=True, so that others on this machine may have
    it open as well. Over TCP both sides must have the key: WHOEVER HAS IT MAY RUN CODE AS YOU. At a Unix socket only
    your own processes are let in. An address that other machines can reach needs --tls.

    \b
    Examples:
      coopy serve wiki:Wiki data --listen unix:/run/wiki.sock
      coopy serve wiki:Wiki data --listen tcp://127.0.0.1:7070
      coopy serve wiki:Wiki data --listen tcp://wiki.example.com:7070 --tls certificates/wiki.example.com-7070
    """
    try:
        from coopy.tools import serving
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "websockets":
            raise
        raise UsageError("coopy serve needs: pip install 'coopy[serve]'. Nothing was opened.") from None
    from coopy.tools.domain import load

    options = {"durability": durability, "snapshot_time": snapshot_time}
    number = serving.serve(load(spec), directory, listen, key, tls, options, _tell)
    _tell("ended")
    if number == signal.SIGINT:
        raise typer.Exit(128 + signal.SIGINT)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
