"""What goes wrong, how long, and how it ends.

A fault is a function that strikes a cluster under load, holds for so many seconds, and puts right
again what it did: when it returns, every node runs and is connected, though perhaps not yet ready.
It yields the nodes it strikes as soon as it knows them, before it strikes; the time without
service is that of the others. Whatever breaks it off in between, the network is put right.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from simulation.cluster import Cluster, Node
from simulation.network import send

Strike = Callable[[Cluster, random.Random, float], Iterator[list[Node]]]
HOUR_S = 3600


class Fault(NamedTuple):
    name: str
    strike: Strike
    hold_s: float

    @property
    def what(self) -> str:
        return (self.strike.__doc__ or "").splitlines()[0]


def _follower(cluster: Cluster, chance: random.Random) -> Node:
    leader = cluster.leader()
    return chance.choice([node for node in cluster.nodes if node is not leader])


def _killed(victims: list[Node], hold_s: float) -> Iterator[list[Node]]:
    yield victims
    for victim in victims:
        victim.kill()
    time.sleep(hold_s)
    for victim in victims:
        victim.start()


def leader_killed(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """kill -9 of the leader's node with its server; started again."""
    return _killed([cluster.leader()], hold_s)


def follower_killed(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """kill -9 of a follower's node with its server; started again."""
    return _killed([_follower(cluster, chance)], hold_s)


def all_killed(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """kill -9 of all nodes with their servers at once; started again."""
    return _killed(list(cluster.nodes), hold_s)


def leader_stopped(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """SIGSTOP of the leader's node and server; continued."""
    victim = cluster.leader()
    yield [victim]
    victim.freeze()
    try:
        time.sleep(hold_s)
    finally:
        victim.thaw()


def _cut(victim: Node, hold_s: float) -> Iterator[list[Node]]:
    yield [victim]
    victim.network.cut(victim.number)
    try:
        time.sleep(hold_s)
    finally:
        victim.network.mend(victim.number)


def leader_cut_off(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """The leader is partitioned from the others, silently; mended."""
    return _cut(cluster.leader(), hold_s)


def follower_cut_off(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """A follower is partitioned from the others, silently; mended."""
    return _cut(_follower(cluster, chance), hold_s)


def link_flapping(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """A node's link goes down and up again, each for a random time under 1.5 s."""
    victim = chance.choice(cluster.nodes)
    yield [victim]
    last = time.monotonic() + hold_s
    try:
        while time.monotonic() < last:
            victim.network.unplug(victim.number)
            time.sleep(chance.uniform(0.1, 1.5))
            victim.network.plug(victim.number)
            time.sleep(chance.uniform(0.1, 1.5))
    finally:
        victim.network.plug(victim.number)


def store_wiped(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """A node is stopped, everything it has is removed, and it is started again."""
    victim = chance.choice(cluster.nodes)
    yield [victim]
    victim.stop()
    shutil.rmtree(victim.directory)
    time.sleep(hold_s)
    victim.start()


def file_truncated(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """A node is killed, the largest file of its server's store cut at a random place, and it is started again."""
    victim = chance.choice(cluster.nodes)
    yield [victim]
    victim.kill()
    path = max(_blocks(victim.directory), key=lambda path: path.stat().st_size)
    with open(path, "r+b") as file:
        file.truncate(chance.randrange(path.stat().st_size))
    time.sleep(hold_s)
    victim.start()


def _blocks(directory: Path) -> list[Path]:
    store = directory / "server" / "store"
    # The messages of a stream; a store without such files is laid out in another way.
    blocks = list(store.rglob("streams/*/msgs/*.blk")) or [path for path in store.rglob("*") if path.is_file()]
    assert blocks, f"the server of {directory} keeps its store under server/store"
    return blocks


def clock_set_back(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """A node's wall clock goes back an hour (its own process's, not its server's); set right again."""
    victim = chance.choice(cluster.nodes)
    yield [victim]
    victim.ask("clock", -HOUR_S, timeout_s=10)
    try:
        time.sleep(hold_s)
    finally:
        victim.ask("clock", 0, timeout_s=10)


def disk_slow(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """A node's server runs 10 ms in 100: what it has to store, and all else it does, takes ten times as long."""
    victim = chance.choice(cluster.nodes)
    yield [victim]
    server: int = victim.ask("status", timeout_s=10).value["server_pid"]
    last = time.monotonic() + hold_s
    try:
        while time.monotonic() < last:
            send([server], signal.SIGSTOP)
            time.sleep(0.09)
            send([server], signal.SIGCONT)
            time.sleep(0.01)
    finally:
        send([server], signal.SIGCONT)


def packets_lost(cluster: Cluster, chance: random.Random, hold_s: float) -> Iterator[list[Node]]:
    """5% of the packets that leave a node are lost, on every node."""
    yield []
    cluster.network.lose(0.05)
    try:
        time.sleep(hold_s)
    finally:
        cluster.network.lose_nothing()


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("leader-killed", leader_killed, 8.0),
        Fault("follower-killed", follower_killed, 3.0),
        Fault("all-killed", all_killed, 0.5),
        Fault("leader-stopped", leader_stopped, 10.0),
        Fault("leader-cut-off", leader_cut_off, 12.0),
        Fault("follower-cut-off", follower_cut_off, 8.0),
        Fault("link-flapping", link_flapping, 10.0),
        Fault("store-wiped", store_wiped, 1.0),
        Fault("file-truncated", file_truncated, 1.0),
        Fault("clock-set-back", clock_set_back, 5.0),
        Fault("disk-slow", disk_slow, 8.0),
        Fault("packets-lost", packets_lost, 8.0),
    )
}
