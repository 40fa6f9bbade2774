"""Makes a data directory of today's out of one that an old release wrote; see `coopy.tools.legacy`."""

from __future__ import annotations

import errno
import os
import shutil
from typing import Any

from coopy import CoopyError, JournalError, UsageError, control
from coopy.disk.fs import Calls
from coopy.ground import paths
from coopy.ground.raised import on_failure
from coopy.opening import in_directory, open_for_tool
from coopy.spine.replay import Progress
from coopy.tools.legacy import Imported, restore_legacy

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

    Raises what `restore_legacy` and `coopy.init_system` raise; `UsageError` if ``new`` cannot be used; `JournalError` if the disk
    refused: then there is no ``new`` that was not there before, unless the error says so.
    """
    new, old = paths.absolute(new, "new"), paths.absolute(old, "old")
    try:
        return _imported(cls, old, new, progress)
    except JournalError as error:
        # It is about the directory beside ``new``, which is gone.
        code = error.errno or errno.EIO
        raise paths.refusal(OSError(code, os.strerror(code)), new, _state(new)) from error
    except CoopyError:
        raise
    except OSError as error:
        raise paths.refusal(error, new, _state(new)) from error


def _state(new: str) -> str:
    """What there is after an import that failed."""
    try:
        if not paths.exists(new) or not os.listdir(new):
            return "Nothing was imported."
    except OSError:
        pass
    return (
        "Nothing was imported that can be relied on: what is there may not last. Free the cause, remove it, and import again."
    )


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
    stage = made = new + STAGE
    # Nothing else may be removed if it fails: what can't be seen may be there.
    while not paths.exists(above := os.path.dirname(made)):
        if above == made:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), above)
        made = above
    shutil.rmtree(stage, ignore_errors=True)  # Of an import that was killed.
    with on_failure(shutil.rmtree, made, True):
        control(open_for_tool("import_directory", in_directory, domain, stage)).close()
        was_there = paths.exists(new)
        os.rename(stage, new)
        with on_failure(_take_back, stage, new, was_there):
            for path in (os.path.dirname(new), os.path.dirname(made)):
                Calls().sync_directory(path)


def _take_back(stage: str, new: str, was_there: bool) -> None:
    """Gives a system that may not last its first name again, to be removed."""
    os.rename(new, stage)
    if was_there:
        os.mkdir(new)
