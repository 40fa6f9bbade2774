"""A process of the real campaign with locks: a node of a cluster, or the machine that is alone. Its threads take turns, and tell a record.

campaign_node.py        (told what to open by the first line of its standard input, as simulation/node.py)
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulation import node
from sync.record import S, Teller, now_ns

PAUSE_S = 1.0
"""About so long a client does something else between two turns."""
BEAT_S = 0.1
"""Between two actions that only say whether the node is served."""


class Turns(node.Node):
    """A process, and its clients."""

    def domain(self) -> type:
        from coopy.sync import Locks

        return Locks

    def do_begin(self, path: str, name: str, clients: int, kind: str, locks: int, ttl_s: float) -> None:
        """Has clients take turns with the locks of a kind."""
        for number in range(clients):
            threading.Thread(
                target=self._take_turns, args=(path, f"{name}/{number}", f"{kind} {number % locks}", ttl_s), daemon=True
            ).start()
        threading.Thread(target=self._beat, args=(path, name), daemon=True).start()

    def do_jump(self, seconds: float) -> None:
        """Has the clock that nobody can set jump, as it is in this process."""
        from coopy.sync import boot

        before = boot.now_ns
        boot.now_ns = lambda: before() + round(seconds * S)

    def _beat(self, path: str, name: str) -> None:
        from coopy import CoopyError

        teller = Teller(path, name)
        while True:
            first_ns = now_ns()
            try:
                self.system.clear_event("beat")
                teller.say("beat", first_ns=first_ns, last_ns=now_ns())
            except CoopyError:
                pass
            time.sleep(BEAT_S)

    def _take_turns(self, path: str, who: str, name: str, ttl_s: float) -> None:
        from coopy import CoopyError
        from coopy.sync import Lock, LockLost, boot

        teller, chance = Teller(path, who), random.Random()
        lock = Lock(name, system=self.system, ttl=ttl_s)

        def told(what: str, token: int, check: Any) -> None:
            first_ns = now_ns()
            check()
            left_ns = lock.deadline * S - boot.now_ns()
            last_ns = now_ns()
            teller.say(what, lock=name, token=token, first_ns=first_ns, last_ns=last_ns, until_ns=round(first_ns + left_ns))

        while True:
            time.sleep(chance.expovariate(1) * PAUSE_S)
            teller.say("asks", lock=name, at_ns=now_ns())
            try:
                lock.acquire()
                token = lock.token
            except (CoopyError, RuntimeError) as error:
                teller.say("fails", lock=name, why=type(error).__name__)
                continue
            try:
                told("got", token, lock.check)
            except LockLost:
                teller.say("fails", lock=name, why="lost at once")
                continue
            try:
                until_ns = now_ns() + how_long_ns(chance, ttl_s)
                while now_ns() < until_ns:
                    time.sleep(chance.uniform(0.02, 0.1))
                    told("acts", token, lock.check)
                teller.say("releases", lock=name, token=token, at_ns=now_ns())
                lock.release()
            except LockLost:
                teller.say("lost", lock=name, token=token, at_ns=now_ns())
            except CoopyError:
                pass


def how_long_ns(chance: random.Random, ttl_s: float) -> int:
    """For how long a client holds a lock."""
    longest = chance.choices((0.05, ttl_s / 2, 4 * ttl_s), (60, 30, 10))[0]
    return int(chance.random() * longest * S)


if __name__ == "__main__":
    node.main(Turns)
