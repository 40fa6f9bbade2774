"""A bus whose broker is killed again and again: who keeps up loses nothing that is not told, and all are back within two seconds.

    python tests/messaging/bus_campaign.py [--kills N] [--seed N]

Four members publish, each in a process of its own, and two subscribe: one that keeps up, and one that is slow and has little room. The broker is
killed with -9 at random moments: the server alone, which is started again, or the process that runs it, so that another member, any of
them, starts the next. After each kill it is measured how long it takes until a message that was published after it is heard. At the end each publisher says
how many it has sent, and of each of its messages each subscriber must have got it, or have been told of it; none twice, none out of order.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from coopy import Unavailable
from coopy.messaging import Bus, Message, Missed

PUBLISHERS, RUNNERS = 4, 2
PAUSE_S = 0.001
"""A thousand messages a second of each publisher."""
BACK_S_MAX = 2.0
SETTLE_S = 3.0
"""What is on its way at the end arrives within that, and what is lost is told."""
PROBE = "probe"


def runs_broker(directory: str) -> None:
    """The process that runs the server, as long as it lives."""
    with Bus(directory, timeout=30) as bus:
        print("ready", flush=True)
        while sys.stdin.readline():
            # Whether it is this one that runs the server, and which.
            server = bus._station.server if bus._station is not None else None
            print(json.dumps(server.pid if server is not None else None), flush=True)


def publishes(directory: str) -> None:
    """Publishes until its input ends, and says how many messages it has sent, by subject."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with Bus(directory, timeout=30) as bus:
        print("ready", flush=True)
        sent: Counter[str] = Counter()
        refused = 0
        while not ended.wait(PAUSE_S):
            subject = f"ticks.{sum(sent.values()) % 3}"
            try:
                bus.publish(subject, b"x" * 100)
                sent[subject] += 1
            except Unavailable:
                refused += 1
        bus.flush(30)
        # One that is not lost shows what was lost before it.
        for subject in sent:
            bus.publish(subject, b"last")
            sent[subject] += 1
        bus.flush(30)
        print(json.dumps({"name": bus.publisher, "sent": sent, "refused": refused}), flush=True)


class Account:
    """What a subscriber got, and what it was told of."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self.upto: dict[tuple[str, str], int] = {}
        """The last number of each publisher and subject that was got or told."""
        self.first: dict[tuple[str, str], int] = {}
        self.got = self.lost = 0
        self.wrong: list[str] = []

    def take(self, message: Message[Any]) -> None:
        self._next((message.publisher, message.subject), message.number, 1, "got")
        self.got += 1
        if self._pause_s:
            time.sleep(self._pause_s)

    def missed(self, gap: Missed) -> None:
        self._next((gap.publisher, gap.subject), gap.first, gap.lost, "told of")
        self.lost += gap.lost

    def _next(self, key: tuple[str, str], first: int, count: int, how: str) -> None:
        expected = self.upto.get(key)
        if expected is None:
            self.first[key] = first
        elif first != expected + 1:
            self.wrong.append(f"{how} {key} {first} after {expected}")
        self.upto[key] = first + count - 1

    def check(self, reports: list[dict[str, Any]]) -> None:
        for report in reports:
            for subject, number in report["sent"].items():
                if self.upto.get((report["name"], subject)) != number:
                    self.wrong.append(
                        f"{report['name']} sent {number} to {subject}, known to {self.upto.get((report['name'], subject))}"
                    )


class Player:
    """A process of this file."""

    def __init__(self, role: str, directory: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--role", role, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.line())

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


def back_within(probe: Bus, heard: threading.Event) -> float:
    """Seconds until a message that is published from now on is heard by the other."""
    began = time.monotonic()
    heard.clear()
    while not heard.wait(0.01):
        if probe.connected:
            probe.publish(PROBE, b"")
        if time.monotonic() > began + 60:
            raise SystemExit("no message is heard a minute after the broker was killed")
    return time.monotonic() - began


def kill(runners: list[Player], directory: str, chance: random.Random) -> None:
    """Kills the process that runs the server, if it is one of these, or the server alone."""
    if chance.random() < 0.5:
        for runner in list(runners):
            if runner.ask() is not None:
                runner.process.kill()
                runner.process.wait()
                runners.remove(runner)
                return
    os.kill(int(Path(directory, "server", "lock").read_text()), signal.SIGKILL)


def campaign(kills: int, seed: int) -> int:
    chance = random.Random(seed)
    quick, slow = Account(0), Account(0.002)
    took: list[float] = []
    heard = threading.Event()
    with tempfile.TemporaryDirectory() as directory:
        runners = [Player("broker", directory) for _ in range(RUNNERS)]
        with Bus(directory, timeout=30) as keeps_up, keeps_up.another() as is_slow, keeps_up.another() as probe:
            keeps_up.subscribe("ticks.*", quick.take, missed=quick.missed)
            is_slow.subscribe("ticks.*", slow.take, missed=slow.missed, waiting=100)
            keeps_up.subscribe(PROBE, lambda message: heard.set())
            publishers = [Player("publisher", directory) for _ in range(PUBLISHERS)]
            for number in range(kills):
                time.sleep(chance.uniform(0.3, 1.0))
                began = time.monotonic()
                kill(runners, directory, chance)
                took.append(time.monotonic() - began + back_within(probe, heard))
                while len(runners) < RUNNERS:
                    runners.append(Player("broker", directory))
                if (number + 1) % 10 == 0:
                    print(f"  {number + 1} kills, longest {max(took):.2f} s", flush=True)
            time.sleep(SETTLE_S)
            for player in publishers:
                player.end()
            reports = [json.loads(player.line()) for player in publishers]
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not all(
                account.upto.get((report["name"], subject)) == number
                for account in (quick, slow)
                for report in reports
                for subject, number in report["sent"].items()
            ):
                time.sleep(0.1)
        for runner in runners:
            runner.end()
            runner.process.wait()
    return told(quick, slow, reports, took, seed)


def told(quick: Account, slow: Account, reports: list[dict[str, Any]], took: list[float], seed: int) -> int:
    sent = sum(sum(report["sent"].values()) for report in reports)
    for account in (quick, slow):
        account.check(reports)
    late = [each for each in took if each > BACK_S_MAX]
    print(
        f"seed {seed}: {len(took)} kills, {sent} messages of {len(reports)} publishers, {sum(each['refused'] for each in reports)} refused in outages"
    )
    print(
        f"  heard again after {statistics.median(took):.2f} s (median), {max(took):.2f} s at most; {len(late)} took more than {BACK_S_MAX:g} s"
    )
    for name, account in (("keeps up", quick), ("slow", slow)):
        print(f"  {name}: got {account.got}, told of {account.lost}, of neither or out of order {len(account.wrong)}")
        for each in account.wrong[:5]:
            print(f"    {each}")
    return 1 if quick.wrong or slow.wrong or late else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--role", nargs=2)
    chosen = parser.parse_args()
    if chosen.role:
        {"broker": runs_broker, "publisher": publishes}[chosen.role[0]](chosen.role[1])
        return 0
    return campaign(chosen.kills, chosen.seed)


if __name__ == "__main__":
    sys.exit(main())
