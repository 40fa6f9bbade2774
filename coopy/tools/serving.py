"""Serves a system to other processes and other machines, until it is told to end.

The system is opened as shared: others may have it open, and go on when this process ends. `coopy.replication.gate` hands on what comes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from coopy import control
from coopy.ground import paths
from coopy.network.server.configuration import tls_of
from coopy.opening import open_for_tool
from coopy.replication import keys
from coopy.replication.gate import Gate
from coopy.replication.keys import Where
from coopy.replication.shared import SharedSystem

TOOL, VALIDATION = "coopy serve", "warn"


def serve(
    cls: type,
    basedir: str,
    urls: Sequence[str],
    key: str | None,
    tls: str | None,
    options: dict[str, Any],
    tell: Callable[[str], None],
) -> int:
    """Opens the system of a class, and serves it at some addresses until SIGTERM or Ctrl-C. Returns the number of the signal.

    ``key`` is a file, which is made if it is not there, by default `keys.NAME` in the directory; ``tls`` a folder as `coopy cluster
    init` makes it. ``tell`` is given a line for each address and for the key. Raises `UsageError`, and whatever `coopy.init_system` raises.
    """
    places = [keys.parse(each) for each in urls]
    for each in places:
        keys.refuse_without_tls(each, tls)
    context = keys.server_context(tls_of(tls)) if tls else None
    basedir = paths.absolute(basedir)
    # It may be the first to open the system, so it validates the class as a program does.
    with control(open_for_tool(TOOL, SharedSystem, cls, basedir, validation=VALIDATION, shared=True, **options)) as controls:
        secret = b""
        if any(each.host is not None for each in places):
            path = os.path.join(basedir, keys.NAME) if key is None else os.path.abspath(key)
            made = keys.make_key(path)
            secret = keys.key_of(path)
            tell(f"the key {'was made: ' if made else ''}{path}; whoever has it may run code as this user")
        gate = Gate(basedir, controls._system.place.manifest.system, cls.__qualname__, secret, context)  # type: ignore[attr-defined]
        found = asyncio.run(_serve(gate, places, lambda where: tell(f"serves {cls.__qualname__} of {basedir} at {where}")))
    return found


async def _serve(gate: Gate, places: Sequence[Where], opened: Callable[[Where], None]) -> int:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    numbers: list[int] = []

    def end(number: int) -> None:
        numbers.append(number)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        for each in places:
            opened(await gate.open(each))
        await told.wait()
    finally:
        await gate.close()
    return numbers[0]
