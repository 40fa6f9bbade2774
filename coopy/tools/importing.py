"""Makes a data directory of today's out of one that an old release wrote; see `coopy.legacy`."""

from __future__ import annotations

import os
import shutil
from typing import Any

from coopy import paths
from coopy.errors import UsageError
from coopy.legacy import Imported, restore_legacy
from coopy.replay import Progress
from coopy.opening import init_system
from coopy.system import control

STAGE = ".import.tmp"


def import_directory(
    cls: type,
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    progress: Progress | None = None,
) -> Imported:
    """Makes a new data directory whose snapshot 0 is the state at the end of an old one.

    Time travel inside the new directory begins at the import: what was before it is in the old directory, which
    is only read. ``new`` must not exist, or be empty; it is there as a whole or as it was.

    Raises what `restore_legacy` and `coopy.init_system` raise; `UsageError` if ``new`` cannot be used.
    """
    new, old = paths.absolute(new, "new"), paths.absolute(old, "old")
    with paths.writes(new, "Nothing was imported."):
        return _imported(cls, old, new, progress)


def _imported(cls: type, old: str, new: str, progress: Progress | None) -> Imported:
    if paths.exists(new) and not (paths.is_directory(new) and not os.listdir(new)):
        raise UsageError(f"{new} is there and is not an empty directory. Nothing was changed. Choose another.")
    if os.path.realpath(new).startswith(os.path.realpath(old) + os.sep):
        raise UsageError(f"{new} lies in {old}, which is only read. Nothing was changed. Choose another.")
    domain: Any
    domain, imported = restore_legacy(cls, old, progress)
    _settle(domain, new)
    return imported


def _settle(domain: Any, new: str) -> None:
    """Makes ``new`` a system with that state: beside it, and then under its name."""
    stage = new + STAGE
    made = stage
    # Nothing else may be removed if it fails: what can't be seen may be there.
    while not paths.exists(os.path.dirname(made)):
        made = os.path.dirname(made)
    shutil.rmtree(stage, ignore_errors=True)  # Of an import that was killed.
    try:
        control(init_system(domain, stage, validation="off")).close()
        os.rename(stage, new)
        for path in (os.path.dirname(new), os.path.dirname(made)):
            _sync_directory(path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
