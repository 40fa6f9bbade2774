"""A process that only looks: one of coopy's own tools, which imports a user's module for its class.

What such a module does when it is imported is the user's: many open their system there. A tool says once, for as long as its
process lives, that it only looks, and the doors that open systems ask here: also those that a thread goes through that the
module has started, and those of modules that are imported later, for what is stored.
"""

from __future__ import annotations

import os
import sys

from coopy.errors import OnlyLooking

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_tool = ""


def only(tool: str) -> None:
    """From now on this process opens no system by the doors of users. ``tool`` is what it is called."""
    global _tool
    _tool = tool


def no_more() -> None:
    """From now on this process opens systems: a tool that serves one of coopy's own classes, and imports nothing of a user's."""
    global _tool
    _tool = ""


def refuse(door: str) -> None:
    """Refuses to open a system if this process only looks. Raises `OnlyLooking`."""
    if _tool:
        raise OnlyLooking(_tool, door, *_caller())


def _caller() -> tuple[str, int]:
    """File and line of who came to the door."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
