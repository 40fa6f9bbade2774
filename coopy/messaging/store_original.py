"""PyDistributed's module of this name: the key-value store, and what it is asked and answers."""

from __future__ import annotations

from coopy.messaging.store import KeyValueClient, KeyValueStore
from coopy.messaging.store_actions import (
    Exception as Exception,  # By this name alone: a star import is not to hide the builtin.
)
from coopy.messaging.store_actions import (
    ExceptionAction,
    Get,
    GetAction,
    GetException,
    GetExceptionAction,
    GetResult,
    GetResultAction,
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
    "KeyValueClient",
    "KeyValueStore",
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
]
