"""Paths that callers name, what lies there, and what to raise for what the operating system refuses there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from coopy.errors import CoopyError, JournalError, Unreadable, UsageError
from coopy.ground.words import shown

_RIGHTS = "See to it that this user may enter the directory, and read and write what is in it."
_FILES = "Close files, or raise the limit (ulimit -n)."
_ROOM = "Make room on the disk."
_ADVICE = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "To be read it need not be opened: coopy.replay(cls, basedir).",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "A link in the path leads back to itself. Choose another path.",
    errno.ENOTDIR: "A part of the path is a file. Choose another path.",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
}


def absolute(basedir: str | os.PathLike[str], name: str = "basedir") -> str:
    """The absolute path of what a caller named, in the argument ``name``. Raises `UsageError`."""
    path = os.fspath(basedir) if isinstance(basedir, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise UsageError(f"{name}={shown(basedir)}: must be the path of a directory, as text or a path object")
    if not path:
        raise UsageError(f"{name}={shown(basedir)}: is no path. Nothing was opened. The current directory is '.'.")
    if path.startswith("~"):
        whole = os.path.expanduser(path)
        meant = f"os.path.expanduser({path!r})" + (f", which is {whole!r} here" if whole != path else "")
        raise UsageError(
            f"{name}={shown(basedir)}: Python leaves the ~ as it is, and that would be a directory of that name in the current one. "
            f"Nothing was opened. Give {meant}, or {os.path.join('.', path)!r} if that is what is meant."
        )
    try:
        if b"\0" in os.fsencode(path):
            raise UsageError(f"{name}={shown(basedir)}: has a NUL in it, which no path has. Nothing was opened.")
        return os.path.abspath(path)
    except UnicodeEncodeError:
        raise UsageError(f"{name}={shown(basedir)}: has characters that no path has here. Nothing was opened.") from None
    except OSError as error:
        raise UsageError(
            f"{name}={shown(basedir)}: is seen from the current directory, which is not there any more ({error.strerror}). "
            f"Nothing was opened. Give the whole path."
        ) from None


def refusal(error: OSError, path: str, state: str) -> JournalError:
    """What to raise for what the operating system has refused: where, what ``state`` things are in, and what to do."""
    return JournalError(error.errno, _told(error, state), _place(error, path))


@contextmanager
def reads(path: str) -> Iterator[None]:
    """Raises `Unreadable` for what the operating system refuses inside; what is written to a pipe is no such thing."""
    try:
        yield
    except (CoopyError, BrokenPipeError):
        raise
    except OSError as error:
        raise Unreadable(error.errno, _told(error, "It was not read, and nothing was changed."), _place(error, path)) from error


@contextmanager
def writes(path: str, state: str) -> Iterator[None]:
    """Raises `JournalError` for what the operating system refuses inside."""
    try:
        yield
    except (CoopyError, BrokenPipeError):
        raise
    except OSError as error:
        raise refusal(error, path, state) from error


def _told(error: OSError, state: str) -> str:
    advice = _ADVICE.get(error.errno or 0, "")
    return f"{error.strerror or error}. {state}{advice and ' '}{advice}"


def _place(error: OSError, path: str) -> str:
    """The file that it is about, if the error says which."""
    return error.filename if isinstance(error.filename, str) and error.filename else path


def exists(path: str) -> bool:
    """Whether anything has this name, be it a link to nowhere. Raises OSError where that can't be told.

    os.path.exists() and os.path.lexists() say no where nobody can tell.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_file(path: str) -> bool:
    """Whether this is a file, or a link to one. Raises OSError where that can't be told, and FileNotFoundError where nothing is.

    os.path.isfile() says no where nobody can tell, and what is there would be called damaged, or missing.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        # A link to nowhere is there; or somebody has made a file meanwhile.
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def is_directory(path: str) -> bool:
    """Whether this is a directory, or a link to one. Raises OSError where that can't be told."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def refuse_missing(path: str) -> None:
    """Raises `UsageError` where there is no directory, `Unreadable` where that can't be seen."""
    with reads(path):
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{path}: there is no such directory. Nothing was changed.") from None
    if not stat.S_ISDIR(mode):
        raise UsageError(f"{path} is not a directory, or a link to one. Nothing was changed.")
