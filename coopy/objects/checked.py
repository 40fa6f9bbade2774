"""check=True: an engine of many objects that looks at each object around every call, for development and for tests.

What it finds would go wrong one day, when the object is loaded again, without a word:

* the object was changed outside any action: what a method returned is the live object
* a @readonly method changed it; an @abort_exception method did, before it raised
* the action gives another object when it is run again: it depends on an address, the environment, the process's own clock or chance

An object is digested around every call (`coopy.values.digest`), and after each action loaded from the log once more and compared. What was found
to be wrong in memory is dropped: the log has what it was.
"""

from __future__ import annotations

from typing import Any

from coopy.errors import CheckFailed, EncodingError, NotRepeatable, StateChanged
from coopy.ground.log import warn
from coopy.objects.engine import Engine
from coopy.objects.kind import Cell, Kind
from coopy.spine import calling
from coopy.spine.calling import Call
from coopy.spine.engine import with_lock
from coopy.spine.methods import Function, Method
from coopy.values import digest

__coopy_inside__ = True  # See `coopy.spine.calling`.


class CheckedEngine(Engine):
    """An engine that raises a `CheckFailed` when something is found."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._expected: dict[bytes, tuple[Cell, bytes]] = {}
        """By key: an object that is active, and the digest that it is to have."""

    def _do(
        self,
        kind: Kind,
        key: bytes,
        method: Method,
        call: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: calling.Answer,
        waits: Call | None = None,
    ) -> None:
        self._look_for_changes(kind, key)
        cell = self._activated(kind, key)
        domain = None if cell is None else cell.domain
        before = b"" if domain is None else digest.digest(domain)
        super()._do(kind, key, method, call, args, kwargs, answer, waits)
        if answer.error is not None and method.abort and domain is not None and digest.digest(domain) != before:
            answer.error, failure = self._changed_before_raising(kind, key, method, answer.error), answer.error
            answer.error.__cause__ = failure
            return
        self._flush()
        found = self._not_repeatable(kind, key, method.name)
        if found is not None:
            answer.error = found
        self._remember(key)

    @with_lock
    def _look(
        self,
        kind: Kind,
        key: bytes,
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: calling.Answer,
    ) -> int:
        self._ready()
        self._look_for_changes(kind, key)
        seen = super()._look(kind, key, function, args, kwargs, answer)
        if self._is_changed(key):
            places = self._put_back(kind, key)
            raise StateChanged(
                f"{getattr(function, '__name__', 'a read')}() is a read and changed {kind.text(key)!r}, at {places}. The log knows nothing of it, "
                f"so the object was put back. Let it change nothing, or take its mark @readonly away."
            )
        return seen

    def _activated(self, kind: Kind, key: bytes) -> Cell | None:
        cell = super()._activated(kind, key)
        if cell is not None and (key not in self._expected or self._expected[key][0] is not cell):
            self._remember(key)
        return cell

    def _dumped(self, kind: Kind, key: bytes, cell: Cell) -> bytes:
        if self._is_changed(key):
            # It is dropped, or about to be; nobody calls it who could be told.
            warn("%s", self._changed(kind, key, "somewhere"))
            raise EncodingError(f"{kind.text(key)!r} was changed outside any action, so its state is not written")
        return super()._dumped(kind, key, cell)

    def _drop(self, key: bytes) -> None:
        self._expected.pop(key, None)
        super()._drop(key)

    # -- with the lock held

    def _remember(self, key: bytes) -> None:
        """Takes an object as it is for the one that is to be."""
        cell = self.cells.get(key)
        if cell is not None and cell.sure and cell.domain is not None:
            self._expected[key] = cell, digest.digest(cell.domain)

    def _is_changed(self, key: bytes) -> bool:
        cell, expected = self._expected.get(key, (None, b""))
        if cell is None or self.cells.get(key) is not cell or not cell.sure:
            return False
        return digest.digest(cell.domain) != expected

    def _look_for_changes(self, kind: Kind, key: bytes) -> None:
        """Raises `StateChanged` if an object is not what its last action left."""
        if self._is_changed(key):
            raise self._changed(kind, key, self._put_back(kind, key))

    def _changed(self, kind: Kind, key: bytes, places: str) -> CheckFailed:
        return StateChanged(
            f"{kind.text(key)!r} was changed outside any action, at {places}, perhaps through something that a method has returned. The log "
            f"knows nothing of it, so the object was put back. Change it in a method, and let methods return copies."
        )

    def _put_back(self, kind: Kind, key: bytes) -> str:
        """Drops an object, which is loaded again as the log has it. Returns the places in which it was otherwise."""
        was = digest.digests(self.cells[key].domain)
        self._forget(key)
        cell = self._activated(kind, key)
        return digest.listed(digest.differing(was, {} if cell is None else digest.digests(cell.domain)))

    def _changed_before_raising(self, kind: Kind, key: bytes, method: Method, failure: BaseException) -> CheckFailed:
        return StateChanged(
            f"{method.name}() is marked @abort_exception and changed {kind.text(key)!r} before it raised {type(failure).__name__}. The object is "
            f"as it was before the call. Raise before changing anything, or mark it @transactional."
        )

    def _not_repeatable(self, kind: Kind, key: bytes, name: str) -> CheckFailed | None:
        """Returns what is raised if the log gives another object than the one that is active; that is dropped then."""
        cell = self.cells.get(key)
        if cell is None or not cell.sure or cell.domain is None:
            return None
        index = self.table.indexes[cell.place]
        again = self._loaded(kind, key, cell.place).domain
        if digest.digest(again) == digest.digest(cell.domain):
            return None
        places = digest.differing(digest.digests(cell.domain), digest.digests(again))
        self._drop(key)
        return NotRepeatable(
            f"action {index}, {name}() of {kind.text(key)!r}, gives another object when it is run again, at {digest.listed(places)}. It is recorded, and the object "
            f"is what the second run gave. The method depends on the process's own clock or chance, on id(), or the environment: take these "
            f"from coopy.clock and coopy.env, and pass what comes from outside as an argument.",
            index,
            name,
            tuple(places),
        )
