"""What happened: the recorded actions of a log, one by one, for people and tools to read.

Replay does not go this way; it takes actions by the thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from coopy.errors import DecodingError, KeyedRecord, StorageError
from coopy.ground import action
from coopy.ground.storage import Log
from coopy.values.codec import Codec, decode_joined, joined_headers


class Action:
    """One recorded call. ``method`` is None, and ``problem`` says why, if it cannot be decoded.

    ``outcome`` is a place in `coopy.ground.action.OUTCOMES`; that of the last action of a system that was
    not closed is unknown.
    """

    __slots__ = ("index", "header", "method", "args", "kwargs", "outcome", "problem")

    def __init__(
        self, index: int, header: bytes, method: str | None, args: tuple[Any, ...], kwargs: dict[str, Any], problem: str = ""
    ) -> None:
        self.index = index
        self.header = header
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.outcome = action.UNKNOWN
        self.problem = problem

    @property
    def ended(self) -> str:
        """How it ended: "returned", "raised", "withdrawn" (it counts for nothing), or "unknown"."""
        return action.OUTCOMES[self.outcome]

    @property
    def time(self) -> datetime:
        """When it happened, in the local time of where it happened, with its UTC offset."""
        return action.aware_time(self.header)


def actions(log: Log, codec: Codec, after: int) -> Iterator[Action]:
    """The actions behind ``after``, in order. Raises a `StorageError` where the log cannot be read."""
    held: Action | None = None
    try:
        for index, header, name, args in undecoded(log, after):
            if held is not None:
                held.outcome = header[action.OUTCOME]
                yield held
                held = None
            if args is not None:
                held = decoded(index, header, name, args, codec)
    except StorageError:
        if held is not None:
            yield held
        raise
    if held is not None:
        yield held


def undecoded(log: Log, after: int) -> Iterator[tuple[int, bytes, str | None, Any]]:
    """Index, header, name and arguments of each, as `decoded` takes them; of an amendment the index of its action, and no arguments."""
    index = after
    for _, records in log.read(after):
        headers, names, arguments = decode_joined(records)
        joined_headers(headers, arguments)
        for header, name, args in zip(headers, names, arguments, strict=True):
            if header[action.OUTCOME] not in action.KNOWN:
                raise KeyedRecord(log.where(index + 1))
            index += args is not None
            yield index, header, name, args


def decoded(index: int, header: bytes, name: str | None, args: Any, codec: Codec) -> Action:
    """The action that is kept so."""
    if name is not None:
        return Action(index, header, name, args, {})
    try:
        name, args, *rest = codec.decode_call(args)
    except DecodingError as error:
        return Action(index, header, None, (), {}, str(error))
    return Action(index, header, name, args, rest[0] if rest else {})
