"""An exception as another process is told of it: by itself if it can be encoded and decoded, and always by its name and its text.

It arrives with its notes, its cause and its context, each told in the same way, and without its traceback: frames stay where they are.
Of what can't be had as itself a `RemoteError` is made, which has the text of that traceback.
"""

from __future__ import annotations

from typing import Any

from coopy.errors import RemoteError
from coopy.ground.raised import or_none
from coopy.replication.parcels import said
from coopy.spine.calling import INSIDE
from coopy.values.alone import decoded_by
from coopy.values.codec import Codec

CHAIN_MAX = 10
"""So many causes and contexts of an exception are told of."""

Told = tuple[str, str, str, bytes | None, tuple[str, ...], Any, Any, bool]
"""Its name, its text, its traceback, itself encoded, its notes, what is told of its cause and of its context, and whether that is suppressed."""


def told(codec: Codec, error: BaseException, depth: int = 0) -> Told:
    """Returns what another process is told of an exception: plain scalars and tuples."""
    itself = or_none(said, codec, error)
    chained = [
        told(codec, each, depth + 1) if each is not None and depth < CHAIN_MAX else None
        for each in (error.__cause__, error.__context__)
    ]
    notes = tuple(str(each) for each in getattr(error, "__notes__", ()))
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return kind, or_none(str, error) or "", _frames_of(error), itself, notes, chained[0], chained[1], error.__suppress_context__


def raised(codec: Codec, told: Any) -> BaseException:
    """Returns the exception that was told of."""
    kind, text, trace, itself, notes, cause, context, is_suppressed = told
    found = or_none(_itself, codec, itself, kind) if itself is not None else None
    if found is None:
        found = RemoteError(kind, text, trace)
    if list(notes) != list(getattr(found, "__notes__", ())):
        found.__notes__ = list(notes)  # type: ignore[attr-defined]
    found.__cause__ = raised(codec, cause) if cause is not None else None
    found.__context__ = raised(codec, context) if context is not None else None
    found.__suppress_context__ = is_suppressed
    return found


def _itself(codec: Codec, itself: bytes, kind: str) -> BaseException | None:
    found = decoded_by(codec, itself)[1][0]
    named = f"{type(found).__module__}.{type(found).__qualname__}"
    return found if isinstance(found, BaseException) and named.split(".")[-1] == kind.split(".")[-1] else None


def _frames_of(error: BaseException) -> str:
    """Returns the traceback as text, without the lines of source, which would have to be read, and without our frames."""
    lines, trace = ["Traceback (most recent call last):"], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if INSIDE not in trace.tb_frame.f_globals:
            lines.append(f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}')
        trace = trace.tb_next
    return "\n".join(lines)
