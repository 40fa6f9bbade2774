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
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks.__main__ import Row
from coopy.messaging import Bus
from coopy.messaging.bus_aio import AsyncBus
from coopy.network.server import proof
from coopy.network.subjects import NODE

PAYLOAD = b"x" * 100
SUBSCRIBERS = PUBLISHERS_MAX = 10
ZMQ_SILENCE_MS = 5000
"""What has not come by then was lost: nobody says so."""
ANSWER_S = 120.0
GOAL = 0.9
"""Of what raw nats-py passes on."""
KINDS = ("coopy", "coopy asyncio", "nats-py", "pyzmq")
WAITING = 1 << 20
"""Nobody is to lose anything here: what is sent in a round waits, however slow its subscriber is."""


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


# -- a publisher or a subscriber: a process of its own. For each line it does its work once: so many messages, and says how it went.


def lines() -> Iterator[int]:
    say("ready")
    for line in sys.stdin:
        yield int(line)


async def lines_in_loop() -> AsyncIterator[int]:
    say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield int(line)


def coopy_subscriber(where: str) -> None:
    with Bus(where) as bus:
        count = wanted = 0
        done = threading.Event()

        def take(message: Any) -> None:
            nonlocal count
            count += len(message.data) == len(PAYLOAD)
            if count == wanted:
                done.set()

        with bus.subscribe("coopy", take, waiting=WAITING):
            for number in lines():
                wanted, count = number, 0
                say("begun")
                done.wait(ANSWER_S)
                done.clear()
                say({"at": time.monotonic(), "got": count})


def coopy_publisher(where: str) -> None:
    with Bus(where) as bus:
        for number in lines():
            began = time.monotonic()
            for _ in range(number):
                bus.publish("coopy", PAYLOAD)
            bus.flush(ANSWER_S)
            say({"at": began})


async def coopy_asyncio_subscriber(where: str) -> None:
    async with AsyncBus(where) as bus, await bus.subscribe("coopy.asyncio", waiting=WAITING) as subscription:
        async for wanted in lines_in_loop():
            count = 0
            say("begun")
            async for message in subscription:
                count += len(message.data) == len(PAYLOAD)
                if count == wanted:
                    break
            say({"at": time.monotonic(), "got": count})


async def coopy_asyncio_publisher(where: str) -> None:
    async with AsyncBus(where) as bus:
        async for number in lines_in_loop():
            began = time.monotonic()
            for _ in range(number):
                await bus.publish("coopy.asyncio", PAYLOAD)
            await bus.flush(ANSWER_S)
            say({"at": began})


async def _nats(where: str) -> Any:
    import nats

    # It says of each connection over TLS that it can't keep it half open.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
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


async def nats_subscriber(where: str) -> None:
    client = await _nats(where)
    count = wanted = 0
    done = asyncio.Event()

    async def take(message: Any) -> None:
        nonlocal count
        count += len(message.data) == len(PAYLOAD)
        if count == wanted:
            done.set()

    await client.subscribe("nats", cb=take, pending_msgs_limit=WAITING, pending_bytes_limit=WAITING * 1000)
    await client.flush()
    async for number in lines_in_loop():
        wanted, count = number, 0
        say("begun")
        await asyncio.wait_for(done.wait(), ANSWER_S)
        done.clear()
        say({"at": time.monotonic(), "got": count})
    await client.close()


async def nats_publisher(where: str) -> None:
    client = await _nats(where)
    sent = 0
    async for number in lines_in_loop():
        began = time.monotonic()
        for _ in range(number):
            sent += 1
            await client.publish("nats", PAYLOAD, headers={"Coopy": f"abcdefghijk {sent} b"})
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


def zmq_subscriber(where: str) -> None:
    socket = _zmq(where.split()[1], "SUB")
    socket.subscribe("zmq")
    for wanted in lines():
        say("begun")
        count = 0
        while count < wanted and socket.poll(ZMQ_SILENCE_MS):
            count += len(socket.recv_multipart()[1]) == len(PAYLOAD)
        say({"at": time.monotonic(), "got": count})


def zmq_publisher(where: str) -> None:
    socket = _zmq(where.split()[0], "PUB")
    time.sleep(1)  # It can't know when its subscribers are there.
    for number in lines():
        began = time.monotonic()
        for _ in range(number):
            socket.send_multipart((b"zmq", PAYLOAD))
        say({"at": began})
    socket.close(linger=int(ANSWER_S * 1000))


def zmq_proxy(where: str) -> None:
    import zmq

    front, back = (zmq.Context.instance().socket(kind) for kind in (zmq.XSUB, zmq.XPUB))
    ports = []
    for socket in (front, back):
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        ports.append(socket.bind_to_random_port("tcp://127.0.0.1"))
    say(f"{ports[0]} {ports[1]}")
    zmq.proxy(front, back)


ROLES: dict[str, Callable[[str], Any]] = {
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


def play(role: str, where: str) -> None:
    found = ROLES[role](where)
    if asyncio.iscoroutine(found):
        asyncio.run(found)


# -- seen from here


class Player:
    """A process that plays a role."""

    def __init__(self, role: str, where: str) -> None:
        self.role = role
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bus", "--play", role, where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, messages: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{messages}\n")
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


class Kind:
    """The players of one kind."""

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self.lost = 0
        self._subscribers = [Player(f"{name} subscriber", where) for _ in range(SUBSCRIBERS)]
        for player in self._subscribers:
            player.answer()
        self._publishers = [Player(f"{name} publisher", where) for _ in range(PUBLISHERS_MAX)]
        for player in self._publishers:
            player.answer()

    def measured(self, publishers: int, messages: int) -> float:
        """Returns thousands of deliveries in a second."""
        each = messages // publishers
        for player in self._subscribers:
            player.begin(each * publishers)
            player.answer()
        for player in self._publishers[:publishers]:
            player.begin(each)
        began = min(player.answer()["at"] for player in self._publishers[:publishers])
        found = [player.answer() for player in self._subscribers]
        ended, got = max(each["at"] for each in found), sum(each["got"] for each in found)
        self.lost += each * publishers * SUBSCRIBERS - got
        return got / (ended - began) / 1000

    def close(self) -> None:
        for player in self._subscribers + self._publishers:
            player.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bus")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20_000, help="that each subscriber gets")
    parser.add_argument("--only", default="", help="kinds that have this word")
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true", help="fails if the bus falls short")
    parser.add_argument("--play", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.play:
        play(*chosen.play)
        return
    names = [kind for kind in KINDS if chosen.only in kind and (kind != "pyzmq" or _is_there("zmq"))]
    rates: dict[tuple[int, str], list[float]] = {}
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(Bus(directory))
        kinds = []
        for name in names:
            where = directory
            if name == "pyzmq":
                proxy = Player("pyzmq proxy", "")
                stack.callback(proxy.close)
                where = proxy.answer()
            kinds.append(Kind(name, where))
            stack.callback(kinds[-1].close)
        for _ in range(chosen.rounds):
            for publishers in (1, PUBLISHERS_MAX):
                for kind in kinds:
                    rates.setdefault((publishers, kind.name), []).append(kind.measured(publishers, chosen.messages))
    report(names, rates, {kind.name: kind.lost for kind in kinds}, chosen)


def report(kinds: list[str], rates: dict[tuple[int, str], list[float]], lost: dict[str, int], chosen: Any) -> None:
    print(f"{'thousand deliveries of 100 bytes a second':<46} {'it':>12} {'nats-py':>12}")
    rows = []
    for publishers in (1, PUBLISHERS_MAX):
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
