"""Two users, replicas and strangers at one node: nothing is executed, nothing is learnt, and who is honest is served.

    python tests/simulation/strangers.py [--seconds S] [--loud S] [--hard] [--unmeasured] [--seed N]

A master and a replica run in processes of their own. Others, as another user of the machine where this is run by root, connect and
say nothing, send garbage and pickles, guess passwords, look for files, and log in with the replicas' password to ask, to forge
and to flood without end. They rest every few seconds: what calls, syncs and logins take with them is compared with what they take
without, under whatever else the machine does. They run with the least priority, since over a network their processor
would not be the node's; ``--hard`` lets each send as fast as it can, and is no measure of the service.

Looked for, all the time and at the end: a file that only a pickle that was loaded would make; the passwords, in all that
strangers received and in all files that they could read; the state, in what those without a password received; an honest call
that failed or was counted twice; how many lines are in the log; how far the line and the server's memory have grown.

The exit status is 1 if anything was violated. Everything is on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import pickle
import random
import select
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from program import environment, free_port

from coopy.network.subjects import NODE, REPLICA, REPLICA_INBOX, Names
from coopy.network.wire import Bell, Wire

PASSWORD = "what the replicas know"
STATE = "what only the state knows"
NOBODY = 65534
NAMES = Names("diary")
SUBJECT = NAMES.subject
INBOX = REPLICA_INBOX + ".stranger"
QUIET_S, LOUD_S, SETTLE_S = 4.0, 12.0, 0.5
TIMES_MAX = 2.0
LINES_A_MINUTE_MAX = 60
GROWTH_A_SECOND_MAX = 110
"""Messages that replicas may have put into the line, besides what honest calls put there."""
IDLE = 2048


class Diary:
    def __init__(self) -> None:
        self.lines = [STATE]

    def write(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)


# -- who is honest: processes that are told phases, and say what calls took


def serve(kind: str, port: int, directory: str) -> None:
    """Opens a system, and calls it again and again. Reads "phase", and "end" from standard input; then says what it found."""
    from coopy import control, init_system

    diary: Any = init_system(
        Diary, directory, master=kind == "master", replication=kind == "replica", port=port, password=PASSWORD
    )
    took: dict[str, list[float]] = {}
    errors: list[str] = []
    phase, ended = ["quiet"], threading.Event()

    def call() -> None:
        while not ended.wait(0.01 if kind == "master" else 0.03):
            now, began = phase[0], time.perf_counter()
            try:
                if kind == "master":
                    diary.write("a line")
                else:
                    control(diary).sync()
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
            if now == phase[0] and now != "rest":
                took.setdefault(now, []).append(time.perf_counter() - began)

    caller = threading.Thread(target=call)
    caller.start()
    print(json.dumps({"server": control(diary).status()["server_pid"]}), flush=True)
    for said in sys.stdin:
        if said.strip() == "end":
            break
        phase[0] = said.strip()
    ended.set()
    caller.join()
    done = sum(map(len, took.values()))
    found = {
        "took": took,
        "errors": errors,
        "lines": len(diary.lines),
        "calls": done,
        "status": control(diary).status(),
        "digest": control(diary).state_digest(),
    }
    control(diary).close()
    print(json.dumps(found, default=str), flush=True)


class Honest:
    """The process of a node."""

    def __init__(self, kind: str, port: int, folder: Path) -> None:
        self.log = folder / f"{kind}.log"
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--serve", kind, str(port), str(folder / kind)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(),
            )
        self.server = self.heard()["server"]

    def heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a node ended:\n{self.log.read_text()[-3000:]}")
        found: dict[str, Any] = json.loads(line)
        return found

    def tell(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        self.tell("end")
        found = self.heard()
        self._process.wait(60)
        return found

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def recognised() -> dict[str, Any]:
    """By what a replica knows the server for the right one, besides that it takes the password."""
    try:
        proof: Any = importlib.import_module("coopy.network.server.proof")
    except ImportError:
        return {}
    return {"tls": proof.context(REPLICA, PASSWORD), "tls_name": proof.name(REPLICA)}


def logged_in(port: int, *subjects: str) -> Wire:
    """A connection of a replica. Raises OSError."""
    subscribe = [each.encode() for each in subjects]
    return Wire(f"nats://127.0.0.1:{port}", REPLICA, PASSWORD, subscribe=subscribe, bell=BELL, timeout_s=5, **recognised())


BELL = Bell()
ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname, ANYBODY.verify_mode = False, ssl.CERT_NONE


# -- strangers: forked, each with one thing that it does again and again


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@dataclass
class Stranger:
    """What one of them knows, has done and has received."""

    port: int
    marks: Path
    """A folder for the files of pickles."""
    directory: Path
    """Of the node, to be looked for files in."""
    words: dict[str, list[bytes]]
    """What must not be received, by who: "strangers" or "replicas"."""
    hard: bool
    chance: random.Random
    name: str = ""
    done: int = 0
    received: int = 0
    learnt: list[str] = field(default_factory=list)
    _rest: bytes = b""

    def heard(self, data: bytes, who: str = "strangers") -> bytes:
        """Looks for secrets in what was received."""
        self.received += len(data)
        looked = self._rest + data
        for word in self.words[who]:
            if word in looked:
                self.learnt.append(f"{self.name} received {word!r}")
        self._rest = looked[-64:]
        return data

    def pickle(self) -> bytes:
        self.done += 1
        return pickle.dumps(Touch(str(self.marks / f"{self.name}-{self.done}")), self.chance.choice([0, 2, 5]))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 5)

    def read(self, connection: socket.socket, seconds: float, who: str = "strangers") -> None:
        """Receives for so long, or until the other side closes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and select.select([connection], [], [], left)[0]:
            if not self.heard(connection.recv(1 << 20), who):
                return

    def pace(self, rate: float) -> None:
        if not self.hard:
            time.sleep(1 / rate)

    def secured(self, connection: socket.socket) -> socket.socket:
        """The connection, in TLS if the server wants it so. Whoever it is."""
        said = b""
        while not said.endswith(b"\r\n"):
            byte = connection.recv(1)
            if not byte:
                raise ConnectionError("it was closed")
            said += byte
        self.heard(said)
        return ANYBODY.wrap_socket(connection) if b'"tls_required":true' in said else connection


