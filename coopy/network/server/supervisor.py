"""The Raft server of this node: started, watched, started again, ended with this process.

`start` returns when the server takes connections, which says nothing about the cluster: there may be no leader yet.
What the server means by its answers is not known here.

Between this process and the server stands a small one, `coopy.network.server.keeper`. It holds the other end of a pipe:
however this process ends, the pipe ends with it, and the keeper ends the server. A forked child has a copy of
the pipe and must close it; that is done here too. A server that ends by itself is started again, for ever.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coopy.errors import ServerError
from coopy.ground.raised import last_resort, on_failure
from coopy.network.limits import Sparing
from coopy.network.server import binary as binaries
from coopy.network.server import configuration, folder, keeper
from coopy.network.server.configuration import Settings

CONFIGURATION = "server.conf"
LOCK = "lock"
GRACE_S = 5.0
"""The keeper waits this long between SIGTERM and SIGKILL."""
BACKOFF_S = (0.2, 5.0)
"""The first and the longest wait before a server that has ended is started again; it doubles in between."""
STEADY_S = 30.0
"""Who ran so long starts again without delay."""
_TAIL_LINES = 30
"""What a server says last is mostly why it did not start."""
_LOOK_S = 0.02
"""`start` returns that soon after the server is ready."""
_TICK_S = 5.0
"""What was left out of the log is told within that."""
_ANSWER_S = 1.0
"""A server says who it is as soon as one connects; one that does not is another program."""
_KEEPER_S = 2.0
"""The keeper has nothing to do but to end; it is killed if it does not."""
_LINE = re.compile(r"(?:\[\d+\] )?\[(INF|WRN|ERR|FTL|DBG|TRC)\] ?(.*)")
_LEVELS = {"WRN": logging.WARNING, "ERR": logging.ERROR, "FTL": logging.ERROR}
_ID = re.compile(r" *ID: +(\w+)")
# Errors and warnings to the server; to us, what is to be expected whenever a node starts before the others, or one is away.
_ALONE = (
    "Error trying to connect to route",
    "Waiting for routing to be established",
    "JetStream has not established contact with a meta leader",
)
# Who connects, and goes before it has shown or seen a certificate: as `said_at` does to see whether the server is there.
_WENT = re.compile(r"TLS handshake error: (?:EOF|.*connection reset by peer)$")
# Of the passwords in its configuration, which nobody but the owner can read.
_EXPECTED = "Plaintext passwords detected"

# What it says of one connection begins with the address of the other side and the number of the connection.
_OF_A_PEER = re.compile(r"\S+ - [a-z]{1,4}:\d+ - ")
_QUOTED = re.compile(r"[\"'].*[\"']", re.DOTALL)
_NUMBER = re.compile(r"\d+")
_NOT_OF_AN_ADDRESS = re.compile(r"(?<![.:\w])\d+(?![.:\w])")

LOGGER = "coopy.network"
_log = logging.getLogger(LOGGER)

# The pipes to keepers. Guarded by _forking, which a fork holds: a child must know of each that it got a copy of.
_pipes: set[int] = set()
_forking = threading.Lock()


def _close_in_child() -> None:
    for fd in _pipes:
        os.close(fd)
    _pipes.clear()
    _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child)


class Supervisor:
    """Runs the server of ``settings``. Its methods may be called from any thread, not from a forked child.

    ``binary``: path of nats-server; None: see `coopy.network.server.binary.find`. ``ended`` is told, in a thread of ours,
    each time that the server has ended by itself; it is being started again then. ``backoff_s``: as `BACKOFF_S`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        binary: str | None = None,
        ended: Callable[[str], None] | None = None,
        backoff_s: tuple[float, float] = BACKOFF_S,
    ) -> None:
        self._backoff_s = backoff_s
        self.settings = settings
        """May be replaced; `start` and `restart` take what is there."""
        self._binary = binary
        self._ended = ended
        # Guards what follows. Held while the server starts and stops, so not taken by the thread that watches it.
        self._lock = threading.RLock()
        self._run: _Run | None = None
        self._watch: threading.Thread | None = None
        self._stopping = threading.Event()
        self._owner = os.getpid()
        # Whoever can reach the port can have the server complain. That must not leave out what it says of itself.
        self._of_peers, self._of_itself = Sparing(LOGGER), Sparing(LOGGER)

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it does not run."""
        run = self._run
        return run.pid if run is not None and run.runs else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def url(self) -> str:
        """Where clients on this machine reach the server."""
        scheme = "nats" if self.settings.tls is None else "tls"
        return f"{scheme}://{self.settings.listen._replace(host=_reachable(self.settings.listen.host))}"

    def start(self, timeout_s: float = 20.0) -> None:
        """Writes the configuration, starts the server, and returns when it takes connections.

        Waits for one that ran in the directory before. Raises `ServerError`, `UsageError`; then none of ours runs.
        """
        with self._lock:
            assert self._watch is None, "a supervisor starts one server"
            deadline = time.monotonic() + timeout_s
            program = binaries.find(self._binary)
            version = ".".join(map(str, binaries.check_version(program)))
            _log.info("node %s starts nats-server %s, %s", self.settings.name, version, program)
            _write(self.settings)
            run = _Run(self.settings, program, self._logged)
            with on_failure(run.end, GRACE_S + _KEEPER_S):
                _wait_until_ready(run, self.settings, deadline)
            self._run = run
            self._stopping = threading.Event()
            self._watch = threading.Thread(
                target=self._watched, args=(run, program, self._stopping), name="coopy server", daemon=True
            )
            self._watch.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the server: SIGTERM, SIGKILL if it takes too long. Returns when it is gone. Stopping twice is fine.

        In a forked child it does nothing: the server is not the child's.
        """
        if os.getpid() != self._owner:
            return
        with self._lock:
            watch, self._watch = self._watch, None
            if watch is None:
                return
            self._stopping.set()
            run = self._run
            if run is not None:
                run.end(timeout_s)
            if watch is not threading.current_thread():
                watch.join()
            self._run = None
            self._of_peers.close()
            self._of_itself.close()

    def restart(self) -> None:
        """Stops and starts. Raises `ServerError`."""
        with self._lock:
            self.stop()
            self.start()

    def _watched(self, run: _Run, program: str, stopping: threading.Event) -> None:
        delay_s = self._backoff_s[0]
        while True:
            while (status := run.wait(_TICK_S)) is None:
                self._of_peers.tick()
                self._of_itself.tick()
            if stopping.is_set():
                return
            reason = f"{_ending(status)}{_said(_telling(run.tail))}"
            if run.lasted_s > STEADY_S:
                delay_s = self._backoff_s[0]
            self._of_itself.warn(
                "ended",
                "the server of node %s has ended by itself: %s. It is started again in %g s.",
                self.settings.name,
                reason,
                delay_s,
            )
            if self._ended is not None:
                # The server is to be started again, whatever its listener does.
                with last_resort(_listener_raised):
                    self._ended(reason)
            while True:
                if stopping.wait(delay_s):
                    return
                delay_s = min(2 * delay_s, self._backoff_s[1])
                try:
                    run = _Run(self.settings, program, self._logged)
                except OSError as error:
                    self._of_itself.warn("not started", "the server of node %s can't be started: %s", self.settings.name, error)
                    continue
                break
            self._run = run
            # `stop` may have looked for a run just before this one was there.
            if stopping.is_set():
                run.end(GRACE_S + _KEEPER_S)

    def _logged(self, level: str, text: str) -> bool:
        """Passes on what the server says. Returns whether it is worth keeping."""
        peer = _OF_A_PEER.match(text)
        if level not in _LEVELS:
            _log.debug("%s", text)
            return peer is None
        if level == "FTL":
            _log.error("%s", text)
            return True
        if peer is not None:
            return self._of_peers.say(_LEVELS[level], _cause(text[peer.end() :], _NUMBER), "%s", text)
        at = logging.INFO if text.startswith(_ALONE) else _LEVELS[level]
        return self._of_itself.say(at, _cause(text, _NOT_OF_AN_ADDRESS), "%s", text)


