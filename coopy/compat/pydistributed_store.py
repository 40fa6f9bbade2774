"""PyDistributed's names of the key-value store and of the queue; `keyvalue` is the module that its README calls so."""

from __future__ import annotations

from coopy.messaging import store_original as keyvalue
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
