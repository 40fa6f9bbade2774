"""Three nodes, before your eyes: write, kill -9 the node that leads, go on writing, start it again, compare.

    python examples/cluster_demo.py [--seconds N] [--clients N]

Each node is a process with a Raft server of its own beneath it. The clients live here, so that what was
acknowledged is known by somebody who is not killed. Each deposit has a number of its own, which the bank keeps: one that
was acknowledged has to be there once, on every node; one that was under way when its node was killed, once or never.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from typing import Any

from coopy import control, init_system

COLOURED = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
BOLD, GREEN, RED, PLAIN = ("\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[0m") if COLOURED else ("",) * 4
SAY_S = 0.25
BAR_S = 0.5
LINE_S = 2.0
START_S = 60.0
PAUSE_S = 45.0
CLOSE_S = 10.0
ACCOUNTS = 20
GONE, COMES, ENDS = -1, -2, -3
"""In place of the number of a call: a node is gone, a client comes to one, the clients end."""
BARS = "▁▂▃▄▅▆▇█"


class Bank:
    """A plain class. That three machines have the same one is nothing that it knows."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.receipts: list[int] = []

    def deposit(self, number: int, who: str, amount: int) -> int:
        """Adds to a balance, and returns what it is now. The bank does not look whether it has the number already."""
        self.receipts.append(number)
        self.balances[who] = self.balances.get(who, 0) + amount
        return self.balances[who]


# -- one node: a process of its own


def serve(directory: str, node: str, nodes: list[str]) -> None:
    """Opens the node, and does what standard input asks for, until that ends. Answers are lines on standard output."""
    writing = threading.Lock()
    answers = os.dup(1)
    os.dup2(2, 1)

    def say(**facts: Any) -> None:
        with writing:
            data = json.dumps(facts).encode() + b"\n"
            while data:
                data = data[os.write(answers, data) :]

    bank = init_system(
        Bank, directory, cluster=nodes, node=node, password="only for this demo", progress=lambda done, total: None
    )
    controls = control(bank)

    def report() -> None:
        while True:
            found = controls.status()
            say(status={name: found[name] for name in ("state", "leader", "last_applied")})
            time.sleep(SAY_S)

    threading.Thread(target=report, daemon=True).start()
    for line in sys.stdin:
        asked = json.loads(line)
        if "deposit" in asked:
            number = asked["deposit"]
            # Only when the future is done is the call acknowledged: a majority has it on disk, and this node has applied it.
            sent = controls.submit("deposit", number, f"account {number % ACCOUNTS}", number)
            sent.add_done_callback(lambda found, number=number: say(done=number, error=_error(found)))  # type: ignore[misc]
        else:
            controls.sync()
            index, digest = controls.state_digest()
            say(final={"index": index, "digest": digest, "receipts": list(bank.receipts), "sum": sum(bank.balances.values())})
    controls.close()
    os._exit(0)


def _error(found: Future[Any]) -> str | None:
    error = found.exception()
    return None if error is None else f"{type(error).__name__}: {error}"


# -- the node as it is seen from here


