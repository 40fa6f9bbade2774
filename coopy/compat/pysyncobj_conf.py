"""The options of PySyncObj, what they mean here, and its numbers and exceptions.

Names, defaults and rules are those of PySyncObj 0.3.2 to 0.3.17 (https://github.com/bakwc/PySyncObj, its API pages). An option that can mean
nothing here is in `WITHOUT_EFFECT`, with the reason; a program that sets it is warned once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


class FAIL_REASON:
    """How a command has ended: what a callback is given, and `SyncObjException.errorCode`."""

    SUCCESS = 0
    """It was applied."""
    QUEUE_FULL = 1
    """As many commands wait as ``commandsQueueSize`` lets. Nothing was recorded."""
    MISSING_LEADER = 2
    """No node leads, or no majority answers. Nothing was recorded."""
    DISCARDED = 3
    """The object was destroyed before the command was sent. Nothing was recorded."""
    NOT_LEADER = 4
    """This node can't do it: it only reads, or does not lead. Nothing was recorded."""
    LEADER_CHANGED = 5
    """Never given: what was sent to a node that leads no more is sent again, and applied once."""
    REQUEST_DENIED = 6
    """It was refused, or the method has raised; the log says why."""
    UNKNOWN_OUTCOME = 7
    """It is applied once or never, and nobody can say which yet."""


class SERIALIZER_STATE:
    """What a ``serializeChecker`` returns."""

    NOT_SERIALIZING = 0
    """Nothing is being written."""
    SERIALIZING = 1
    """It is being written."""
    SUCCESS = 2
    """It was written; said once."""
    FAILED = 3
    """It could not be written; said once."""


class _RAFT_STATE:
    """What ``onStateChanged`` is given."""

    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2


class SyncObjException(Exception):
    """A command could not be carried out. ``errorCode`` is a `FAIL_REASON`, 'Timeout' or 'BindError'."""

    def __init__(self, errorCode: Any, *args: Any) -> None:
        super().__init__(errorCode, *args)
        self.errorCode = errorCode


class TransportNotReadyError(Exception):
    """The node can't listen at its address."""


class NoEffect(UserWarning):
    """An option, or an argument, of PySyncObj has no effect here. The message says why. Each is told once."""


_DEFAULTS: dict[str, Any] = {
    "password": None,
    "autoTick": True,
    "autoTickPeriod": 0.05,
    "commandsQueueSize": 100000,
    "raftMinTimeout": 0.4,
    "raftMaxTimeout": 1.4,
    "appendEntriesPeriod": 0.1,
    "connectionTimeout": 3.5,
    "connectionRetryTime": 5.0,
    "leaderFallbackTimeout": 30.0,
    "appendEntriesUseBatch": True,
    "appendEntriesBatchSizeBytes": 65536,
    "bindAddress": None,
    "preferredAddrType": "ipv4",
    "sendBufferSize": 65536,
    "recvBufferSize": 65536,
    "dnsCacheTime": 600.0,
    "dnsFailCacheTime": 30.0,
    "logCompactionMinEntries": 5000,
    "logCompactionMinTime": 300,
    "logCompactionSplit": False,
    "logCompactionBatchSize": 65536,
    "commandsWaitLeader": True,
    "fullDumpFile": None,
    "journalFile": None,
    "bindRetryTime": 1.0,
    "maxBindRetries": 0,
    "onReady": None,
    "onStateChanged": None,
    "dynamicMembershipChange": False,
    "pollerType": "auto",
    "useFork": True,
    "serializer": None,
    "serializeChecker": None,
    "deserializer": None,
    "onCodeVersionChanged": None,
    "tcp_keepalive": (16, 3, 5),
}

_OF_THE_SERVERS = "the nodes' servers agree on who leads in a time of their own"
WITHOUT_EFFECT: dict[str, str] = {
    "raftMinTimeout": _OF_THE_SERVERS,
    "raftMaxTimeout": _OF_THE_SERVERS,
    "appendEntriesPeriod": _OF_THE_SERVERS,
    "leaderFallbackTimeout": _OF_THE_SERVERS,
    "connectionTimeout": "a connection is asked for a sign of life every 3 s",
    "connectionRetryTime": "a connection that is lost is tried again after 0.2 s",
    "appendEntriesUseBatch": "commands gather only while the batch before them is on its way, so one alone never waits for others",
    "appendEntriesBatchSizeBytes": "a batch holds up to 1 MB, or 4,096 commands",
    "bindAddress": "a node listens at the address that the others know it by",
    "preferredAddrType": "give the address itself in place of a name",
    "sendBufferSize": "the operating system sizes the buffers",
    "recvBufferSize": "the operating system sizes the buffers",
    "dnsCacheTime": "the operating system looks names up, and keeps them",
    "dnsFailCacheTime": "the operating system looks names up, and keeps them",
    "logCompactionBatchSize": "a snapshot is sent to another node in pieces of 512 KiB",
    "pollerType": "asyncio chooses how it waits for connections",
    "deserializer": "the state comes from the node's own journal and snapshots, which nobody else has to read",
    "tcp_keepalive": "a connection is asked for a sign of life every 3 s",
    "transport": "the nodes talk through nats-server",
    "transportClass": "the nodes talk through nats-server",
}
"""Options, and arguments of `SyncObj`, that mean nothing here, and why."""