def idle(me: Stranger) -> Iterator[None]:
    """Holds connections and says nothing."""
    held: list[socket.socket] = []
    try:
        while True:
            while len(held) < IDLE:
                held.append(me.connect())
                me.done += 1
                if len(held) % 50 == 0:
                    yield
            for connection in select_all(held):
                with contextlib.suppress(OSError):
                    if me.heard(connection.recv(4096)):
                        continue
                connection.close()
                held.remove(connection)
            me.pace(50)
            yield
    finally:
        for connection in held:
            connection.close()


def select_all(connections: list[socket.socket]) -> list[socket.socket]:
    """Those from which something can be read now."""
    poll = select.poll()
    by = {each.fileno(): each for each in connections}
    for number in by:
        poll.register(number, select.POLLIN)
    return [by[number] for number, _ in poll.poll(0)]


def garbage(me: Stranger) -> Iterator[None]:
    """Sends what is no protocol: bytes, other protocols, pickles."""
    while True:
        sent = me.chance.choice(
            [
                me.chance.randbytes(me.chance.randint(1, 5000)),
                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                me.pickle(),
                b"PUB %s.line 5\r\n%s\r\n" % (SUBJECT.encode(), me.pickle()),
                b"SUB > 1\r\nPING\r\n",
                b"INFO {}\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + me.chance.randbytes(500),
                b"CONNECT " + b"{" * me.chance.randint(1, 5000) + b"\r\n",
            ]
        )
        with me.connect() as connection, contextlib.suppress(OSError):
            connection.sendall(sent)
            me.read(connection, 0.02)
        me.done += 1
        me.pace(50)
        yield


