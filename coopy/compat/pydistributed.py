"""The names of PyDistributed, for programs that were written for it: only the import changes.

    import coopy.compat.pydistributed as pydistributed

What each of them is now, and what was wrong with it, is in docs/guides/from-pydistributed.md.
"""

from __future__ import annotations

# -- the key-value store; `keyvalue` is the module that the original's README calls so
from coopy.messaging import store_original as keyvalue

# -- the queue
from coopy.messaging.queues import QueueBroker, QueueClient, QueueWorker
from coopy.messaging.store_original import Exception as Exception
from coopy.messaging.store_original import (
    ExceptionAction,
    Get,
    GetAction,
    GetException,
    GetExceptionAction,
    GetResult,
    GetResultAction,
    KeyValueClient,
    KeyValueStore,
    Set,
    SetAction,
    SetException,
    SetExceptionAction,
    SetResult,
    SetResultAction,
    Subscribe,
    SubscribeAction,
    Unsubscribe,
    UnsubscribeAction,
)

__all__ = [
    "ExceptionAction",
    "Get",
    "GetAction",
    "GetException",
    "GetExceptionAction",
    "GetResult",
    "GetResultAction",
    "Set",
    "SetAction",
    "SetException",
    "SetExceptionAction",
    "SetResult",
    "SetResultAction",
    "Subscribe",
    "SubscribeAction",
    "Unsubscribe",
    "UnsubscribeAction",
    "KeyValueClient",
    "KeyValueStore",
    "QueueBroker",
    "QueueClient",
    "QueueWorker",
    "keyvalue",
]
