"""Keeps the state of a system that is not open in a snapshot."""

from __future__ import annotations

from typing import Any

from coopy.control import control
from coopy.opening import open_as
from coopy.options import Settings
from coopy.place import DirectoryPlace
from coopy.system import System


def snapshot(basedir: str, cls: type) -> int:
    """Opens the system, takes a snapshot, and closes it. Returns its index. Raises what `coopy.init_system` raises.

    Effects that wait are not carried out: they wait for the program whose they are.
    """
    with control(open_as(_without_effects, cls, basedir, Settings.of("snapshot", {"validation": "off"}))) as controls:
        return controls.take_snapshot()


def _without_effects(obj: Any, basedir: str, settings: Settings) -> System:
    return System(obj, DirectoryPlace(basedir, obj, settings, is_quiet=True), settings)
