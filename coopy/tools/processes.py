"""Who has a directory open. Nothing of the system is loaded, and whoever writes is asked if the directory is shared."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from coopy import CoopyError, StorageError
from coopy.disk import dirlock
from coopy.past.reading import Reading
from coopy.replication import connecting
from coopy.tools.calling import shares

WRITER, FOLLOWER, CALLER, HOLDER = "writer", "follower", "caller", "holder"
ASK_S = 5.0
"""Whoever writes is asked for so long. One that hangs is shown all the same."""
_KIB = 1024  # What ps counts memory in.
_TICKS_FIELD = 19  # Of /proc/PID/stat after the name: when the process began, in ticks since the machine did; see proc(5).


class Process(NamedTuple):
    """A process that has a directory open.

    ``role``: "writer", "follower" and "caller" (who has no copy: `coopy call`, or what hands on calls) of a shared directory, and "holder" of one that
    is not. ``position`` is the index of the last action that it has been told of; None where that is not known. What the system does not
    tell of a process is None as well.
    """

    pid: int
    role: str
    position: int | None
    command: str | None
    since: datetime | None
    bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """Returns it for JSON: ``since`` as ISO 8601."""
        return {**self._asdict(), "since": None if self.since is None else self.since.isoformat()}


def processes(basedir: str) -> list[Process]:
    """Returns the processes that have a directory open, who writes first. Raises OSError."""
    holder = dirlock.holder(basedir)
    if holder is None:
        return []
    if not shares(basedir):
        return [_looked_up(holder, HOLDER, _last(basedir))]
    try:
        last, visitors = _asked(basedir)
    except CoopyError:
        return [_looked_up(holder, WRITER, None)]
    found = [_looked_up(holder, WRITER, last)]
    for pid in sorted(visitors.keys() - {holder, os.getpid()}):
        found.append(_looked_up(pid, FOLLOWER if visitors[pid] is not None else CALLER, visitors[pid]))
    return found


class _Nothing:
    """A class for a codec that encodes plain values alone."""


def _asked(basedir: str) -> tuple[int, dict[int, int | None]]:
    """Asks who writes. Returns its last action, and the position of each process that is connected. Raises `CoopyError`."""
    system = connecting.beside(_Nothing, basedir, ASK_S)
    try:
        engine = system._coopy_engine
        visitors: dict[int, int | None] = engine.control("visitors")
        return engine.log.last, visitors
    finally:
        system.close()


def _last(basedir: str) -> int | None:
    try:
        with Reading(basedir) as reading:
            return reading.log.last
    except StorageError:
        return None


def _looked_up(pid: int, role: str, position: int | None) -> Process:
    try:
        command, since, size = _from_proc(pid) if sys.platform == "linux" else _from_ps(pid)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        command = since = size = None  # It has ended meanwhile, or is not to be looked at.
    return Process(pid, role, position, command, since, size)


def _from_proc(pid: int) -> tuple[str | None, datetime | None, int | None]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().rstrip(b"\0").split(b"\0")
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name in it may have spaces and brackets.
        began = int(file.read().rpartition(b")")[2].split()[_TICKS_FIELD]) / os.sysconf("SC_CLK_TCK")
    with open("/proc/uptime", encoding="ascii") as file:
        up = float(file.read().split()[0])
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    since = datetime.now(timezone.utc) - timedelta(seconds=up - began)
    return " ".join(map(os.fsdecode, words)), since.astimezone().replace(microsecond=0), pages * os.sysconf("SC_PAGE_SIZE")


def _from_ps(pid: int) -> tuple[str | None, datetime | None, int | None]:  # macOS
    said = subprocess.run(
        ["ps", "-o", "rss=,lstart=,command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C"},
        timeout=ASK_S,
    ).stdout.split(None, 6)
    since = datetime.strptime(" ".join(said[1:6]), "%a %b %d %H:%M:%S %Y").astimezone()
    return said[6].strip(), since, int(said[0]) * _KIB
