"""Names of the files in a data directory."""

from __future__ import annotations

import os
import re

_SEGMENT = re.compile(r"transaction_(\d{15,})\.log\Z")
_SNAPSHOT = re.compile(r"snapshot_(\d{15,})\.dat\Z")
TEMPORARY = ".tmp"


def segment_path(directory: str, first: int) -> str:
    """The segment whose first action is ``first``."""
    return os.path.join(directory, f"transaction_{first:015d}.log")


def snapshot_path(directory: str, index: int) -> str:
    """The snapshot of the state at ``index``."""
    return os.path.join(directory, f"snapshot_{index:015d}.dat")


def segments(names: list[str]) -> list[int]:
    """First indexes of the segments among names, in order."""
    return sorted(int(found[1]) for found in map(_SEGMENT.match, names) if found)


def snapshots(names: list[str]) -> list[int]:
    """Indexes of the snapshots among names, in order."""
    return sorted(int(found[1]) for found in map(_SNAPSHOT.match, names) if found)