def guesses(me: Stranger) -> Iterator[None]:
    """Logs in with passwords that are not right."""
    passwords = ["copynet", "", "password", PASSWORD[:-1], PASSWORD + " ", PASSWORD.upper(), "\x00", "$2a$", "x" * 3000, NODE]
    while True:
        user, password = me.chance.choice([NODE, REPLICA, "system", "root", ""]), me.chance.choice(passwords)
        about: dict[str, object] = {"user": user, "pass": password}
        if me.chance.random() < 0.1:
            about = {"auth_token": password, "jwt": password, "nkey": password, "sig": password}
        with contextlib.suppress(OSError), me.secured(me.connect()) as connection:
            connection.sendall(
                b"CONNECT %s\r\nSUB > 1\r\nPUB %s.line 5\r\nwrong\r\nPING\r\n" % (json.dumps(about).encode(), SUBJECT.encode())
            )
            me.read(connection, 0.02)
        me.done += 1
        me.pace(50)
        yield


def files(me: Stranger) -> Iterator[None]:
    """Looks for secrets in all that another user can read of the node's: files, command lines, environments."""
    while True:
        found = list(me.directory.rglob("*")) if os.access(me.directory, os.R_OK | os.X_OK) else []
        for process in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
            if process.isdigit() and int(process) != os.getpid():
                found += [Path("/proc", process, name) for name in ("cmdline", "environ")]
        for path in found:
            with contextlib.suppress(OSError):
                if path.is_file():
                    me.heard(path.read_bytes()[: 1 << 22])
                    me.done += 1
        me.pace(1)
        yield


def flood(me: Stranger, rate: float, questions: Callable[[], list[tuple[str, bytes, str]]]) -> Iterator[None]:
    """Logs in as a replica and asks without end."""
    while True:
        with contextlib.suppress(OSError), contextlib.closing(logged_in(me.port, REPLICA_INBOX + ".>")) as wire:
            while True:
                if not wire._unsent:
                    some = [each for _ in range(20) for each in questions()]
                    wire.say(
                        b"".join(
                            b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply.encode(), len(body), body)
                            for subject, body, reply in some
                        )
                    )
                    me.done += len(some)
                    me.pace(rate / len(some))
                wire.wait(0.0 if not wire._unsent else 0.1)
                more = True
                while more:
                    for message in wire.read():
                        me.heard(message.headers + message.data, "replicas")
                    more = wire.has_more()
                yield
        me.pace(10)
        yield


def syncs(me: Stranger) -> Iterator[None]:
    return flood(me, 4000, lambda: [(f"{SUBJECT}.ask.sync", b"{}", INBOX)])


def snapshots(me: Stranger) -> Iterator[None]:
    sequences = [0, 1, 10**18, -1, "1" * 1000, None, [[]], 1000, 100_000]
    return flood(
        me, 1000, lambda: [(f"{SUBJECT}.ask.snapshot", json.dumps({"sequence": me.chance.choice(sequences)}).encode(), INBOX)]
    )


def signs(me: Stranger) -> Iterator[None]:
    return flood(
        me,
        1000,
        lambda: [(f"{SUBJECT}.ask.alive", b'{"node": "%d", "position": 1, "index": 1}' % me.chance.randint(0, 10**9), INBOX)],
    )


def reads(me: Stranger) -> Iterator[None]:
    prefix, (line, _, objects) = NAMES.replica_api, NAMES.streams
    return flood(
        me,
        100,
        lambda: [
            (f"{prefix}.DIRECT.GET.{line}", b'{"seq": 1, "batch": 10}', INBOX),
            (f"{prefix}.STREAM.INFO.{objects}", b"", INBOX),
            (f"{prefix}.STREAM.NAMES", b"", INBOX),
        ],
    )


def forgeries(me: Stranger) -> Iterator[None]:
    """As a replica: to wherever a node might load what it gets, and with answers that are to go there."""
    prefix, (line, bucket, _) = NAMES.replica_api, NAMES.streams
    places = [
        f"{SUBJECT}.line",
        f"{SUBJECT}.out",
        f"{SUBJECT}.out.alive",
        f"$KV.{line}.genesis",
        f"$O.{line}.C.x",
        f"{SUBJECT}.ask.sync",
        f"{SUBJECT}.ask.snapshot",
        f"{SUBJECT}.ask.alive",
        f"{SUBJECT}.ask.any",
        f"$JS.API.STREAM.PURGE.{line}",
        f"$JS.API.STREAM.DELETE.{bucket}",
        f"{prefix}.STREAM.DELETE.{line}",
        "_INBOX.a",
        "$SYS.REQ.SERVER.PING",
    ]
    return flood(
        me,
        200,
        lambda: [(me.chance.choice(places), me.pickle(), me.chance.choice([INBOX, f"{SUBJECT}.line", f"$KV.{line}.a"]))],
    )


