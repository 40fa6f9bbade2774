"""How processes of one user on one machine find the directory of a store or a queue by its port numbers, without a server.

Each process that serves a directory puts a symbolic link to it into a folder that this user alone may enter, under a name made of the ports; others read
the link, and open the directory as shared. Nothing is decoded that another user could have written: the folder is refused if it is not private,
and the directory's own socket lets in nobody but this user.

    $XDG_RUNTIME_DIR/coopy/at/<kind>-<ports>-<pid>    if there is such a directory of this user's that nobody else may enter
    ~/.coopy/at/<kind>-<ports>-<pid>                  otherwise

Several processes may serve one directory, and each has a link of its own. One that was left by a process that was killed is passed over, and removed by
the next that serves something there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
import time
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import coopy
from coopy import CoopyError, Unavailable, UsageError, init_system, opened

T = TypeVar("T")
FOLDER = "at"
_PRIVATE = 0o700
"""The mode of a folder that its owner alone may enter."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
PORT_MAX = 65535
"""What the two bytes of TCP and UDP hold."""
LOOK_S, LOOK_S_MAX = 0.002, 0.05
"""How soon, and how often later, one looks for a store that is not there yet."""
ANSWERS_S = 1.0
"""A process that writes answers within microseconds. One that does not within this is taken for gone."""
LOCAL = ("", "localhost", "127.0.0.1", "::1")
"""Hosts that are this machine: their stores are found without a network."""


def port_of(name: str, port: int | str) -> int:
    """Returns a port. Raises `UsageError`."""
    with contextlib.suppress(ValueError, TypeError):
        if not isinstance(port, (bool, float)) and 0 < int(port) <= PORT_MAX:
            return int(port)
    raise UsageError(f"{name}={port!r}: must be a port, 1 to {PORT_MAX}. Nothing was opened.")


def _folder() -> str:
    run = os.environ.get("XDG_RUNTIME_DIR", "")
    base = os.path.join(run, "coopy") if run and _is_private(run) else os.path.join(os.path.expanduser("~"), ".coopy")
    folder = os.path.join(base, FOLDER)
    os.makedirs(base, _PRIVATE, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, _PRIVATE)
    if not _is_private(folder):
        raise UsageError(
            f"{folder} says where the stores of this user are, and can be entered by others, or is another user's. Nothing was opened. "
            f"Say chmod 700, or have XDG_RUNTIME_DIR or HOME name a directory of this user's."
        )
    return folder


def _is_private(folder: str) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & _OTHERS


def _links(kind: str, ports: tuple[int, ...]) -> list[tuple[str, int, str]]:
    """Returns each link that leads to what is served at some ports: its path, the process that has made it, and where it leads."""
    folder, start, found = _folder(), _name(kind, ports), []
    for name in sorted(os.listdir(folder)):
        pid = name.removeprefix(start)
        if pid != name and pid.isdecimal():
            with contextlib.suppress(OSError):
                found.append((path := os.path.join(folder, name), int(pid), os.readlink(path)))
    return found


def _name(kind: str, ports: tuple[int, ...]) -> str:
    return "".join(f"{each}-" for each in (kind, *ports))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It is another user's, and so none that has made a link here.
        return False
    return True


def directories_at(kind: str, *ports: int) -> list[str]:
    """Returns the directories to which processes that run have made links. Of one whose number another process has by now, nobody may serve it."""
    return list(dict.fromkeys(directory for _, pid, directory in _links(kind, ports) if _lives(pid)))


