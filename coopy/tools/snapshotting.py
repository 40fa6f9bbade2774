"""Keeps the state of a system that is not open in a snapshot."""

from __future__ import annotations

from coopy.control import control
from coopy.opening import open_as
from coopy.options import Settings
from coopy.system import System


def snapshot(basedir: str, cls: type) -> int:
    """Opens the system, takes a snapshot, and closes it. Returns its index. Raises what `coopy.init_system` raises.

    Effects that wait are not carried out: they wait for the program whose they are.
    """
    with control(open_as(_WithoutEffects, cls, basedir, Settings.of("snapshot", {"validation": "off"}))) as controls:
        return controls.take_snapshot()


class _WithoutEffects(System):
    def _delivers(self) -> bool:
        return False
