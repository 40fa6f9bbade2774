"""Many small objects, each with a key, on one log: "durable objects" on one's own machine.

    rooms = coopy.objects(Room, "data")
    rooms["42"].say("ann", "hi")

`entry` is the door, and `opening` opens them; `opened` is the mapping that users have, and `handles` what they call methods on; `past` tells what an object was; `engine` takes a call through; `asking` has what an action may ask for,
and `carrying` has effects carried out; `poison` knows who ends the process; `reading` opens a directory to read it;
`kind` has what a class has once and what an object has; `table` which keys there are; `store` keeps records. What is written is told in
`coopy.ground.keyed`. docs/guides/objects.md is for users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coopy.ground.ondemand import loading, module_of

if TYPE_CHECKING:
    from coopy.objects.asking import alarm, cancel_alarm, tell
    from coopy.objects.entry import objects
    from coopy.objects.opened import Objects
    from coopy.objects.opening import in_memory

__all__ = ["Objects", "alarm", "cancel_alarm", "in_memory", "objects", "tell"]

_MODULES = {"asking": "alarm cancel_alarm tell", "entry": "objects", "opened": "Objects", "opening": "in_memory"}
"""What each module has to give. A test compares it with what type checkers are told above."""
_MODULE_OF = module_of(_MODULES)

if not TYPE_CHECKING:  # A type checker would take any name for one that is there.
    # This package is loaded wherever coopy is, and most programs have no objects.
    __getattr__ = loading(globals(), _MODULE_OF)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULE_OF})
