"""`coopy elector`: a sidecar that programs of any language ask for locks, over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any

from coopy import UsageError
from coopy.cli.cluster import File, said
from coopy.cli.command import Exit, Option

if TYPE_CHECKING:
    from coopy.sync.elector_server import Opened

PORT = 13131
"""Where the clients of Metaparticle in Python, JavaScript, Java and .NET ask."""
ALSO = 8080
"""Where those in Go and Rust do."""
TTL_S = 30.0
"""The original's."""
_NS = 1_000_000_000  # Nanoseconds in a second.
_SNAPSHOT_BYTES = 16 * 1024 * 1024  # Of journal; the state is far smaller, so the next start takes a moment.
_SNAPSHOTS_KEPT = 2  # One more than is needed, should it be damaged.
WAIT_S = 10.0
"""An elector that is just leaving has the directory for so long: a container that is started again."""
_NEEDED = ("h11", "uvicorn")


def elector(
    port: Annotated[int, Option("--port", min=1, max=65535, help="The port that is asked.")] = PORT,
    also: Annotated[
        int, Option("--also", min=0, max=65535, help="A second port, for clients in Go and Rust; 0 for none.")
    ] = ALSO,
    host: Annotated[str, Option("--host", metavar="HOST", help="The address to listen at.")] = "localhost",
    owner: Annotated[
        str, Option("--owner", metavar="NAME", help="Who takes the locks; by default the name of this host.")
    ] = "",
    directory: Annotated[
        str, Option("--directory", "-d", metavar="DIR", help="Where the locks are kept; made if it is not there.")
    ] = "elector",
    ttl: Annotated[
        float,
        Option("--ttl", min=0.1, max=86_400, metavar="SECONDS", help="After so long without a heartbeat a lock is free."),
    ] = TTL_S,
    cluster: Annotated[
        str, Option("--cluster", metavar="NODES", help="Keep the locks on three or five nodes: a:5466,b:5466,c:5466.")
    ] = "",
    node: Annotated[str, Option("--node", metavar="NODE", help="Which of them this one is.")] = "",
    password_file: File = None,
    tls: Annotated[bool, Option("--tls", help="With the certificates in the folder tls of the directory.")] = False,
    probes: Annotated[
        str, Option("--probes", metavar="HOST:PORT", help="Answer /healthz and /readyz, and nothing else, there too.")
    ] = "",
) -> None:
    """Give locks to programs that ask for them over HTTP.

    In the protocol of Metaparticle/Sync, so that its clients in Python, JavaScript, Java, .NET, Go and Rust work with it. It ends in
    order at SIGTERM. The password of the nodes is taken from COOPY_PASSWORD or from --password-file.

    \b
    Examples:
      coopy elector
      coopy elector --cluster a:5466,b:5466,c:5466 --node a:5466 --directory /data/elector
    """
    try:
        from coopy.sync import elector_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise UsageError("an elector needs: pip install 'coopy[elector]'. Nothing was opened.") from None
    options = _options(cluster, node, password_file, tls)
    owner = _owner(owner, node)
    of_probes = _at(elector_server, probes)
    sockets = elector_server.listen(host, port)
    places = [f"http://{host}:{port}"]
    if also and also != port:
        try:
            sockets += elector_server.listen(host, also)
            places.append(f"http://{host}:{also}")
        except OSError as error:
            _tell(f"warning: {error.strerror} Clients in Go and Rust ask there. It goes on without it.")
    if host not in ("localhost", "127.0.0.1", "::1"):
        _tell(f"warning: whoever reaches {host}:{port} may take and free every lock. There is no password.")
    where = os.path.abspath(directory)
    _tell(f"{owner} listens at {' and '.join(places)}; its locks are in {where}")
    _run(elector_server, directory, options, sockets, of_probes, owner, round(ttl * _NS))


def _options(cluster: str, node: str, password_file: str | None, tls: bool) -> dict[str, Any]:
    """Returns what the system is opened with."""
    options: dict[str, Any] = {"snapshot_growth": _SNAPSHOT_BYTES, "keep": _SNAPSHOTS_KEPT, "validation": "off", "wait": WAIT_S}
    if not cluster:
        if node or tls:
            raise UsageError("--node and --tls are for one of a --cluster. Nothing was opened.")
        return options
    from coopy.sync.elector_server import PATIENCE_S

    options |= {"cluster": [each.strip() for each in cluster.split(",") if each.strip()], "timeout": PATIENCE_S, "tls": tls}
    if node:
        options["node"] = node
    password = said(password_file)
    if password is not None:
        options["password"] = password
    return options


def _owner(owner: str, node: str) -> str:
    """Returns as whom the locks are taken. Electors on one machine would all be one, so there its port tells a node from the others."""
    from coopy.network.address import parse
    from coopy.sync.elector_protocol import is_name

    if not owner:
        owner = socket.gethostname()
        if node and parse(node).is_loopback:
            owner = f"{owner}:{parse(node).port}"
    if not is_name(owner):
        raise UsageError(
            f"--owner {owner!r}: must be characters that can be printed, at most 253, and no slash. Nothing was opened."
        )
    return owner


def _at(server: Any, probes: str) -> list[socket.socket]:
    """Returns the sockets for the probes."""
    if not probes:
        return []
    from coopy.network.address import parse

    where = parse(probes)
    found: list[socket.socket] = server.listen(where.host, where.port)
    return found


def _run(
    server: Any,
    directory: str,
    options: dict[str, Any],
    sockets: list[socket.socket],
    probes: list[socket.socket],
    owner: str,
    ttl_ns: int,
) -> None:
    """Serves until a signal. Ctrl-C is told from SIGTERM, which is how an elector is meant to end."""
    import logging

    from coopy import aio
    from coopy.ground import looking
    from coopy.sync.elector import Elector

    async def opening() -> Opened:
        calls = await aio.open(Elector, directory, **options)
        opened: Opened = server.Opened(calls, aio.system_of(calls), lambda: aio.close(calls))
        return opened

    looking.no_more()
    # Strangers who speak no HTTP must not fill a log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    told: list[int] = []
    for each in (signal.SIGTERM, signal.SIGINT):
        # uvicorn has its own handlers while it serves, and passes what came on to these.
        signal.signal(each, lambda number, _: told.append(number))
    import asyncio

    asyncio.run(
        server.serve(
            opening,
            sockets,
            owner=owner,
            ttl_ns=ttl_ns,
            probes=probes,
            on_open=lambda: _tell("the locks are open"),
            is_over=lambda: bool(told),
        )
    )
    # Nothing is left to end: another one would only spoil the exit code.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _tell("ended; the locks are as they were")
    if signal.SIGINT in told:
        raise Exit(130)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