KINDS = [idle, garbage, guesses, files, syncs, snapshots, signs, reads, forgeries]


class Forked:
    """The process of a stranger."""

    def __init__(self, do: Callable[[Stranger], Iterator[None]], me: Stranger) -> None:
        self.name = me.name = do.__name__
        self._said, said = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(do, me, said)
        os.close(said)

    @staticmethod
    def _live(do: Callable[[Stranger], Iterator[None]], me: Stranger, said: int) -> None:
        over: list[int] = []
        try:
            signal.signal(signal.SIGTERM, lambda *_: over.append(1))
            os.nice(19)
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            problem = ""
            while not over:
                try:
                    for _ in do(me):
                        if over:
                            break
                except OSError:
                    time.sleep(0.01)  # It was sent away.
        except BaseException:
            problem = traceback.format_exc()
        finally:
            found = {"name": me.name, "done": me.done, "received": me.received, "learnt": me.learnt[:10], "problem": problem}
            os.write(said, json.dumps(found).encode())
            os._exit(0)

    def rest(self, rests: bool) -> None:
        os.kill(self.pid, signal.SIGSTOP if rests else signal.SIGCONT)

    def end(self) -> dict[str, Any]:
        os.kill(self.pid, signal.SIGCONT)
        os.kill(self.pid, signal.SIGTERM)
        said = b""
        while select.select([self._said], [], [], 10)[0] and (data := os.read(self._said, 65536)):
            said += data
        self.kill()
        found: dict[str, Any] = json.loads(said or b'{"done": 0, "received": 0, "learnt": [], "problem": "it did not end"}')
        return {**found, "name": self.name}

    def kill(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._said)
            self.pid = 0


# -- the campaign


@dataclass
class Outcome:
    violations: list[str]
    took: dict[str, dict[str, list[float]]]
    """By what is done, by phase: seconds."""
    strangers: list[dict[str, Any]]
    facts: dict[str, Any]

    def times(self, what: str) -> float:
        """How many times as long something takes with strangers, by the median; for ever, if it was not done once."""
        quiet, loud = (self.took[what].get(phase, ()) for phase in ("quiet", "loud"))
        return statistics.median(loud) / statistics.median(quiet) if quiet and loud else math.inf


def log_in(port: int, took: list[float], errors: list[str]) -> None:
    began = time.perf_counter()
    try:
        logged_in(port).close()
        took.append(time.perf_counter() - began)
    except OSError as error:
        errors.append(f"login: {error!r}")


def resident_mb(pid: int) -> float | None:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    return None


