"""Draft: several keys of a store, read and changed together by one action at the end of a ``with`` block.

Nothing is locked meanwhile. The action says which revisions were read, and changes nothing if one of them is another by then (`Conflict`): so two
drafts that read what the other one changes can't both be recorded, and a draft that has read nothing is recorded always.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from coopy import UsageError
from coopy.batteries import thawed
from coopy.messaging.store_state import Conflict, Keys, MissingKey

if TYPE_CHECKING:
    from typing_extensions import Self

_REQUIRED: Any = "<required>"
_DELETED: Any = object()


class Draft:
    """What `KeyValueStore.transact` gives: reads see what the block has set so far. At its end all is recorded, or nothing if it raises.

    >>> with store.transact() as draft:
    ...     draft.set("left", draft.get("left", 3) - 1)
    >>> store.get("left")
    2
    """

    def __init__(self, keys: Keys) -> None:
        self.revision = 0
        """Index of the action, once it is recorded; 0 if there was nothing to record."""
        self._keys = keys
        self._read: dict[str, int] = {}
        self._changed: dict[str, Any] = {}
        self._ttls: dict[str, float] = {}
        self._over = False

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        """Returns a value, which may be changed and set again. Raises `MissingKey` without a default."""
        self._refuse_if_over()
        if key in self._changed:
            value = self._changed[key]
        else:
            found = self._keys.get_version(key)
            value = _DELETED if found is None else found.value
            # What was read first counts: a second look that sees another one is no reason to record something.
            self._read.setdefault(key, 0 if found is None else found.revision)
        if value is not _DELETED:
            return thawed(value)
        if default is _REQUIRED:
            raise MissingKey(key)
        return default

    def exists(self, key: str) -> bool:
        """Whether a key is there."""
        return self.get(key, _DELETED) is not _DELETED

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Sets a value at the end of the block."""
        self._refuse_if_over()
        self._changed[key] = value
        self._ttls.pop(key, None)
        if ttl is not None:
            self._ttls[key] = ttl

    def delete(self, key: str) -> None:
        """Takes a key out at the end of the block."""
        self.set(key, _DELETED)

    __getitem__ = get
    __setitem__ = set
    __delitem__ = delete
    __contains__ = exists

    def _refuse_if_over(self) -> None:
        if self._over:
            raise UsageError(
                "this block has ended, and what is set now would not be recorded. Begin another: with store.transact() as keys:"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.end()
        if kind is None:
            self.record()

    def end(self) -> None:
        """Takes nothing more, as the block has ended."""
        self._over = True

    def record(self) -> None:
        """Makes the one action of it. Raises `Conflict`, and what the system raises."""
        if self._changed:
            puts = {key: value for key, value in self._changed.items() if value is not _DELETED}
            deletes = [key for key, value in self._changed.items() if value is _DELETED]
            outcome = self._keys.transact(puts, deletes, self._read, self._ttls)
            if not outcome.done:
                raise Conflict(outcome.conflicts)
            self.revision = outcome.revision
