"""The names of PySyncObj 0.3 (https://github.com/bakwc/PySyncObj): a program goes on with this line in the place of its imports.

    from coopy.compat.pysyncobj import SyncObj, SyncObjConf, replicated, ReplCounter

Everything is there under its name, with its arguments and defaults; what can have no effect here warns once, and says why. What each is in
coopy, and what to do when the program runs, is in docs/guides/from-pysyncobj.md.
"""

from __future__ import annotations

from coopy.compat import pysyncobj_batteries as batteries
from coopy.compat.pysyncobj_admin import TcpUtility, UtilityException
from coopy.compat.pysyncobj_batteries import ReplCounter, ReplDict, ReplList, ReplPriorityQueue, ReplQueue, ReplSet
from coopy.compat.pysyncobj_conf import (
    _RAFT_STATE,
    FAIL_REASON,
    SERIALIZER_STATE,
    NoEffect,
    SyncObjConf,
    SyncObjException,
    TransportNotReadyError,
)
from coopy.compat.pysyncobj_locks import ReplLockManager
from coopy.compat.pysyncobj_member import SyncObjConsumer, replicated, replicated_sync
from coopy.compat.pysyncobj_node import Node, TCPNode
from coopy.compat.pysyncobj_object import SyncObj

__all__ = [
    "FAIL_REASON",
    "SERIALIZER_STATE",
    "_RAFT_STATE",
    "NoEffect",
    "Node",
    "ReplCounter",
    "ReplDict",
    "ReplList",
    "ReplLockManager",
    "ReplPriorityQueue",
    "ReplQueue",
    "ReplSet",
    "SyncObj",
    "SyncObjConf",
    "SyncObjConsumer",
    "SyncObjException",
    "TCPNode",
    "TcpUtility",
    "TransportNotReadyError",
    "UtilityException",
    "batteries",
    "replicated",
    "replicated_sync",
]
