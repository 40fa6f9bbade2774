"""PyDistributed's event source: one run writes events, and the next one reads them again from the first one.

python replay_of_events.py write | replay
"""

from __future__ import annotations

import sys

import coopy.compat.pydistributed as pydistributed

source = pydistributed.EventSource("logs")
if sys.argv[1] == "write":
    for number in range(100):
        source.write(b"event %d" % number)
events = source.get_batch(0, 100)
assert [event.offset for event in events] == list(range(100))
print("replayed", len(events), events[0].data, events[99].data, source.get(50).data, flush=True)
