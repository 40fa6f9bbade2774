"""What both proxies do around a call, and what they ask of an engine."""

from __future__ import annotations

from types import TracebackType

from coopy.errors import CoopyError

INSIDE = "__coopy_inside__"
"""The global by which a module says that its frames stand between a caller and a method, and that neither wants to see them."""


def without_our_frames(error: BaseException) -> BaseException:
    """Returns the domain's own exception with the domain's part of its traceback alone; an error of coopy keeps what it has.

    The frames of modules that have the global `INSIDE` are left out up to the first that is not ours.
    """
    if isinstance(error, CoopyError):
        return error
    return error.with_traceback(_behind_ours(error.__traceback__))


def without_catching_frame(error: BaseException) -> BaseException:
    """Returns what `without_our_frames` does; an error of coopy loses the frame that has caught it, whose thread is another one."""
    if isinstance(error, CoopyError):
        traceback = error.__traceback__
        return error.with_traceback(traceback and traceback.tb_next)
    return without_our_frames(error)


def _behind_ours(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and INSIDE in traceback.tb_frame.f_globals:
        traceback = traceback.tb_next
    return traceback
