"""Workers of a web server share a directory, and are killed: nothing that was acknowledged is lost, and nothing is applied twice.

    python tests/shared/web.py [--seconds S] [--forms NAME ...] [--callers N] [--every S] [--unmeasured]

gunicorn serves an application of `shared.webapps` with four workers. Callers outside add keys, each key once, and look for what was acknowledged
last to themselves or to another. Each second a worker is killed, and each fifth time the one that writes, unless no other is ready.

Looked for: a key that was acknowledged and is not there at the end; a key that is there twice, or that nobody added; a read after an
acknowledged call that does not show it; a request that failed although no process was killed meanwhile, or was answered with an error; a request of
over a second. Where the system is opened before the workers are forked, gunicorn's own process writes: when that is killed, the server is
started again, as systemd would do, and what is refused meanwhile is counted apart.

The exit status is 1 if anything was violated. What takes long on a busy machine is not coopy alone: the times of a system's calls in a request, and
of opening it, are told, too, as the process measured them that made them,
and what a write and a sync take in a process beside them. Everything is on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from program import ROOT
from services import Service, children, served
from shared.webapps import Ledger

import coopy
from coopy.replication import local

WORKERS = 4
WRITER_EVERY = 5
"""The writer is killed each so many times."""
LIMIT_S = 1.0
"""A request may take so long."""
READY = 0.8
"""The share of kills that are of a worker that has answered; the others may be of one that is just beginning."""
PATIENCE_S = 30.0
AFTER_S = 0.2
"""A request of a process that was killed has failed within so much of its death."""
PAUSE_S = 0.02
"""A caller rests so long between two requests: new workers begin meanwhile, on a machine of few processors."""
SAID_MAX = 20_000
PROBE = """
import os, sys, time
longest_s = 0.0
with open(sys.argv[1], "wb", buffering=0) as file:
    while not os.path.exists(sys.argv[1] + "-ends"):
        began = time.monotonic()
        file.write(b".")
        os.fsync(file.fileno())
        time.sleep(0.02)
        longest_s = max(longest_s, time.monotonic() - began - 0.02)
