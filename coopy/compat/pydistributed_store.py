"""PyDistributed's names of the key-value store and of the queue; `keyvalue` is the module that its README calls so."""

from __future__ import annotations

from coopy.messaging import store_original as keyvalue
from coopy.messaging.queues import QueueBroker, QueueClient, QueueWorker
from coopy.messaging.store_original import *  # noqa: F403

__all__ = ["QueueBroker", "QueueClient", "QueueWorker", "keyvalue"]
__all__ += keyvalue.__all__
