"""Keeps the state of a system that is not open in a snapshot."""

from __future__ import annotations

from functools import partial

from coopy import control
from coopy.opening import in_directory, open_for_tool


def snapshot(basedir: str, cls: type) -> int:
    """Opens the system, takes a snapshot, and closes it. Returns its index. Raises what `coopy.init_system` raises.

    Effects that wait are not carried out: they wait for the program whose they are.
    """
    with control(open_for_tool("snapshot", partial(in_directory, is_quiet=True), cls, basedir)) as controls:
        return controls.take_snapshot()
