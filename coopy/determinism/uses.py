"""Files, sockets, processes and the console that an action uses, told when it uses them.

The check of source sees one class and what it reaches; this sees what happens, through whatever package. It is off until `watch` is
called, because Python then calls us for every event of the process that can be audited, until the process ends.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from coopy.determinism.asking import is_theirs
from coopy.determinism.rules import DeterminismWarning
from coopy.errors import PrevalentError
from coopy.ground import words
from coopy.ground.running import MACHINE, current

_getframe = sys._getframe


class Use(NamedTuple):
    """Something outside the system that an action used."""

    domain: str
    """The class of the system."""
    method: str
    kind: str
    """A key of `INSTEAD`."""
    event: str
    """As in Python's table of audit events."""
    what: str
    file: str
    line: int
    replayed: bool
    """Whether the action runs again."""

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.domain}.{self.method}() uses {self.kind} in an action "
            f"({self.event}: {self.what}); replay does it again, and may find something else. "
            f"Use {INSTEAD[self.kind]}."
        )


INSTEAD = {
    "files": "an argument: let the caller work with files, and pass what the method needs",
    "the network": "an argument: let the caller talk to the network, and pass the answer",
    "processes": "an argument: let the caller run it, and pass the result",
    "the console": "an argument: let the caller ask, and pass the answer",
    "the environment": "an argument: let the caller look it up, and pass it",
}
_EVENTS = {
    event: kind
    for kind, events in {
        "files": "open os.listdir os.scandir os.remove os.rename os.mkdir os.rmdir os.link os.symlink os.truncate "
        "os.chmod os.chown os.utime os.chdir sqlite3.connect",
        "the network": "socket.connect socket.bind socket.sendto socket.sendmsg socket.getaddrinfo "
        "socket.gethostbyname socket.gethostbyaddr socket.gethostname socket.getnameinfo",
        "processes": "subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn os.kill os.killpg",
        "the console": "builtins.input",
        "the environment": "os.putenv os.unsetenv",
    }.items()
    for event in events.split()
}
# What these open has nothing to do with what the action does.
_QUIET = frozenset({"linecache", "logging", "tokenize", "traceback", "warnings"})
_WHAT_SHOWN_MAX = 80
_watchers: list[tuple[Callable[[Use], object], type]] = []
_hooked = False
_hooking = threading.Lock()


class _Watching(threading.local):
    busy = False


_watching = _Watching()


def watch(callback: Callable[[Use], object], cls: type = object) -> Callable[[], None]:
    """Calls back for each use of files, sockets, processes, the console by an action of a ``cls``.

    ``callback`` is called before it happens, in its thread; what it raises is raised there instead.
    `warned` and `refused` are two to take. Returns what ends it; Python's audit hook stays, and
    costs a little for every event, until the process ends.
    """
    global _hooked
    watcher = callback, cls
    with _hooking:
        _watchers.append(watcher)
        if not _hooked:
            _hooked = True
            sys.addaudithook(_audited)

    def end() -> None:
        if watcher in _watchers:
            _watchers.remove(watcher)

    return end


_warned: set[tuple[str, str, str]] = set()


def warned(use: Use) -> None:
    """Warns, once for a method and kind of use."""
    key = use.domain, use.method, use.kind
    if key not in _warned:
        _warned.add(key)
        warnings.warn_explicit(DeterminismWarning(str(use)), DeterminismWarning, use.file, use.line)


def refused(use: Use) -> None:
    """Raises `PrevalentError`: the use does not happen. What is replayed was allowed when it was recorded."""
    if not use.replayed:
        raise PrevalentError(f"{use} It was not done.", (use,))


def _audited(event: str, args: tuple[Any, ...]) -> None:
    kind = _EVENTS.get(event)
    if kind is None or not _watchers:
        return
    machine = current.machine
    if machine is None or _watching.busy:
        return
    frame = _user(_getframe(1))
    if frame is None or event == "open" and _is_time_zone(args[0]):
        return
    running = _running(frame)
    if "construct" in running:
        return  # What a first state was made from is kept with it: it is not made again.
    domain = type(getattr(machine, "domain", None))
    what = ", ".join(words.shown(each) for each in args[:1])
    if len(what) > _WHAT_SHOWN_MAX:
        what = what[: _WHAT_SHOWN_MAX - 3] + "..."
    method = _method(frame, domain)
    replayed = "replay" in running
    use = Use(domain.__qualname__, method, kind, event, what, frame.f_code.co_filename, frame.f_lineno, replayed)
    _watching.busy = True
    try:
        for callback, cls in list(_watchers):
            if issubclass(domain, cls):
                callback(use)
    finally:
        _watching.busy = False


def _is_time_zone(path: object) -> bool:
    # What loads these is written in C, and leaves no frame.
    return str(path).startswith(tuple(getattr(sys.modules.get("zoneinfo"), "TZPATH", ())))


def _user(frame: FrameType | None) -> FrameType | None:
    """The code that this is done for; None where it is not the domain's doing."""
    found = None
    for each in _outwards(frame):
        name = str(each.f_globals.get("__name__"))
        package = name.partition(".")[0]
        if found is None:
            if package in _QUIET or package == "coopy":
                return None
            if is_theirs(each):
                found = each
        if package in ("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport"):
            return None  # It finds and loads a module.
        if each.f_code.co_name == "<module>":
            return found  # The module does it while it is imported.
    return found


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the action, the outermost last."""
    while frame is not None and MACHINE not in frame.f_globals:
        yield frame
        frame = frame.f_back


def _running(frame: FrameType) -> set[str]:
    """What of the machine runs the action."""
    *_, outermost = _outwards(frame)
    names, above = set(), outermost.f_back
    while above is not None and MACHINE in above.f_globals:
        names.add(above.f_code.co_name)
        above = above.f_back
    return names


def _method(frame: FrameType, domain: type) -> str:
    """The method that the action calls; what is wrapped around it does not count."""
    names = [each.f_code.co_name for each in _outwards(frame)]
    return next((name for name in reversed(names) if hasattr(domain, name)), names[-1])
