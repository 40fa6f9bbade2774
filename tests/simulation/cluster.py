"""The nodes as who drives them sees them: processes to start, ask, stop and kill.

Asking is by line over the node's pipes; the pipes are not part of the network, so a fault there does
not touch them. Every answer carries the monotonic time at which it arrived here. The end of a node's
process ends every question to it.

Nodes must be started by a thread that lives as long as they do: the kernel kills a node when the
thread that started it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from program import environment
from simulation.network import Network, end, send

PORT = 5466
STARTING_S = 120.0
STOPPING_S = 30.0
_NODE = Path(__file__).with_name("node.py")


class Unanswered(Exception):
    """The node ended, or did not answer in time, or answered that it can't say: the outcome is unknown."""


class NotReady(Exception):
    """The cluster is not where it should be by now."""


class Answer(NamedTuple):
    value: Any
    at_ns: int


class _Question:
    def __init__(self) -> None:
        self.answered = threading.Event()
        self.answer: dict[str, Any] | None = None
        self.at_ns = 0


class Process:
    """One process of a node, from its start to its end."""

    def __init__(self, command: Sequence[str], settings: dict[str, Any], complaints: Path) -> None:
        self._lock = threading.Lock()
        self._questions: dict[int, _Question] = {0: _Question()}
        self._number = 0
        self.opened = self._questions[0]
        here = environment()
        with open(complaints, "ab") as stderr:
            self.process = subprocess.Popen(
                command,
                env={**here, "PYTHONPATH": os.pathsep.join((str(_NODE.parents[1]), here["PYTHONPATH"]))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self.ended = self.hung_up = False
        self._send(settings)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _send(self, line: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(line).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Unanswered("the node has ended") from error

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            at_ns = time.monotonic_ns()
            if not line.endswith(b"\n"):
                break
            answer = json.loads(line)
            with self._lock:
                question = self._questions.pop(answer["id"], None)
            if question is not None:
                question.answer, question.at_ns = answer, at_ns
                question.answered.set()
        with self._lock:
            self.ended = True
            left, self._questions = self._questions, {}
        for question in left.values():
            question.answered.set()

    def ask(self, do: str, args: Sequence[Any], timeout_s: float) -> Answer:
        question = _Question()
        with self._lock:
            if self.ended or self.hung_up:
                raise Unanswered("the node has ended")
            self._number += 1
            number = self._number
            self._questions[number] = question
            self._send({"id": number, "do": do, "args": args})
        if not question.answered.wait(timeout_s):
            raise Unanswered(f"no answer in {timeout_s:g} s")
        if question.answer is None:
            raise Unanswered("the node has ended")
        if "error" in question.answer:
            raise Unanswered(question.answer["error"])
        return Answer(question.answer["value"], question.at_ns)

    def hang_up(self) -> None:
        """Nothing more is asked: the process takes that as the order to end."""
        assert self.process.stdin is not None
        with self._lock:
            self.hung_up = True
            with suppress(OSError):
                self.process.stdin.close()

    def close(self) -> None:
        """Lets go of the pipes of a process that has ended."""
        self.process.wait()
        self._reader.join()
        self.hang_up()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Node:
    """A place in the cluster, where processes come and go."""

    def __init__(self, network: Network, number: int, directory: Path, settings: dict[str, Any], program: Path = _NODE) -> None:
        self.network = network
        self.program = program
        self.number = number
        self.directory = directory / f"node{number}"
        self.name = f"{network.addresses[number]}:{PORT}"
        self.complaints = directory / f"node{number}.log"
        self._settings = {**settings, "directory": str(self.directory), "node": self.name}
        self.process: Process | None = None

    def __str__(self) -> str:
        return f"node {self.number}"

    def start(self) -> None:
        """Starts a process; `wait_ready` says when it is ready."""
        assert self.process is None, "a node has one process"
        command = self.network.inside(self.number, [sys.executable, str(self.program)])
        self.process = Process(command, self._settings, self.complaints)

    @property
    def ready(self) -> bool:
        life = self.process
        return life is not None and life.opened.answer is not None and not (life.ended or life.hung_up)

    def wait_ready(self, timeout_s: float = STARTING_S) -> None:
        """Returns when the node has its system open.

        Raises:
            NotReady: it ended, or took longer.
        """
        life = self.process
        assert life is not None, "the node was started"
        life.opened.answered.wait(timeout_s)
        if not self.ready:
            how = "ended" if life.ended else f"is not ready after {timeout_s:g} s"
            raise NotReady(f"{self} {how}; its last words:\n{self.last_words()}")

    def last_words(self, count: int = 30) -> str:
        """The end of what the node wrote to its standard error."""
        if not self.complaints.exists():
            return ""
        return "\n".join(self.complaints.read_text(errors="replace").splitlines()[-count:])

    def ask(self, do: str, *args: Any, timeout_s: float) -> Answer:
        """Asks the node.

        Raises:
            Unanswered: whatever was asked may have happened or not.
        """
        life = self.process
        if life is None:
            raise Unanswered("the node is not running")
        return life.ask(do, args, timeout_s)

    def kill(self) -> None:
        """kill -9 of all its processes; returns when they are gone."""
        end(self.network, self.number)
        self._bury()

    def stop(self) -> None:
        """Lets it close its system; kills what is left after a while."""
        life = self.process
        if life is not None:
            life.hang_up()
            with suppress(subprocess.TimeoutExpired):
                life.process.wait(STOPPING_S)
        self.kill()

    def _bury(self) -> None:
        life, self.process = self.process, None
        if life is not None:
            life.close()

    def freeze(self) -> None:
        """Stops all its processes where they are."""
        send(self.network.pids(self.number), signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets its processes go on."""
        send(self.network.pids(self.number), signal.SIGCONT)


class Cluster:
    """Three nodes, or as many as asked for, in a network of their own."""

    def __init__(
        self,
        directory: Path,
        *,
        backend: str = "coopy",
        count: int = 3,
        timeout_s: float = 10.0,
        program: Path = _NODE,
        **options: Any,
    ) -> None:
        """``options``: of `init_system`, besides those that every node has."""
        self.directory = directory
        self.timeout_s = timeout_s
        self.network = Network(count)
        names = [f"{address}:{PORT}" for address in self.network.addresses]
        settings = {"backend": backend, "cluster": names, "password": "simulated", "timeout": timeout_s, **options}
        self.nodes = [Node(self.network, number, directory, settings, program) for number in range(count)]

    def start(self) -> None:
        """Starts all nodes and waits until they are ready."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready()

    def ask_until(self, what: str, question: Callable[[], Any], patience_s: float) -> Any:
        """The first answer that is not None; the nodes may be busy with finding each other.

        Raises:
            NotReady: there was none.
        """
        last = time.monotonic() + patience_s
        why = ""
        while time.monotonic() < last:
            try:
                answer = question()
                if answer is not None:
                    return answer
            except Unanswered as error:
                why = f" ({error})"
            time.sleep(0.1)
        raise NotReady(f"{what}: not after {patience_s:g} s{why}")

    def leader(self) -> Node:
        """The node whose server leads, as more than half of the nodes say."""

        def agreed() -> Node | None:
            votes: dict[str, int] = {}
            for node in self.nodes:
                try:
                    leader = node.ask("status", timeout_s=5).value["leader"]
                except Unanswered:
                    continue
                votes[leader] = votes.get(leader, 0) + 1
            return next((node for node in self.nodes if votes.get(node.name, 0) * 2 > len(self.nodes)), None)

        leader: Node = self.ask_until("a leader that most nodes agree on", agreed, 60)
        return leader

    def close(self) -> None:
        """Kills everything and removes the network; the directory stays."""
        try:
            for node in self.nodes:
                node.kill()
        finally:
            self.network.close()


@contextmanager
def running(directory: Path, **options: Any) -> Iterator[Cluster]:
    """A cluster that is ready, and closed at the end."""
    cluster = Cluster(directory, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
