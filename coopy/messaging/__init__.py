"""Tasks, messages, keys and events: what programs tell one another, kept by systems of coopy.

A `TaskQueue`, a `Bus`, a `KeyValueStore` and an `EventSource` stand on the names that everybody may use: each is a system, or
several, and what is true of systems is true of them. Few programs need more than one of the four, so each name is loaded when it is first
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coopy.ground.ondemand import loading, module_of

if TYPE_CHECKING:
    from coopy.messaging.bus import Bus, Message, Missed, Service, Subscription
    from coopy.messaging.bus_aio import AsyncBus
    from coopy.messaging.bus_files import stream_from_file, stream_to_file
    from coopy.messaging.bus_original import Hub, HubClient, MessageBusBroker, MessageBusClient, Proxy, Publisher, Subscriber
    from coopy.messaging.events import EventSource
    from coopy.messaging.events_aio import AsyncEventSource
    from coopy.messaging.events_kinds import (
        ANY,
        NONE,
        AlreadyAppended,
        AppendConflict,
        Appended,
        CouldNotFindOffset,
        Event,
        ForeignPosition,
        LogSizeExceeded,
        NewEvent,
        NotAppended,
        OffsetMissingInIndex,
        OffsetTooOld,
        Position,
        Removed,
        Retained,
    )
    from coopy.messaging.events_projection import Projection
    from coopy.messaging.queues import QueueBroker, QueueClient, QueueWorker
    from coopy.messaging.store import KeyValueClient, KeyValueStore
    from coopy.messaging.store_aio import AsyncKeyValueClient
    from coopy.messaging.store_draft import Draft
    from coopy.messaging.store_feed import Feed
    from coopy.messaging.store_original import Exception as Exception
    from coopy.messaging.store_original import (
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
    from coopy.messaging.store_state import ABSENT, Conflict, Keys, MissingKey, Outcome, Version
    from coopy.messaging.task_errors import DeadlinePassed, NoSuchTask, Retry, TaskCancelled, TaskCrashed, TaskError
    from coopy.messaging.task_policy import Backoff
    from coopy.messaging.task_run import TaskRun, current_task
    from coopy.messaging.task_state import Tasks
    from coopy.messaging.task_worker import TaskWorker
    from coopy.messaging.tasks import Task, TaskHandle, TaskQueue

__all__ = [
    "ABSENT",
    "ANY",
    "AlreadyAppended",
    "AppendConflict",
    "Appended",
    "AsyncBus",
    "AsyncEventSource",
    "AsyncKeyValueClient",
    "Backoff",
    "Bus",
    "Conflict",
    "CouldNotFindOffset",
    "DeadlinePassed",
    "Draft",
    "Event",
    "EventSource",
    "ExceptionAction",
    "Feed",
    "ForeignPosition",
    "Get",
    "GetAction",
    "GetException",
    "GetExceptionAction",
    "GetResult",
    "GetResultAction",
    "Hub",
    "HubClient",
    "KeyValueClient",
    "KeyValueStore",
    "Keys",
    "LogSizeExceeded",
    "Message",
    "MessageBusBroker",
    "MessageBusClient",
    "Missed",
    "MissingKey",
    "NONE",
    "NewEvent",
    "NoSuchTask",
    "NotAppended",
    "OffsetMissingInIndex",
    "OffsetTooOld",
    "Outcome",
    "Position",
    "Projection",
    "Proxy",
    "Publisher",
    "QueueBroker",
    "QueueClient",
    "QueueWorker",
    "Removed",
    "Retained",
    "Retry",
    "Service",
    "Set",
    "SetAction",
    "SetException",
    "SetExceptionAction",
    "SetResult",
    "SetResultAction",
    "Subscribe",
    "SubscribeAction",
    "Subscriber",
    "Subscription",
    "Task",
    "TaskCancelled",
    "TaskCrashed",
    "TaskError",
    "TaskHandle",
    "TaskQueue",
    "TaskRun",
    "TaskWorker",
    "Tasks",
    "Unsubscribe",
    "UnsubscribeAction",
    "Version",
    "current_task",
    "stream_from_file",
    "stream_to_file",
]

_MODULES = {
    "bus": "Bus Message Missed Service Subscription",
    "bus_aio": "AsyncBus",
    "bus_files": "stream_from_file stream_to_file",
    "bus_original": "Hub HubClient MessageBusBroker MessageBusClient Proxy Publisher Subscriber",
    "events": "EventSource",
    "events_aio": "AsyncEventSource",
    "events_kinds": (
        "ANY NONE AlreadyAppended AppendConflict Appended CouldNotFindOffset Event ForeignPosition "
        "LogSizeExceeded NewEvent NotAppended OffsetMissingInIndex OffsetTooOld Position Removed Retained"
    ),
    "events_projection": "Projection",
    "queues": "QueueBroker QueueClient QueueWorker",
    "store": "KeyValueClient KeyValueStore",
    "store_aio": "AsyncKeyValueClient",
    "store_draft": "Draft",
    "store_feed": "Feed",
    "store_original": (
        "Exception ExceptionAction Get GetAction GetException GetExceptionAction GetResult GetResultAction "
        "Set SetAction SetException SetExceptionAction SetResult SetResultAction Subscribe SubscribeAction "
        "Unsubscribe UnsubscribeAction"
    ),
    "store_state": "ABSENT Conflict Keys MissingKey Outcome Version",
    "task_errors": "DeadlinePassed NoSuchTask Retry TaskCancelled TaskCrashed TaskError",
    "task_policy": "Backoff",
    "task_run": "TaskRun current_task",
    "task_state": "Tasks",
    "task_worker": "TaskWorker",
    "tasks": "Task TaskHandle TaskQueue",
}
"""What each module has to give. A test compares it with what type checkers are told above."""
_MODULE_OF = module_of(_MODULES)

if not TYPE_CHECKING:  # A type checker would take any name for one that is there.
    __getattr__ = loading(globals(), _MODULE_OF)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULE_OF})
