"""A process of the real campaign that asks an elector: takes turns with a lock, and tells a record.

campaign_client.py SOCKET WHO URI LOCK TTL
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sync.campaign_node import PAUSE_S, how_long_ns
from sync.record import S, Teller, now_ns

from coopy.compat import metaparticle
from coopy.sync import boot


def main() -> None:
    path, who, uri, name, ttl_s = sys.argv[1:]
    teller, chance = Teller(path, who), random.Random()
    metaparticle.POLL_S = 1.0
    lock = metaparticle.Lock(name.replace(" ", "-"), uri, lock_lost_callback=lambda: None)

    def told(what: str, token: int | None) -> bool:
        first_ns = now_ns()
        if token is None or lock.token != token:
            return False
        hold = lock._hold
        if hold is None:
            return False
        left_ns = round(hold.until_s * S) - boot.now_ns()
        teller.say(what, lock=name, token=token, first_ns=first_ns, last_ns=now_ns(), until_ns=first_ns + left_ns)
        return True

    while True:
        time.sleep(chance.expovariate(1) * PAUSE_S)
        teller.say("asks", lock=name, at_ns=now_ns())
        try:
            lock.acquire()
        except (OSError, RuntimeError) as error:
            teller.say("fails", lock=name, why=type(error).__name__)
            continue
        token = lock.token
        if not told("got", token):
            teller.say("fails", lock=name, why="lost at once")
            continue
        until_ns, has = now_ns() + how_long_ns(chance, float(ttl_s)), True
        while has and now_ns() < until_ns:
            time.sleep(chance.uniform(0.02, 0.1))
            has = told("acts", token)
        if has:
            teller.say("releases", lock=name, token=token, at_ns=now_ns())
        try:
            lock.release()
        except RuntimeError:
            has = False
        if not has:
            teller.say("lost", lock=name, token=token, at_ns=now_ns())


if __name__ == "__main__":
    main()