class Node:
    """A node's process, and what it has last said of itself."""

    def __init__(self, number: int, place: str, nodes: list[str], acknowledge: queue.SimpleQueue[Any]) -> None:
        self.number = number
        self.address = nodes[number]
        self.answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._answered = 0
        self._samples: collections.deque[tuple[float, int]] = collections.deque(maxlen=9)
        self._arguments = ["--node", os.path.join(place, f"node{number + 1}"), self.address, *nodes]
        self._log = os.path.join(place, f"node{number + 1}.log")
        self._acknowledge = acknowledge
        self._writing = threading.Lock()
        self.start()

    def start(self) -> None:
        self.status: dict[str, Any] = {"state": "starting", "leader": None, "last_applied": 0}
        self._samples.clear()
        self.ready = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(self._log, "ab"),
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "status" in said:
                self.status = said["status"]
                self._samples.append((time.monotonic(), self._answered))
                if self.status["state"] == "ready":
                    self.ready.set()
            elif "done" in said:
                self._answered += 1
                self._acknowledge.put((self, said["done"], said["error"]))
            else:
                self.answers.put(said["final"])
        if process is self.process:
            self.ready.clear()
            self.status = {**self.status, "state": "gone", "leader": None}
            self._samples.clear()
            self._acknowledge.put((self, GONE, None))

    def say(self, **asked: Any) -> None:
        """Asks the process for something, if it is still there."""
        assert self.process.stdin is not None
        try:
            with self._writing:
                self.process.stdin.write(json.dumps(asked).encode() + b"\n")
                self.process.stdin.flush()
        except OSError:
            pass

    def said(self) -> str:
        """The end of what its process has written to standard error."""
        with open(self._log, errors="replace") as file:
            return file.read()[-2000:]

    def rate(self) -> float:
        """Calls a second that it answers."""
        samples = [*self._samples]
        if len(samples) < 2:
            return 0.0
        (first, before), (last, after) = samples[0], samples[-1]
        return (after - before) / max(last - first, 0.001)

    def kill(self) -> int:
        """kill -9 of its process and of all beneath it; how many there were."""
        pids = [self.process.pid, *_beneath(self.process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        return len(pids)

    def close(self) -> None:
        """Has it close its system and end."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(CLOSE_S)
        except (OSError, subprocess.TimeoutExpired):
            self.kill()


def _beneath(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children = collections.defaultdict(list)
    for line in listed.splitlines():
        pid, parent = map(int, line.split())
        children[parent].append(pid)
    found = list(children[process])
    for each in found:
        found += children[each]
    return found


# -- clients


class Load:
    """Clients that deposit one after the other. Whose node is gone goes on at another, with the next number."""

    def __init__(self, clients: int) -> None:
        self.acknowledged: set[int] = set()
        self.sent = 0
        self.under_way: dict[int, Node] = {}
        self.refused: list[str] = []
        self.times: list[float] = []
        self.longest_s = 0.0
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.lost: set[int] = set()
        self.nodes: list[Node] = []
        self._clients = clients
        self._coming: list[Node] = []
        self.began = 0.0
        self._ending = False
        self._last: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self.began = time.monotonic()
        for client in range(self._clients):
            self._deposit(self.nodes[client % len(self.nodes)])
        self._thread.start()

    def end(self) -> None:
        """Returns when every call that is under way is answered."""
        self._ending = True
        self.answers.put((None, ENDS, None))
        self._thread.join(PAUSE_S)

    def _run(self) -> None:
        while not self._ending or self.under_way:
            node, number, error = self.answers.get()
            if number == ENDS:
                continue
            if number == COMES:
                self._coming.append(node)
                continue
            if number == GONE:
                # Its node is gone. What became of these calls can be seen later; nobody will say.
                for each in [each for each, at in self.under_way.items() if at is node]:
                    self._unknown(each)
                continue
            if self.under_way.pop(number, None) is None:
                continue
            now = time.monotonic()
            if error is not None:
                self.refused.append(error)
            else:
                self.acknowledged.add(number)
                self.times.append(now)
                if self._last is not None:
                    self.longest_s = max(self.longest_s, now - self._last)
                self._last = now
            if not self._ending:
                self._deposit(self._coming.pop() if self._coming else node)

    def _unknown(self, number: int) -> None:
        self.lost.add(number)
        del self.under_way[number]
        if not self._ending:
            for node in self.nodes:
                if node.ready.is_set():
                    self._deposit(node)
                    return

    def _deposit(self, node: Node) -> None:
        self.sent += 1
        number = self.sent
        self.under_way[number] = node
        # If its process is gone, that is said behind all that it had answered.
        node.say(deposit=number)

    def move(self, node: Node) -> None:
        """Its share of the clients goes to a node that has come back: each with its next call."""
        for _ in range(self._clients // len(self.nodes)):
            self.answers.put((node, COMES, None))

    def bars(self) -> list[int]:
        """Acknowledgements in each half second."""
        found = [0] * (int((time.monotonic() - self.began) / BAR_S) + 1) if self.began else []
        for at in self.times[:]:
            found[min(int((at - self.began) / BAR_S), len(found) - 1)] += 1
        return found[:-1]

    def rate(self) -> float:
        """Acknowledgements a second, of the last two."""
        since, found = time.monotonic() - 2, 0
        for at in reversed(self.times[:]):
            if at < since:
                break
            found += 1
        return found / 2


# -- what is shown


class Screen:
    """A picture that is drawn again and again in a terminal, if rich is there; lines otherwise."""

    def __init__(self, nodes: list[Node], load: Load) -> None:
        self.nodes = nodes
        self._load = load
        self.phase = ""
        self._live: Any = None
        self._drawn = 0.0
        if sys.stdout.isatty():
            try:
                from rich.live import Live

                self._live = Live(get_renderable=self._picture, refresh_per_second=4, transient=True)
                self._live.start()
            except ImportError:
                pass

    def say(self, text: str) -> None:
        """What happens now."""
        self.phase = text
        if self._live is not None:
            self._live.console.print(f"[bold]{text}[/bold]", highlight=False)
        else:
            print(f"{BOLD}{text}{PLAIN}", flush=True)

    def watch(self, seconds: float, until: threading.Event | None = None) -> bool:
        """Shows what goes on for so long; whether ``until`` came."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if until is not None and until.is_set():
                return True
            time.sleep(min(left, 0.1))
            if self._live is None and time.monotonic() - self._drawn > LINE_S:
                self._drawn = time.monotonic()
                states = "  ".join(
                    f"{each.address.rpartition(':')[2]} {each.status['state']}{'*' if self._leads(each) else ''} "
                    f"at {each.status['last_applied']}"
                    for each in self.nodes
                )
                print(f"   {states}  {self._load.rate():,.0f} writes/s", flush=True)
        return until is None or until.is_set()

    def wait_for(self, node: Node) -> None:
        """Shows what goes on until a node is ready; ends the demo if it doesn't get so."""
        deadline = time.monotonic() + START_S
        while not self.watch(1, node.ready):
            if node.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                sys.exit(f"{node.address} did not get ready: {node.status['state']}\n{node.said()}")

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def sparkline(self) -> str:
        bars = self._load.bars()
        top = max(bars, default=0) or 1
        return "".join(BARS[min(7, (each * 8 - 1) // top)] if each else " " for each in bars)

    @staticmethod
    def _leads(node: Node) -> bool:
        return bool(node.status["leader"] == node.address)

    def _picture(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for title, side in (("node", "left"), ("state", "left"), ("", "left"), ("position", "right"), ("calls/s", "right")):
            table.add_column(title, justify=side, header_style="dim")  # type: ignore[arg-type]
        for node in self.nodes:
            state = node.status["state"]
            colour = {"ready": "green", "gone": "red"}.get(state, "yellow")
            leads = "leads" if self._leads(node) else ""
            table.add_row(
                node.address,
                Text(state, colour),
                Text(leads, "bold"),
                f"{node.status['last_applied']:,}",
                f"{node.rate():,.0f}",
            )
        load = self._load
        counts = f"{load.rate():>7,.0f} writes/s   {len(load.acknowledged):,} acknowledged, {len(load.under_way)} under way"
        return Group(table, Text(), Text(self.sparkline(), "cyan"), Text(counts), Text(self.phase, "bold"))


# -- the demo


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nobody has; the server of a node takes the one 1,000 above, too."""
    found: list[int] = []
    kept = []
    while len(found) < number:
        kept.append(socket.socket())
        kept[-1].bind(("127.0.0.1", 0))
        port = kept[-1].getsockname()[1]
        try:
            with socket.socket() as routes:
                routes.bind(("127.0.0.1", port + 1000))
        except (OSError, OverflowError):
            continue
        found.append(port)
    for each in kept:
        each.close()
    return found


def leader_of(nodes: list[Node]) -> Node:
    """The node that leads, as most of them say."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        [(name, votes)] = collections.Counter(node.status["leader"] for node in nodes).most_common(1)
        if name is not None and votes == len(nodes):
            return next(node for node in nodes if node.address == name)
        time.sleep(SAY_S)
    sys.exit("the nodes don't agree on who leads")


def run(place: str, seconds: float, clients: int) -> int:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    load = Load(clients)
    nodes = load.nodes
    nodes += [Node(number, place, addresses, load.answers) for number in range(3)]
    screen = Screen(nodes, load)
    try:
        screen.say("1. Three nodes start, and choose a leader")
        for node in nodes:
            screen.wait_for(node)
        leader = leader_of(nodes)
        screen.say(f"2. {clients} clients write to all three; each call is on the disks of two at least before it returns")
        load.begin()
        screen.watch(seconds)

        leader = leader_of(nodes)
        processes = leader.kill()
        killed_at = time.monotonic()
        before, load.longest_s = len(load.acknowledged), 0.0
        screen.say(f"3. kill -9 of {leader.address}, which leads: {processes} processes. Its clients go on at the others")
        again = threading.Event()

        def look() -> None:
            while not again.is_set():
                # What was answered by the dying node may still have been in the pipe.
                if load.times and load.times[-1] > killed_at + 0.1:
                    again.set()
                time.sleep(0.02)

        threading.Thread(target=look, daemon=True).start()
        went_on = screen.watch(PAUSE_S, again)
        pause_s = load.longest_s
        if not went_on:
            screen.say(f"no write succeeded within {PAUSE_S:g} s after the kill")
            return 1
        screen.watch(seconds)
        meanwhile = len(load.acknowledged) - before

        screen.say(f"4. {leader.address} starts again, and takes what it has missed from the others")
        restarted_at = time.monotonic()
        leader.start()
        screen.wait_for(leader)
        came_back_s = time.monotonic() - restarted_at
        load.move(leader)
        screen.watch(seconds / 2)

        screen.say("5. The clients stop, and all three say what they have")
        load.end()
        finals = []
        for node in nodes:
            node.say(final=True)
            finals.append(node.answers.get(timeout=PAUSE_S))
        sparkline = screen.sparkline()
        screen.close()
        print(f"   writes, a bar each half second: {sparkline}")
        print(f"   no write was acknowledged for {pause_s:.1f} s after the kill; {meanwhile:,} were while the node was away")
        print(f"   the node was back, with all it had missed, {came_back_s:.1f} s after its start")
        return verdict(nodes, load, finals)
    finally:
        screen.close()
        closing = [threading.Thread(target=node.close) for node in nodes]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()


def verdict(nodes: list[Node], load: Load, finals: list[dict[str, Any]]) -> int:
    """Prints what is to be compared; 1 if anything is not as it should be."""
    ok = True

    def check(holds: bool, text: str) -> None:
        nonlocal ok
        ok = ok and holds
        print(f"   {GREEN if holds else RED}{'ok   ' if holds else 'WRONG'}{PLAIN} {text}")

    print(f"{BOLD}What is there{PLAIN}")
    for node, final in zip(nodes, finals, strict=True):
        print(f"   {node.address}  action {final['index']:,}  digest {final['digest'][:32]}")
    check(len({(each["index"], each["digest"]) for each in finals}) == 1, "all three have the same state at the same action")
    for node, final in zip(nodes, finals, strict=True):
        there = collections.Counter(final["receipts"])
        missing = load.acknowledged - there.keys()
        twice = [number for number, count in there.items() if count > 1]
        unknown = len(there.keys() - load.acknowledged)
        check(
            not missing
            and not twice
            and there.keys() <= load.acknowledged | load.lost
            and final["sum"] == sum(there.elements()),
            f"{node.address}: {len(load.acknowledged) - len(missing):,} of {len(load.acknowledged):,} acknowledged calls, "
            f"{len(missing)} lost, {len(twice)} applied twice; {unknown} of {len(load.lost)} that were under way when "
            f"their node was killed",
        )
    check(not load.refused, f"{len(load.refused)} calls were refused{': ' + load.refused[0] if load.refused else ''}")
    check(not load.under_way, f"{len(load.under_way)} calls were never answered")
    return 0 if ok else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="cluster_demo.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="how long to write before and after the kill (6)")
    parser.add_argument("--clients", type=int, default=12, help="how many write at once (12)")
    options = parser.parse_args()
    place = tempfile.mkdtemp(prefix="coopy-cluster-demo-")
    try:
        return run(place, options.seconds, options.clients)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--node"]:
        serve(sys.argv[2], sys.argv[3], sys.argv[4:])
    sys.exit(main())