def _listener_raised(error: Exception) -> None:
    _log.error("the server had ended; what was to be told of it raised", exc_info=error)


class _Run:
    """One server from start to end, its keeper, and the thread that reads what they say.

    ``logged`` is told the level and the text of each line, and says whether the line is worth keeping.
    """

    def __init__(self, settings: Settings, program: str, logged: Callable[[str, str], bool]) -> None:
        directory = os.path.abspath(settings.directory)
        self.pid: int | None = None
        self.holder: int | None = None
        """Who holds the lock while this one waits for it."""
        self.server_id: str | None = None
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._passed_on = logged
        self._owner = os.getpid()
        self._began = time.monotonic()
        self._status: int | None = None
        self._gone = threading.Event()
        with _forking:
            theirs, self._pipe = os.pipe()
            _pipes.add(self._pipe)
        try:
            with on_failure(self._close):
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        keeper.__file__,
                        str(self._owner),
                        os.path.join(directory, LOCK),
                        str(GRACE_S),
                        program,
                        "-c",
                        os.path.join(directory, CONFIGURATION),
                    ],
                    stdin=theirs,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=directory,
                    # Of a group of its own: Ctrl-C is for us, and the server ends when we have closed.
                    start_new_session=True,
                )
        finally:
            os.close(theirs)
        threading.Thread(target=self._read, name="coopy server log", daemon=True).start()

    @property
    def runs(self) -> bool:
        return not self._gone.is_set() and os.getpid() == self._owner

    @property
    def lasted_s(self) -> float:
        return time.monotonic() - self._began

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Returns the server's status when it is gone, None after the time-out."""
        return self._status if self._gone.wait(timeout_s) else None

    def end(self, timeout_s: float) -> None:
        """Returns when the server is gone."""
        self._close()
        if self._gone.wait(timeout_s):
            return
        _log.warning("server %s did not end within %g s and is killed", self.pid, timeout_s)
        pid = self.pid
        if pid is not None:
            # Still its own: nobody has waited for it, but the keeper, and that one still runs.
            _kill(pid)
        if not self._gone.wait(_KEEPER_S):
            self._process.kill()
            self._gone.wait()

    def _close(self) -> None:
        with _forking:
            if self._pipe in _pipes:
                _pipes.discard(self._pipe)
                os.close(self._pipe)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for raw in output:
                self._heard(raw.decode("utf-8", "replace").rstrip("\n"))
        status = self._process.wait()
        if status < 0 and self.pid is not None and not sys.platform.startswith("linux"):
            _kill(self.pid)  # The keeper was killed, and the kernel kills no server with it.
        self._status = status
        self._close()
        self._gone.set()

    def _heard(self, line: str) -> None:
        mark, _, said = line.partition(" ")
        if mark == "p":
            self.pid, self.holder = int(said), None
        elif mark == "w":
            self.holder = int(said)
        elif mark == "d":
            self._passed_on("WRN", f"{said} more lines about other sides were left out")
        else:
            self._logged(said if mark == "l" else line)

    def _logged(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        level, text = (found[1], found[2]) if found else ("", line)
        if _WENT.search(text):
            level = "INF"
        if not text or _EXPECTED in text:
            return
        if self.server_id is None and (named := _ID.fullmatch(text)):
            self.server_id = named[1]
        if self._passed_on(level, text):
            self.tail.append(f"[{level}] {text}" if level else text)


def _cause(text: str, numbers: re.Pattern[str]) -> str:
    """What a line is about, without numbers and without what stands in quotation marks, which may be a peer's own words."""
    return numbers.sub("#", _QUOTED.sub("", text))[:200]


def _write(settings: Settings) -> None:
    """The directory and the configuration in it, readable by nobody else."""
    text = configuration.text(settings)
    directory = os.path.abspath(settings.directory)
    path = os.path.join(directory, CONFIGURATION)
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        if stat.S_IMODE(os.stat(directory).st_mode) & 0o077:
            os.chmod(directory, 0o700)
        if _read(path) == text:
            # On a full disk the server still starts.
            os.chmod(path, 0o600)
            return
        folder.write(path, text)
    except OSError as error:
        raise ServerError(
            f"the configuration of the server can't be written to {path}: {error.strerror}. Nothing was started."
        ) from error


def _read(path: str) -> str | None:
    try:
        return folder.read(path)
    except (OSError, UnicodeDecodeError):
        return None


def _wait_until_ready(run: _Run, settings: Settings, deadline: float) -> None:
    host, port = _reachable(settings.listen.host), settings.listen.port
    while True:
        if run.wait(_LOOK_S) is not None:
            raise _did_not_start(run, settings)
        # Whoever answers there may be another server, so the name that ours has said must be the one that is heard.
        left_s = max(0.05, min(_ANSWER_S, deadline - time.monotonic()))
        if run.server_id is not None and said_at(host, port, left_s).get("server_id") == run.server_id:
            return
        if time.monotonic() >= deadline:
            raise _too_late(run, settings)


def said_at(host: str, port: int, timeout_s: float = _ANSWER_S) -> dict[str, Any]:
    """Returns what a server says of itself first, to everybody who connects: ``server_id``, ``server_name`` and more; nothing if none does."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            heard = b""
            while b"\n" not in heard and len(heard) < 65536:
                data = connection.recv(4096)
                if not data:
                    return {}
                heard += data
    except OSError:
        return {}
    if not heard.startswith(b"INFO "):
        return {}
    try:
        said = json.loads(heard[5:].partition(b"\n")[0])
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _too_late(run: _Run, settings: Settings) -> ServerError:
    directory = settings.directory
    if run.pid is None and run.holder is not None:
        return ServerError(
            f"{directory}: the server that ran here before, process {run.holder or 'of unknown id'}, still holds it. None was "
            f"started. If the node's process is still there, close it first; if only that server is left, end it."
        )
    return ServerError(
        f"the server in {directory} took no connections at {settings.listen} in time. It was ended again.{_said(_telling(run.tail) or tuple(run.tail))}",
        tuple(run.tail),
    )


def _did_not_start(run: _Run, settings: Settings) -> ServerError:
    output = "\n".join(run.tail)
    lowered = output.lower()
    found = re.search(r"listen tcp (?:\S+:)?(\d+): bind: address already in use", lowered)
    if found:
        port = int(found[1])
        use = "" if port == settings.listen.port else " (the node's port + 1000, for the other nodes)"
        what = (
            f"port {port}{use} of {settings.listen.host} is taken by another program. "
            f"Stop that one (`ss -ltnp 'sport = :{port}'` names it), or give this node another port"
        )
    elif "cannot assign requested address" in lowered or "no such host" in lowered:
        what = f"{settings.listen.host} is not an address of this machine. Give one that is as the node's address"
    elif "permission denied" in lowered and settings.listen.port < 1024 and "bind" in lowered:
        what = f"port {settings.listen.port} is for root only. Give this node another port"
    elif "no space left on device" in lowered or "insufficient storage" in lowered:
        what = f"the disk of {settings.directory} is full. Make room and start again; what was acknowledged is there"
    elif settings.tls is not None and ("x509" in lowered or "tls" in lowered or "certificate" in lowered):
        tls = settings.tls
        what = (
            f"the TLS files do not do: certificate {tls.certificate}, key {tls.key}, authority {tls.authority}. Put them right"
        )
    else:
        what = f"it said why not, below; {_ending(run.wait())}"
    return ServerError(
        f"the server of node {settings.name} did not start: {what}. Nothing in {settings.directory} was lost.{_said(_telling(run.tail) or tuple(run.tail))}",
        tuple(run.tail),
    )


def _ending(status: int | None) -> str:
    if status is None:
        return "it still runs"
    if status < 0:
        return f"its keeper was ended by signal {-status}, and it with it"
    if status > 128:
        return f"it was ended by signal {status - 128}"
    return f"it ended with status {status}"


def _telling(tail: Iterable[str]) -> list[str]:
    return [line for line in tail if not line.startswith("[INF]")]


def _said(lines: Sequence[str]) -> str:
    return "".join(f"\n  {line}" for line in lines[-5:])


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