_told: set[str] = set()


def tell_of_no_effect(name: str, what: object) -> None:
    """Warns that an option means nothing here, unless this process was told of it."""
    if name not in _told:
        _told.add(name)
        warnings.warn(NoEffect(f"{name}={what!r} has no effect in coopy: {WITHOUT_EFFECT[name]}."), stacklevel=2)


def _is_keepalive(value: Any) -> bool:
    return value is None or (
        isinstance(value, tuple) and len(value) == 3 and all(isinstance(each, int) and each > 0 for each in value)
    )


_RULES: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("autoTickPeriod must be more than 0", lambda conf: conf.autoTickPeriod > 0),
    ("commandsQueueSize must be at least 0", lambda conf: conf.commandsQueueSize >= 0),
    (
        "raftMinTimeout must be more than three times appendEntriesPeriod",
        lambda conf: conf.raftMinTimeout > conf.appendEntriesPeriod * 3,
    ),
    ("raftMaxTimeout must be more than raftMinTimeout", lambda conf: conf.raftMaxTimeout > conf.raftMinTimeout),
    ("appendEntriesPeriod must be more than 0", lambda conf: conf.appendEntriesPeriod > 0),
    (
        "leaderFallbackTimeout must be more than appendEntriesPeriod",
        lambda conf: conf.leaderFallbackTimeout > conf.appendEntriesPeriod,
    ),
    ("connectionTimeout must be at least raftMaxTimeout", lambda conf: conf.connectionTimeout >= conf.raftMaxTimeout),
    ("connectionRetryTime must be at least 0", lambda conf: conf.connectionRetryTime >= 0),
    ("appendEntriesBatchSizeBytes must be more than 0", lambda conf: conf.appendEntriesBatchSizeBytes > 0),
    ("sendBufferSize must be more than 0", lambda conf: conf.sendBufferSize > 0),
    ("recvBufferSize must be more than 0", lambda conf: conf.recvBufferSize > 0),
    ("dnsCacheTime must be at least 0", lambda conf: conf.dnsCacheTime >= 0),
    ("dnsFailCacheTime must be at least 0", lambda conf: conf.dnsFailCacheTime >= 0),
    ("logCompactionMinEntries must be at least 2", lambda conf: conf.logCompactionMinEntries >= 2),
    ("logCompactionMinTime must be more than 0", lambda conf: conf.logCompactionMinTime > 0),
    ("logCompactionBatchSize must be more than 0", lambda conf: conf.logCompactionBatchSize > 0),
    ("bindRetryTime must be more than 0", lambda conf: conf.bindRetryTime > 0),
    (
        "serializer and deserializer must both be given, or neither",
        lambda conf: (conf.serializer is None) == (conf.deserializer is None),
    ),
    ("a serializer needs a fullDumpFile", lambda conf: conf.serializer is None or conf.fullDumpFile is not None),
    ("preferredAddrType must be 'ipv4', 'ipv6' or None", lambda conf: conf.preferredAddrType in ("ipv4", "ipv6", None)),
    (
        "tcp_keepalive must be None, or a tuple of three whole numbers more than 0",
        lambda conf: _is_keepalive(conf.tcp_keepalive),
    ),
)


class SyncObjConf:
    """The options of a `SyncObj`; PySyncObj's names and defaults. docs/guides/from-pysyncobj.md says what each does here.

    >>> conf = SyncObjConf(autoTick=False, fullDumpFile="counter.dump")
    >>> conf.commandsQueueSize, conf.logCompactionMinTime
    (100000, 300)
    >>> SyncObjConf(raftMinTimeout=0.2).validate()
    Traceback (most recent call last):
        ...
    AssertionError: raftMinTimeout must be more than three times appendEntriesPeriod
    """

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update({name: kwargs.get(name, default) for name, default in _DEFAULTS.items()})

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"SyncObjConf has no option {name!r}")

    def validate(self) -> None:
        """Raises AssertionError, with the rule that is broken, if the options don't fit together."""
        for rule, holds in _RULES:
            if not holds(self):
                raise AssertionError(rule)

    def tell_of_no_effect(self) -> None:
        """Warns, once each, of the options that were changed and mean nothing here."""
        for name, default in _DEFAULTS.items():
            if name in WITHOUT_EFFECT and getattr(self, name) != default:
                tell_of_no_effect(name, getattr(self, name))
