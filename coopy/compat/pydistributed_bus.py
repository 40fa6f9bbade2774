"""The bus of PyDistributed: its names, with the arguments and defaults that its README gives. What they do is in `coopy.messaging.bus_original`."""

from __future__ import annotations

from coopy.messaging.bus_files import stream_from_file, stream_to_file
from coopy.messaging.bus_original import (
    Hub,
    HubClient,
    MessageBusBroker,
    MessageBusClient,
    Proxy,
    Publisher,
    Subscriber,
)

__all__ = [
    "Hub",
    "HubClient",
    "MessageBusBroker",
    "MessageBusClient",
    "Proxy",
    "Publisher",
    "Subscriber",
    "stream_from_file",
    "stream_to_file",
]
