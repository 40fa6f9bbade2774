"""The example of PyDistributed's message bus: two processes that answer each other. Only the import is another one, and it ends.

python ping_pong.py [ROUNDS]
"""

from __future__ import annotations

import multiprocessing
import sys
import time

import coopy.compat.pydistributed as pydistributed

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5


def service_ping() -> None:
    client = pydistributed.MessageBusClient()
    client.subscribe("pongs")
    time.sleep(0.5)
    for _ in range(ROUNDS):
        client.publish("pings", "ping")
        print("GOT", client.receive(), flush=True)


def service_pong() -> None:
    client = pydistributed.MessageBusClient()
    client.subscribe("pings")
    time.sleep(0.5)
    for _ in range(ROUNDS):
        print("GOT", client.receive(), flush=True)
        client.publish("pongs", "pong")


try:
    broker = pydistributed.MessageBusBroker()
    broker.start()
    ping = multiprocessing.Process(target=service_ping)
    pong = multiprocessing.Process(target=service_pong)
    ping.start()
    pong.start()
    ping.join()
    pong.join()
finally:
    broker.shutdown()