def run(folder: Path, seconds: float, *, hard: bool = False, seed: int = 1, loud_s: float = LOUD_S) -> Outcome:
    """Runs the campaign in a folder that other users can enter."""
    port, chance = free_port(), random.Random(seed)
    marks = folder / "marks"
    marks.mkdir(mode=0o777)
    marks.chmod(0o777)
    nodes: list[Honest] = []
    strangers: list[Forked] = []
    logins: dict[str, list[float]] = {"quiet": [], "loud": []}
    errors: list[str] = []
    try:
        nodes.append(Honest("master", port, folder))
        nodes.append(Honest("replica", port, folder))
        memory = [resident_mb(nodes[0].server)]
        own = (folder / "master" / "server" / "secret").read_text().encode()
        words = {"strangers": [PASSWORD.encode(), STATE.encode(), own], "replicas": [own]}
        end = time.monotonic() + seconds
        recognised()  # What takes a while to make is made before it is measured.
        while time.monotonic() < end:
            quiet_s = min(QUIET_S, loud_s)
            phase(nodes, "quiet", quiet_s, lambda: log_in(port, logins["quiet"], errors))
            for each in strangers:
                each.rest(False)
            if not strangers:
                for kind in KINDS:
                    me = Stranger(port, marks, folder / "master", words, hard, random.Random(chance.random()))
                    strangers.append(Forked(kind, me))
            phase(nodes, "rest", SETTLE_S, lambda: None)
            phase(nodes, "loud", loud_s, lambda: log_in(port, logins["loud"], errors))
            for each in strangers:
                each.rest(True)
            phase(nodes, "rest", SETTLE_S, lambda: None)
        reports = [each.end() for each in strangers]
        memory.append(resident_mb(nodes[0].server))
        phase(nodes, "rest", SETTLE_S, lambda: None)
        replica = nodes[1].end()
        master = nodes[0].end()
    finally:
        for forked in strangers:
            forked.kill()
        for node in reversed(nodes):
            node.kill()
    took = {"call": master["took"], "sync": replica["took"], "login": logins}
    lines = [line for node in nodes for line in node.log.read_text().splitlines()]
    log_len = master["status"]["log_len"]
    facts = {
        "calls": master["lines"] - 1,
        "log lines": len(lines),
        "messages besides calls": log_len - (master["lines"] - 1),
        "server MB": memory,
    }
    violations = [f"executed: {each}" for each in os.listdir(marks)]
    violations += [f"learnt: {each}" for report in reports for each in report["learnt"]]
    violations += [f"a stranger failed: {report['name']}: {report['problem']}" for report in reports if report["problem"]]
    violations += [f"{report['name']} did nothing" for report in reports if not report["done"]]
    failed = [*errors, *master["errors"], *replica["errors"]]
    violations += [f"failed: {each}" for each in failed]
    violations += [f"log: {line}" for line in (lines[-40:] if failed else [])]
    if replica["digest"] != master["digest"] and replica["lines"] == master["lines"]:
        violations.append("master and replica came to different states")
    if len(lines) > LINES_A_MINUTE_MAX * (1 + seconds / 60):
        violations.append(f"{len(lines)} lines in the log, as {lines[-1][:200]}")
    if facts["messages besides calls"] > GROWTH_A_SECOND_MAX * (seconds + 10):
        violations.append(f"the line has grown by {facts['messages besides calls']} messages besides the calls")
    return Outcome(violations, took, reports, facts)


def phase(nodes: list[Honest], name: str, seconds: float, meanwhile: Callable[[], None]) -> None:
    """Tells the nodes which phase it is, and lets it last."""
    for node in nodes:
        node.tell(name)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        meanwhile()
        time.sleep(min(0.05, left))


def told(outcome: Outcome) -> str:
    lines = ["what    phase   number  median ms   p99 ms   times"]
    for what, phases in outcome.took.items():
        for name in ("quiet", "loud"):
            some = sorted(phases.get(name, []))
            if some:
                p99 = some[int(0.99 * len(some))]
                times = f"{outcome.times(what):7.2f}" if name == "loud" else ""
                lines.append(f"{what:7} {name:6} {len(some):7} {statistics.median(some) * 1e3:10.2f} {p99 * 1e3:8.2f} {times}")
    for each in outcome.strangers:
        lines.append(f"{each['name']:10} did {each['done']}, received {each['received']} bytes")
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in outcome.facts.items())])


def main() -> int:
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hard", action="store_true", help="each sends as fast as it can")
    parser.add_argument("--loud", type=float, default=LOUD_S, help="seconds until they rest")
    parser.add_argument("--unmeasured", action="store_true", help="how long the service takes is no violation")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="coopy-strangers-"))
    folder.chmod(0o755)
    try:
        outcome = run(folder, given.seconds, hard=given.hard, seed=given.seed, loud_s=given.loud)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(told(outcome))
    slow = [
        f"{what} takes {outcome.times(what):.2f} times as long with strangers"
        for what in outcome.took
        if outcome.times(what) > TIMES_MAX and not given.hard and not given.unmeasured
    ]
    violations = outcome.violations + slow
    print(*violations, f"{len(violations)} violations", sep="\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
