"""PyDistributed's queue: a broker, two processes with a worker each, and a client that waits for each answer.

python queue_of_messages.py [MESSAGES]
"""

from __future__ import annotations

import multiprocessing
import os
import sys

import coopy.compat.pydistributed as pydistributed

MESSAGES = int(sys.argv[1]) if len(sys.argv) > 1 else 20


def square(message: int) -> tuple[int, int]:
    return message * message, os.getpid()


def service_worker() -> None:
    worker = pydistributed.QueueWorker(square)
    worker.start()
    worker.join()


try:
    broker = pydistributed.QueueBroker()
    broker.start()
    workers = [multiprocessing.Process(target=service_worker, daemon=True) for _ in range(2)]
    for each in workers:
        each.start()
    client = pydistributed.QueueClient()
    found = [client.publish(number) for number in range(MESSAGES)]
    assert [value for value, _ in found] == [number * number for number in range(MESSAGES)]
    print("answered by", len({pid for _, pid in found}), flush=True)
    client.shutdown()
    for each in workers:
        each.terminate()
        each.join()
finally:
    broker.shutdown()
