"""The example of PyDistributed's key-value store: four processes that set and get, each its own key. Only the import is another one.

python keyvalue.py [ROUNDS]
"""

from __future__ import annotations

import multiprocessing
import sys
import time

import coopy.compat.pydistributed as pydistributed

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000


def kv_client() -> None:
    client = pydistributed.keyvalue.KeyValueClient()
    client_id = client._client_id
    time.sleep(0.1)
    for count in range(ROUNDS):
        client.set(client_id, count)
        res = client.get(client_id)
        assert count == res
    print("finishing", client_id, flush=True)


try:
    store = pydistributed.keyvalue.KeyValueStore()
    time.sleep(0.2)

    threads = [multiprocessing.Process(target=kv_client) for _ in range(4)]

    for thread in threads:
        thread.start()

    for thread in threads:
        thread.join()
finally:
    store.shutdown()