class Announced:
    """That a directory is found at some ports, until it is withdrawn."""

    def __init__(self, kind: str, cls: type, directory: str, *ports: int) -> None:
        """Raises `UsageError` if another directory is served there by a process that runs."""
        self._pid = os.getpid()
        self._path = os.path.join(_folder(), f"{_name(kind, ports)}{self._pid}")
        self._directory = directory
        there = {pid: (path, to) for path, pid, to in _links(kind, ports)}
        if self._pid not in there or system_here(there[self._pid][1], cls) is None:
            fresh = f"{self._path}.{secrets.token_hex(4)}"
            os.symlink(directory, fresh)
            os.replace(fresh, self._path)
            # Those of others after this one is there: of two that begin together, at least one sees the other.
            there = {pid: (path, to) for path, pid, to in _links(kind, ports)}
        for pid, (path, to) in there.items():
            if not _lives(pid):
                # A process that was killed has left it.
                with contextlib.suppress(OSError):
                    os.unlink(path)
            elif to != directory and is_served(to, cls):
                self.withdraw()
                raise UsageError(
                    f"{to} is served at the ports {', '.join(map(str, ports))} by process {pid}, which runs. Nothing was opened. Choose "
                    f"others for {directory}, or shut that one down."
                )

    def withdraw(self) -> None:
        """Has it be found by this link no more, unless that leads elsewhere by now."""
        with contextlib.suppress(OSError):
            # A forked child has made no link.
            if os.getpid() == self._pid and os.readlink(self._path) == self._directory:
                os.unlink(self._path)


def system_here(directory: str, cls: type[T]) -> T | None:
    """Returns the system of a directory that this process has open, or None."""
    for each in opened():
        with contextlib.suppress(UsageError):  # A system in memory has no directory.
            if each.basedir == directory and not each.closed and isinstance(each.system, cls):
                return each.system
    return None


def is_served(directory: str, cls: type) -> bool:
    """Whether a process that writes, this one or another, answers in a directory."""
    if system_here(directory, cls) is not None:
        return True
    try:
        coopy.control(_opened(directory, cls, ANSWERS_S, False)).close()
    except (CoopyError, OSError):
        return False
    return True


def _opened(directory: str, cls: type[T], timeout_s: float, copy: bool) -> T:
    # Whoever serves it has validated the class.
    return init_system(cls, directory, shared=True, copy=copy, create=False, timeout=timeout_s, validation="off")


# -- the systems that this process has open because it uses what another one serves


@dataclass
class _Held:
    system: Any
    users: int


_held: dict[str, _Held] = {}
"""By directory."""
_guard = threading.Lock()


class Attached(Generic[T]):
    """The system of what is served at some ports of this machine, for one user of it in this process."""

    def __init__(self, kind: str, cls: type[T], timeout_s: float, *ports: int, copy: bool = False) -> None:
        """Waits until there is one. Raises `Unavailable` if there is none within ``timeout_s``.

        ``copy`` is the option of `coopy.init_system`; it must be the same for all of one kind.
        """
        self._copy = copy
        self._holds = ""
        self.system: T = self._found(kind, cls, timeout_s, ports)

    def _found(self, kind: str, cls: type[T], timeout_s: float, ports: tuple[int, ...]) -> T:
        end, look_s = time.monotonic() + timeout_s, LOOK_S
        while True:
            for directory in directories_at(kind, *ports):
                # What a process has left that was killed leads nowhere, and another may come that serves another directory.
                if is_served(directory, cls):
                    return self._attached(directory, cls, timeout_s)
            if time.monotonic() >= end:
                raise Unavailable(
                    f"no {kind} is served at the ports {', '.join(map(str, ports))} of this machine by a process of this user; waited "
                    f"{timeout_s:g} s. Nothing was recorded. Start it, or give the ports that it has."
                )
            time.sleep(look_s)
            look_s = min(2 * look_s, LOOK_S_MAX)

    def _attached(self, directory: str, cls: type[T], timeout_s: float) -> T:
        with _guard:
            held = _held.get(directory)
            if held is not None and not coopy.control(held.system).closed:
                held.users += 1
                self._holds = directory
                found: T = held.system
                return found
            here = system_here(directory, cls)
            if here is not None:
                return here
            system = _opened(directory, cls, timeout_s, self._copy)
            _held[directory] = _Held(system, 1)
            self._holds = directory
            return system

    def leave(self) -> None:
        """Lets the system go. Leaving twice is fine."""
        directory, self._holds = self._holds, ""
        with _guard:
            held = _held.get(directory)
            if held is None or held.system is not self.system:
                return
            held.users -= 1
            if held.users:
                return
            del _held[directory]
        coopy.control(held.system).close()


def _forked() -> None:
    global _guard
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
