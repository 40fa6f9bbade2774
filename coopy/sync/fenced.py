"""What refuses a holder that was paused for longer than its lock, at the resource itself."""

from __future__ import annotations

from coopy import LockLost, abort_exception, readonly


class Fenced:
    """The highest token that each resource has seen: a system of its own, or an attribute of a class whose methods are to be fenced.

    A process may be stopped between its last look at a lock and what it does then, and no lock can help that. But every later
    holder has a larger token: once one of these was seen, what comes with a smaller one is refused.

    >>> from coopy import init_system
    >>> fenced = init_system(Fenced, "fenced")
    >>> fenced.check("stock", 7), fenced.check("stock", 7), fenced.check("stock", 9)
    (7, 7, 9)
    >>> fenced.check("stock", 7)
    Traceback (most recent call last):
        ...
    coopy.errors.LockLost: the lock 'stock', held with token 7, is lost: token 9 was seen since...
    """

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    @abort_exception
    def check(self, resource: str, token: int) -> int:
        """Takes a token, and returns it. Raises `LockLost` if a larger one was seen for the resource, and changes nothing."""
        highest = self._highest.get(resource, 0)
        if token < highest:
            raise LockLost(resource, token, f"token {highest} was seen since, of a later holder")
        self._highest[resource] = token
        return token

    @readonly
    def highest(self, resource: str) -> int:
        """Returns the highest token that was seen for a resource; 0 if none was."""
        return self._highest.get(resource, 0)

    def forget(self, resource: str) -> None:
        """Forgets a resource that is there no more."""
        self._highest.pop(resource, None)
