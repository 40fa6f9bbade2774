"""coopy: one line makes a plain Python object survive.

wiki = init_system(Wiki, "data")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coopy.clock import clock
from coopy.control import Control, control
from coopy.decorators import abort_exception, action, outside, readonly, transactional, unlocked
from coopy.env import env
from coopy.errors import (
    AuthenticationFailed,
    CallInsideAction,
    ChangedClass,
    ClusterError,
    CoopyError,
    DamagedJournal,
    DamagedLine,
    DamagedManifest,
    DamagedSnapshot,
    DecodingError,
    DirectoryInUse,
    Diverged,
    EncodingError,
    ForeignDirectory,
    JournalError,
    LockLost,
    MissingActions,
    MissingMethod,
    NotAMember,
    NotHeld,
    OnlyLooking,
    OutcomeUnknown,
    PrevalentError,
    PrunedPast,
    Quarantined,
    ReadOnlyNode,
    RemoteError,
    ReplayDiverged,
    ReplayError,
    ServerError,
    SnapshotError,
    StateChanged,
    StateDiverged,
    StorageError,
    SystemClosed,
    Unavailable,
    Unreadable,
    UnsupportedFormat,
    UsageError,
)
from coopy.ground.ondemand import loading, module_of
from coopy.ground.running import action_index, replaying
from coopy.objects.entry import objects

if TYPE_CHECKING:
    from coopy.ground.log import LiveOnly
    from coopy.objects.opened import Objects
    from coopy.opening import connect, init_persistent_system, init_system
    from coopy.past.reading import replay
    from coopy.spine.effects import effect_id, on_commit
    from coopy.spine.facts import listeners, tell
    from coopy.spine.versions import code_version
    from coopy.system import close_all, opened
    from coopy.values.entities import entity

    open = init_system

__version__ = "0.8.0"

__all__ = [
    "AuthenticationFailed",
    "CallInsideAction",
    "ChangedClass",
    "ClusterError",
    "Control",
    "CoopyError",
    "DamagedJournal",
    "DamagedLine",
    "DamagedManifest",
    "DamagedSnapshot",
    "DecodingError",
    "DirectoryInUse",
    "Diverged",
    "EncodingError",
    "ForeignDirectory",
    "JournalError",
    "LiveOnly",
    "LockLost",
    "MissingActions",
    "MissingMethod",
    "NotAMember",
    "NotHeld",
    "Objects",
    "OnlyLooking",
    "OutcomeUnknown",
    "PrevalentError",
    "PrunedPast",
    "Quarantined",
    "ReadOnlyNode",
    "RemoteError",
    "ReplayDiverged",
    "ReplayError",
    "ServerError",
    "SnapshotError",
    "StateChanged",
    "StateDiverged",
    "StorageError",
    "SystemClosed",
    "Unavailable",
    "Unreadable",
    "UnsupportedFormat",
    "UsageError",
    "abort_exception",
    "action",
    "action_index",
    "clock",
    "close_all",
    "code_version",
    "connect",
    "control",
    "effect_id",
    "entity",
    "env",
    "init_persistent_system",
    "init_system",
    "listeners",
    "objects",
    "on_commit",
    "opened",
    "outside",
    "readonly",
    "replay",
    "replaying",
    "tell",
    "transactional",
    "unlocked",
]

_MODULES = {
    "ground.log": "LiveOnly",
    "objects.opened": "Objects",
    "opening": "connect init_persistent_system init_system",
    "past.reading": "replay",
    "spine.effects": "effect_id on_commit",
    "spine.facts": "listeners tell",
    "spine.versions": "code_version",
    "system": "close_all opened",
    "values.entities": "entity",
}
"""What is loaded when it is first asked for, and from where. A test compares it with what type checkers are told above."""
_MODULE_OF = module_of(_MODULES)

if not TYPE_CHECKING:  # A type checker would take any name for one that is there.

    def __getattr__(name: str) -> Any:
        """Loads the module that has the name: a program that defines a class does not need what opens a system."""
        return loading(globals(), _MODULE_OF)("init_system" if name == "open" else name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "open"})
