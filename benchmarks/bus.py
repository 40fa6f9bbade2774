"""The message bus on this machine, beside raw nats-py at the same nats-server and pyzmq's proxy.

    python -m benchmarks.bus [--rounds N] [--messages N] [--only WORD] [--json FILE] [--check]

Messages of 100 bytes from one publisher to ten subscribers, and from ten to ten; each is a process of its own, on however few cores there are.
Raw nats-py sends the same payloads with the same headers, to the same server, over TLS like the bus. Counted is what all subscribers got in
a second, from the first message that was sent to the last that came, and what was lost; each kind is measured in turn, round by round.
pyzmq is measured if it is installed (`pip install pyzmq`): its proxy knows no headers, no numbers and no password.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.__main__ import Row
from coopy.messaging import Bus
from coopy.messaging.bus_aio import AsyncBus
from coopy.network.server import proof
from coopy.network.subjects import NODE

SUBJECT = "benchmark.bus"
PAYLOAD = b"x" * 100
SUBSCRIBERS = 10
ANSWER_S = 120.0
GOAL = 0.9
"""Of what raw nats-py passes on."""
KINDS = ("coopy", "coopy asyncio", "nats-py", "pyzmq")
WAITING = 1 << 20
"""Nobody is to lose anything here: what is sent in a round waits, however slow its subscriber is."""


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


# -- a publisher or a subscriber: a process of its own. It says when it is ready, and does its work when it is told to.


def coopy_subscriber(where: str, messages: int) -> None:
    with Bus(where) as bus:
        count, done = 0, threading.Event()

        def take(message: Any) -> None:
            nonlocal count
            count += len(message.data) == len(PAYLOAD)
            if count == messages:
                done.set()

        with bus.subscribe(SUBJECT, take, waiting=WAITING) as subscription:
            say("ready")
            sys.stdin.readline()
            done.wait(ANSWER_S)
            say({"at": time.monotonic(), "got": count, "missed": subscription.missed})


def coopy_publisher(where: str, messages: int) -> None:
    with Bus(where) as bus:
        say("ready")
        sys.stdin.readline()
        began = time.monotonic()
        for _ in range(messages):
            bus.publish(SUBJECT, PAYLOAD)
        bus.flush(ANSWER_S)
        say({"at": began})


async def coopy_asyncio_subscriber(where: str, messages: int) -> None:
    async with AsyncBus(where) as bus:
        count = 0
        async with await bus.subscribe(SUBJECT, waiting=WAITING) as subscription:
            say("ready")
            sys.stdin.readline()
            async for message in subscription:
                count += len(message.data) == len(PAYLOAD)
                if count == messages:
                    break
            say({"at": time.monotonic(), "got": count, "missed": subscription.missed})


async def coopy_asyncio_publisher(where: str, messages: int) -> None:
    async with AsyncBus(where) as bus:
        say("ready")
        sys.stdin.readline()
        began = time.monotonic()
        for _ in range(messages):
            await bus.publish(SUBJECT, PAYLOAD)
        await bus.flush(ANSWER_S)
        say({"at": began})


async def _nats(where: str) -> Any:
    import nats

    with open(f"{where}/secret", encoding="ascii") as secret, open(f"{where}/address", encoding="ascii") as address:
        password, url = secret.read(), f"nats://{address.read()}"
    return await nats.connect(
        url,
        user=NODE,
        password=password,
        tls=proof.context(NODE, password),
        tls_hostname=proof.name(NODE),
        pending_size=64 << 20,
    )


async def nats_subscriber(where: str, messages: int) -> None:
    client = await _nats(where)
    count, done = 0, asyncio.Event()

    async def take(message: Any) -> None:
        nonlocal count
        count += len(message.data) == len(PAYLOAD)
        if count == messages:
            done.set()

    await client.subscribe(SUBJECT, cb=take, pending_msgs_limit=WAITING, pending_bytes_limit=WAITING * 1000)
    await client.flush()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.wait_for(done.wait(), ANSWER_S)
    say({"at": time.monotonic(), "got": count, "missed": messages - count})
    await client.close()


async def nats_publisher(where: str, messages: int) -> None:
    client = await _nats(where)
    say("ready")
    sys.stdin.readline()
    began = time.monotonic()
    for number in range(1, messages + 1):
        await client.publish(SUBJECT, PAYLOAD, headers={"Coopy": f"abcdefghijk {number} b"})
    await client.flush(ANSWER_S)
    say({"at": began})
    await client.close()


def _zmq(port: str, kind: str) -> Any:
    import zmq

    found = zmq.Context().socket(getattr(zmq, kind))
    found.setsockopt(zmq.SNDHWM, 0)
    found.setsockopt(zmq.RCVHWM, 0)
    found.connect(f"tcp://127.0.0.1:{port}")
    return found


def zmq_subscriber(where: str, messages: int) -> None:
    socket = _zmq(where.split()[1], "SUB")
    socket.subscribe(SUBJECT)
    say("ready")
    count = 0
    while count < messages:
        if not socket.poll(int(ANSWER_S * 1000)):
            break
        count += len(socket.recv_multipart()[1]) == len(PAYLOAD)
    say({"at": time.monotonic(), "got": count, "missed": messages - count})


def zmq_publisher(where: str, messages: int) -> None:
    socket = _zmq(where.split()[0], "PUB")
    time.sleep(1)  # It can't know when its subscribers are there.
    say("ready")
    sys.stdin.readline()
    began = time.monotonic()
    topic = SUBJECT.encode()
    for _ in range(messages):
        socket.send_multipart((topic, PAYLOAD))
    say({"at": began})
    socket.close(linger=int(ANSWER_S * 1000))


def zmq_proxy(where: str, messages: int) -> None:
    import zmq

    front, back = (zmq.Context.instance().socket(kind) for kind in (zmq.XSUB, zmq.XPUB))
    ports = []
    for socket in (front, back):
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        ports.append(socket.bind_to_random_port("tcp://127.0.0.1"))
    say(f"{ports[0]} {ports[1]}")
    zmq.proxy(front, back)


ROLES: dict[str, Callable[[str, int], Any]] = {
    "coopy subscriber": coopy_subscriber,
    "coopy publisher": coopy_publisher,
    "coopy asyncio subscriber": coopy_asyncio_subscriber,
    "coopy asyncio publisher": coopy_asyncio_publisher,
    "nats-py subscriber": nats_subscriber,
    "nats-py publisher": nats_publisher,
    "pyzmq subscriber": zmq_subscriber,
    "pyzmq publisher": zmq_publisher,
    "pyzmq proxy": zmq_proxy,
}


def play(role: str, where: str, messages: int) -> None:
    found = ROLES[role](where, messages)
    if asyncio.iscoroutine(found):
        asyncio.run(found)


# -- seen from here


class Player:
    """A process that plays a role."""

    def __init__(self, role: str, where: str, messages: int) -> None:
        self.role = role
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bus", "--play", role, where, str(messages)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a {self.role} ended without a word")
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def measured(kind: str, where: str, publishers: int, messages: int) -> tuple[float, int]:
    """Returns thousands of deliveries in a second, and how many messages were lost of all."""
    each = messages // publishers
    players = [Player(f"{kind} subscriber", where, each * publishers) for _ in range(SUBSCRIBERS)]
    try:
        for player in players:
            player.answer()
        senders = [Player(f"{kind} publisher", where, each) for _ in range(publishers)]
        players += senders
        for player in senders:
            player.answer()
        for player in players:
            player.begin()
        began = min(player.answer()["at"] for player in senders)
        found = [player.answer() for player in players[:SUBSCRIBERS]]
        ended, got = max(each["at"] for each in found), sum(each["got"] for each in found)
        return got / (ended - began) / 1000, each * publishers * SUBSCRIBERS - got
    finally:
        for player in players:
            player.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=20_000, help="that each subscriber gets")
    parser.add_argument("--only", default="", help="kinds that have this word")
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true", help="fails if the bus falls short")
    parser.add_argument("--play", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.play:
        play(chosen.play[0], chosen.play[1], int(chosen.play[2]))
        return
    kinds = [kind for kind in KINDS if chosen.only in kind and (kind != "pyzmq" or _is_there("zmq"))]
    rates: dict[tuple[int, str], list[float]] = {}
    lost: dict[str, int] = dict.fromkeys(kinds, 0)
    with tempfile.TemporaryDirectory() as directory, Bus(directory):
        proxy = Player("pyzmq proxy", "", 0) if "pyzmq" in kinds else None
        ports = proxy.answer() if proxy is not None else ""
        try:
            for _ in range(chosen.rounds):
                for publishers in (1, 10):
                    for kind in kinds:
                        rate, gone = measured(kind, ports if kind == "pyzmq" else directory, publishers, chosen.messages)
                        rates.setdefault((publishers, kind), []).append(rate)
                        lost[kind] += gone
        finally:
            if proxy is not None:
                proxy.close()
    report(kinds, rates, lost, chosen)


def report(kinds: list[str], rates: dict[tuple[int, str], list[float]], lost: dict[str, int], chosen: Any) -> None:
    print(f"{'thousand deliveries of 100 bytes a second':<46} {'it':>12} {'nats-py':>12}")
    rows = []
    for publishers in (1, 10):
        raw = rates.get((publishers, "nats-py"), [])
        for kind in kinds:
            ours = rates[publishers, kind]
            row = Row(f"{publishers} to {SUBSCRIBERS}, {kind}", "k/s", ours, raw or ours, GOAL, rate=True)
            rows.append(row)
            print(row if kind.startswith("coopy") else f"{row.what:<46} {row.ours:>12,.3f}")
    print("lost: " + ", ".join(f"{kind} {number}" for kind, number in lost.items()))
    if chosen.json:
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump(
                {"lost": lost, "rates": {f"{number} {kind}": each for (number, kind), each in rates.items()}}, file, indent=1
            )
    if chosen.check and not all(row.holds for row in rows if "coopy" in row.what):
        sys.exit(1)


def _is_there(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        print(f"{module} is not installed, and not measured")
        return False
    return True


if __name__ == "__main__":
    main()
