"""PyDistributed's names of the event source."""

from __future__ import annotations

from coopy.messaging import CouldNotFindOffset, Event, EventSource, LogSizeExceeded, OffsetMissingInIndex

__all__ = ["CouldNotFindOffset", "Event", "EventSource", "LogSizeExceeded", "OffsetMissingInIndex"]
