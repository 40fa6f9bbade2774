"""Keeps one Raft server from outliving the process it belongs to. A program, started by `coopy.network.server.supervisor`.

    python -I -S keeper.py PID LOCK SECONDS PROGRAM [ARGUMENT...]

Waits for the lock on the file LOCK, starts PROGRAM, passes on what it says and ends with its status (128 + the
signal, if one ended it). When standard input ends, or process PID is not the one that started this any more, or on
SIGTERM, it ends PROGRAM: SIGTERM, and SIGKILL after SECONDS.

The lock is held by this process and by PROGRAM: who has it knows that a server before is gone, with its port and
files. The file holds the pid of PROGRAM.

Standard output gets lines: "w PID" (waits for the lock, which process PID has), "p PID" (has started PROGRAM), "l TEXT"
(a line of PROGRAM), "d NUMBER" (so many lines about other sides were dropped: whoever can reach the server's port can have it
write tens of thousands a second, and reading them would take the time of the one it works for). If nobody reads, lines are
dropped, too: a server must not stop because the one it works for is slow.

Nothing of the package is imported, so that it starts at once, and there is one thread: the kernel kills PROGRAM when
the thread that started it ends (Linux), however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable

POLL_S = 0.02
"""The lock is mostly given back within milliseconds of the end of the one before."""
LOOK_S = 1.0
"""How long lines about other sides are counted together."""
LINE_BYTES_MAX = 4000
"""With mark and newline below PIPE_BUF: a line is written whole or not at all."""
PEER_LINES_MAX = 100
"""Lines about other sides that are passed on in LOOK_S."""
PR_SET_PDEATHSIG = 1
"""The number of the request in linux/prctl.h."""


def main(owner: int, lock: str, grace_s: float, command: list[str]) -> int:
    os.set_blocking(1, False)
    lock_fd = take_lock(owner, lock)
    if lock_fd is None:
        return 0
    die_with = death_signal()
    reading, writing = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        become(command, keeper, die_with, lock_fd, writing)
    os.close(writing)
    # For people, and for a message; the lock itself needs no room.
    with contextlib.suppress(OSError):
        # Always as long, so that a file that has its place on a full disk keeps it.
        os.pwrite(lock_fd, b"%-19d\n" % pid, 0)
    say(b"p %d" % pid)
    return watch(owner, pid, reading, grace_s)


def take_lock(owner: int, path: str) -> int | None:
    """None if the owner ended while it was waited for."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    told = b""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).strip() or b"0"
            if holder != told:
                say(b"w " + holder)
                told = holder
        ended = select.select([0], [], [], POLL_S)[0] and not os.read(0, 64)
        if ended or os.getppid() != owner:
            return None


def death_signal() -> Callable[[], object] | None:
    """What a child calls to be killed with this process; None where the kernel can't (then only what is below helps)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def become(command: list[str], keeper: int, die_with: Callable[[], object] | None, lock_fd: int, output: int) -> None:
    """In the child: turns into the server. Does not return."""
    try:
        if die_with is not None:
            die_with()
        if os.getppid() != keeper:
            os._exit(1)
        os.set_inheritable(lock_fd, True)
        allow_descriptors()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execv(command[0], command)
    except BaseException as error:  # The child of a fork: it tells why it could not become the server, and ends.
        os.write(output, f"{command[0]}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(127)


def allow_descriptors() -> None:
    """Lets this process have as many files and connections as it may; the configuration counts on that."""
    # Where the system has another bound of its own, as macOS has, the server finds that itself.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def watch(owner: int, pid: int, output: int, grace_s: float) -> int:
    kill_at = None

    def end(*_: object) -> None:
        nonlocal kill_at
        if kill_at is None:
            kill_at = time.monotonic() + grace_s
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    rest = b""
    about_peers, over_at = 0, time.monotonic() + LOOK_S
    while True:
        if time.monotonic() >= over_at:
            say_dropped(about_peers)
            about_peers, over_at = 0, time.monotonic() + LOOK_S
        # Not one of both, since `select` would return at once for ever.
        watched = [output] if kill_at is not None else [output, 0]
        ready = select.select(watched, [], [], LOOK_S if kill_at is None else 0.1)[0]
        if (0 in ready and not os.read(0, 64)) or os.getppid() != owner:
            end()
        if kill_at is not None and time.monotonic() >= kill_at:
            os.kill(pid, signal.SIGKILL)
        if output in ready:
            data = os.read(output, 65536)
            if not data:
                # Only the server held the other end, so it is gone. Not waited for until here: its pid stays its own.
                break
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[:LINE_BYTES_MAX]
            for line in lines:
                if is_about_a_peer(line):
                    about_peers += 1
                    if about_peers > PEER_LINES_MAX:
                        continue
                say(b"l " + line[:LINE_BYTES_MAX])
    say_dropped(about_peers)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_about_a_peer(line: bytes) -> bool:
    """Whether the server says it of one connection: of "127.0.0.1:4000 - cid:7 - ", and not of itself."""
    parts = line.split(b" - ", 2)
    return len(parts) == 3 and parts[1][1:4] == b"id:"


def say_dropped(about_peers: int) -> None:
    if about_peers > PEER_LINES_MAX:
        say(b"d %d" % (about_peers - PEER_LINES_MAX))


def say(line: bytes) -> None:
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(1, line + b"\n")


if __name__ == "__main__":
    ended = main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:])
    # Without the interpreter's own end: nothing is left to tidy up, and a successor waits for the lock.
    os._exit(ended if ended >= 0 else 128 - ended)