print(longest_s)
"""
"""What one write, one sync and one rest take at most in a process that has nothing to do with coopy: so busy the machine was."""


class Form(NamedTuple):
    """A server, and where in it the system is opened."""

    words: tuple[str, ...]
    opened: str

    @property
    def parent_writes(self) -> bool:
        """Whether the process that forks the workers has the system open, and so writes."""
        return "--preload" in self.words and self.opened == "import"


FLASK, FASTAPI = "shared.webapps:for_flask()", "shared.webapps:for_fastapi()"
UVICORN = ("-k", "uvicorn.workers.UvicornWorker")
FORMS = {
    "flask": Form((FLASK,), "import"),
    "flask, threads": Form(("-k", "gthread", "--threads", "4", FLASK), "import"),
    "flask, preloaded": Form(("--preload", FLASK), "import"),
    "fastapi": Form((*UVICORN, FASTAPI), "lifespan"),
    "fastapi, preloaded, opened by workers": Form((*UVICORN, "--preload", FASTAPI), "lifespan"),
    "fastapi, preloaded": Form((*UVICORN, "--preload", FASTAPI), "import"),
}


@dataclass
class Run:
    """What is found in one run."""

    form: Form
    here: Path
    seconds: float
    callers: int
    every_s: float
    acknowledged: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    """Keys that a request was sent for."""
    taken_s: list[float] = field(default_factory=list)
    calls_s: list[float] = field(default_factory=list)
    """How long the calls of the system have taken in each request that was answered."""
    openings_s: dict[int, float] = field(default_factory=dict)
    """How long it took each process to open the system."""
    by_process: Counter[int] = field(default_factory=Counter)
    lost_requests: list[tuple[float, float, str]] = field(default_factory=list)
    """Began, ended, and what was raised."""
    refused: int = 0
    kills: list[float] = field(default_factory=list)
    down: list[tuple[float, float]] = field(default_factory=list)
    """When the server was killed, and when it answered again."""
    writers_killed: int = 0
    spared: int = 0
    """How many kills were left out, since no worker was ready to go on."""
    reads: int = 0
    late: list[tuple[float, float]] = field(default_factory=list)
    """When requests over the limit began and ended."""
    probed_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    service: Service | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    # -- callers

    def call(self, number: int) -> None:
        """Adds keys and looks for them, one after the other, until the run has ended."""
        chance = random.Random(number)
        for count in range(sys.maxsize):
            if self.ended.is_set():
                return
            self.ended.wait(PAUSE_S)
            key = f"{number}-{count}"
            self.asked.add(key)
            said = self.ask("PUT", key)
            if said is not None:
                self.acknowledged.append(key)
                self.check(said, "times", f"{key} was added once, and the answer is")
                self.check(said, "seen", f"{key} was read in the request that added it:")
            if self.acknowledged:
                # Its own, or one of another caller, which was acknowledged before this request began.
                key = chance.choice([key, self.acknowledged[-1]]) if said is not None else self.acknowledged[-1]
                said = self.ask("GET", key)
                if said is not None:
                    self.check(said, "seen", f"{key} was read after it was acknowledged:")

    def check(self, said: dict[str, Any], name: str, what: str) -> None:
        self.reads += name == "seen"
        if said[name] != 1:
            self.violations.append(f"{what} {said[name]}")

    def ask(self, method: str, key: str) -> dict[str, Any] | None:
        """Asks the server; returns None if that failed."""
        began = time.monotonic()
        assert self.service is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=PATIENCE_S)
        try:
            connection.request(method, f"/{key}")
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except ConnectionRefusedError:
            self.refused += 1
            time.sleep(PAUSE_S)
            return None
        except (OSError, http.client.HTTPException) as error:
            self.lost_requests.append((began, time.monotonic(), f"{method} {key}: {error!r}"))
            return None
        finally:
            connection.close()
        taken_s = time.monotonic() - began
        if status != 200:
            self.violations.append(f"{method} {key} was answered with {status} after {taken_s:.2f} s: {text[:300]!r}")
            return None
        self.taken_s.append(taken_s)
        if taken_s > LIMIT_S:
            self.late.append((began, began + taken_s))
        said: dict[str, Any] = json.loads(text)
        self.calls_s.append(said["seconds"])
        self.openings_s[said["pid"]] = said["opening"]
        self.by_process[said["pid"]] += 1
        return said

    # -- kills

    @property
    def writer(self) -> int:
        """The pid of the process that writes."""
        found = local.published(str(self.here / "data"))
        return 0 if found is None else found.pid

    def kill_one(self, number: int) -> None:
        assert self.service is not None
        parent, writer = self.service.process.pid, self.writer
        workers = children(parent)
        ready = [each for each in workers if each in self.by_process]
        if number % WRITER_EVERY == WRITER_EVERY - 1:
            victim = writer
        else:
            others = [each for each in (ready if random.random() < READY else workers) if each != writer]
            victim = random.choice(others) if others else 0
        if victim != parent and (victim not in workers or not {*ready} - {victim}):
            self.spared += 1  # It has just ended; or nobody would be left to answer, and how long a worker takes to begin is no matter here.
            return
        self.writers_killed += victim == writer
        self.kills.append(time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        if victim == parent:
            self.start_again()

    def start_again(self) -> None:
        """Starts the server again, as what looks after services does."""
        assert self.service is not None
        began = time.monotonic()
        self.service.start_again()
        self.service.until(self.service_pid)
        self.down.append((began, time.monotonic()))

    # -- a run

    def run(self) -> Run:
        words = ["gunicorn", "-w", str(WORKERS), "--bind", "127.0.0.1:{port}", *self.form.words]
        path = os.pathsep.join((ROOT, str(Path(ROOT, "tests"))))
        with served(self.here, words, asked="-", OPENED=self.form.opened, PYTHONPATH=path) as self.service:
            # All workers are there before the first is killed.
            self.service.until(lambda: len({self.service_pid() for _ in range(4 * WORKERS)}) > 1)
            threads = [threading.Thread(target=self.call, args=(number,)) for number in range(self.callers)]
            for thread in threads:
                thread.start()
            probe = subprocess.Popen([sys.executable, "-c", PROBE, str(self.here / "probe")], stdout=subprocess.PIPE, text=True)
            try:
                began = time.monotonic()
                while time.monotonic() < began + self.seconds or len(self.kills) < WRITER_EVERY:
                    time.sleep(self.every_s)
                    # Where a kill is left out, the next one is of the same kind.
                    self.kill_one(len(self.kills))
                    if (ended := self.service.process.poll()) is not None:
                        self.violations.append(f"the server has ended by itself, with {ended}")
                        break
            finally:
                self.ended.set()
                (self.here / "probe-ends").touch()
                self.probed_s = float(probe.communicate()[0])
                for thread in threads:
                    thread.join()
        self.look_at_the_end()
        if self.violations:
            self.violations.append("the server said: " + self.service.said()[-SAID_MAX:])
        return self

    def service_pid(self) -> int:
        said = self.ask("GET", "-")
        return 0 if said is None else int(said["pid"])

    def look_at_the_end(self) -> None:
        """Compares what is in the directory with what was acknowledged."""
        lines = coopy.replay(Ledger, str(self.here / "data")).lines
        lost = [key for key in self.acknowledged if key not in lines]
        twice = {key: times for key, times in lines.items() if times != 1}
        strange = [key for key in lines if key not in self.asked]
        for what, found in (("lost", lost), ("not once", twice), ("never asked for", strange)):
            if found:
                self.violations.append(f"{len(found)} keys {what}: {list(found)[:5]}")
        for began, ended, what in self.lost_requests:
            if not any(began <= kill + AFTER_S and kill <= ended for kill in self.kills) and not self.was_down(began, ended):
                self.violations.append(f"failed, and nobody was killed meanwhile: {what}")

    def was_down(self, began: float, ended: float) -> bool:
        return any(began <= until and since <= ended for since, until in self.down)

    def too_long(self) -> list[tuple[float, float]]:
        """The requests over the limit, but for those that waited for a server that was started again."""
        return [each for each in self.late if not self.was_down(*each)]

    def report(self) -> str:
        taken, calls = sorted(self.taken_s), sorted(self.calls_s)
        return (
            f"{len(taken)} requests answered by {len(self.by_process)} processes, {len(self.acknowledged)} keys acknowledged, "
            f"{self.reads} reads; {len(self.kills)} kills, {self.writers_killed} of them of the writer, {self.spared} left out; "
            f"{len(self.lost_requests)} requests failed with a killed process, {self.refused} refused while the server was down; "
            f"a request: {_of(taken)}; calls of the system in it: {_of(calls)}; opening it: {_of(sorted(self.openings_s.values()))}; {len(self.too_long())} requests over {LIMIT_S:g} s; "
            f"a write and a sync of a process beside them took {self.probed_s * 1000:.0f} ms at most"
        )


def _of(times: Sequence[float]) -> str:
    if not times:
        return "none"
    at = [statistics.median(times), times[int(len(times) * 0.99)], times[-1]]
    return "median {:.1f} ms, 99 % {:.0f} ms, longest {:.0f} ms".format(*(each * 1000 for each in at))


def runs(
    names: Sequence[str], seconds: float, callers: int, every_s: float, where: str | None = None
) -> Iterator[tuple[str, Run]]:
    """Runs forms one after the other."""
    for name in names:
        with tempfile.TemporaryDirectory(dir=where) as here:
            yield name, Run(FORMS[name], Path(here), seconds, callers, every_s).run()


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=60.0, help="of load, for each form")
    asked.add_argument("--forms", nargs="*", default=list(FORMS), choices=FORMS, metavar="NAME", help=", ".join(FORMS))
    asked.add_argument("--callers", type=int, default=6)
    asked.add_argument("--every", type=float, default=1.0, help="seconds between kills")
    asked.add_argument("--unmeasured", action="store_true", help="requests may take as long as they do")
    options = asked.parse_args()
    failed = False
    for name, found in runs(options.forms, options.seconds, options.callers, options.every):
        if not options.unmeasured and found.too_long():
            found.violations.append(f"{len(found.too_long())} requests took over {LIMIT_S:g} s")
        failed = failed or bool(found.violations)
        print(f"{name}: {found.report()}; {len(found.violations)} violations", flush=True)
        for each in found.violations[:20]:
            print(f"  VIOLATED {each}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
