"""Who asks for the time or for chance: code of the user's in an action, or anything else.

What is answered is not here: see `coopy.determinism.answers`.
"""

from __future__ import annotations

import os
import sys
from types import FrameType

from coopy.ground.running import Moment, current


def leave_out(*packages: str) -> None:
    """Treats code of these packages as the standard library's: it goes on asking the machine.

    For what measures or reports and leaves nothing in the state: metrics, tracing, a logger.
    """
    _LEFT_OUT.update(packages)
    _theirs_by_name.clear()


_LEFT_OUT = {"coopy"}
_theirs_by_name: dict[object, bool] = {}
_LIBRARY = os.path.dirname(os.__file__) + os.sep
# They ask on behalf of their callers.
_THROUGH = frozenset({"random", "secrets"})


def is_theirs(frame: FrameType) -> bool:
    """Whether a frame runs code that is neither the standard library's nor ours."""
    name = frame.f_globals.get("__name__")
    found = _theirs_by_name.get(name)
    if found is None:
        found = _theirs_by_name[name] = is_module_of_theirs(name)
    return found


def is_module_of_theirs(module: object) -> bool:
    package = module.partition(".")[0] if isinstance(module, str) else ""
    if package in _LEFT_OUT:
        return False
    if package not in sys.stdlib_module_names:
        return True
    # A module of the user's may have the name of one in the standard library.
    file = getattr(sys.modules.get(package), "__file__", None) or _LIBRARY
    return not file.startswith(_LIBRARY) or "-packages" in file


def machine_for(frame: FrameType | None) -> Moment | None:
    """The action that the frame is part of, if it, or whom it asks for, is to be answered from one."""
    machine = current.machine
    if machine is None or not machine.deterministic:
        return None
    while frame is not None and frame.f_globals.get("__name__") in _THROUGH:
        frame = frame.f_back
    return machine if frame is not None and is_theirs(frame) else None
