"""PyDistributed's event source: events are written, and read again from the first one by another process."""

from __future__ import annotations

import multiprocessing

import coopy.compat.pydistributed as pydistributed


def service_replay() -> None:
    source = pydistributed.EventSource("logs")
    events = source.get_batch(0, 100)
    assert [event.offset for event in events] == list(range(100))
    print("replayed", len(events), events[0].data, events[99].data, source.get(50).data, flush=True)


source = pydistributed.EventSource("logs")
for number in range(100):
    source.write(b"event %d" % number)
replay = multiprocessing.Process(target=service_replay)
replay.start()
replay.join()
