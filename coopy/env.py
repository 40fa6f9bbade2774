"""Chance that replay can repeat.

Inside an action every draw comes from a stream of bytes that BLAKE2b, keyed
with the system's secret, makes from the action's index: nothing is stored per
call, replay draws the same, and without the secret nobody can tell what will
be drawn. Outside an action the draws come from the operating system.

The methods of `random.Random` are those of the running Python; its
documentation promises that ``random()`` stays the same between versions, not
that ``shuffle`` or ``gauss`` do.

Modules that only some draws need are imported by those: this one is loaded with
the package.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any, NoReturn

from coopy.ground.running import current

if TYPE_CHECKING:
    import uuid

_BLOCK_BYTES = 64  # The longest digest that blake2b has: the fewest calls for what is drawn.


class Draws:
    """The stream of one action."""

    __slots__ = ("index", "_key", "_block", "_left")

    def __init__(self, secret: bytes, index: int) -> None:
        self.index = index
        self._key = secret
        self._block = 0
        self._left = b""

    def take(self, size: int) -> bytes:
        """The next bytes."""
        import hashlib

        while len(self._left) < size:
            place = self.index.to_bytes(8, "little") + self._block.to_bytes(8, "little")
            digest = hashlib.blake2b(place, key=self._key, digest_size=_BLOCK_BYTES, person=b"coopy env")
            self._left += digest.digest()
            self._block += 1
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def _take(size: int) -> bytes:
    machine = current.machine
    if machine is None:
        return os.urandom(size)
    index = machine.index
    draws = machine.draws
    if not isinstance(draws, Draws) or draws.index != index:
        draws = machine.draws = Draws(machine.secret, index)
    return draws.take(size)


class Env(random.Random):
    """What ``self._env`` and ``from coopy import env`` are."""

    def random(self) -> float:
        """A float from 0.0 up to, not including, 1.0."""
        return (int.from_bytes(_take(7), "little") >> 3) * 2.0**-53

    def getrandbits(self, k: int, /) -> int:
        """A non-negative int of ``k`` random bits."""
        if k < 0:
            raise ValueError("number of bits must be non-negative")
        size = (k + 7) // 8
        return int.from_bytes(_take(size), "little") >> (size * 8 - k)

    def randbytes(self, n: int) -> bytes:
        """``n`` random bytes."""
        return _take(n)

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        """As `random.Random.gauss`, without its value kept for the next call."""
        return self.normalvariate(mu, sigma)

    def uuid4(self) -> uuid.UUID:
        """A random UUID."""
        import uuid

        return uuid.UUID(bytes=_take(16), version=4)

    def token_bytes(self, nbytes: int = 32) -> bytes:
        """``nbytes`` random bytes that cannot be guessed."""
        return _take(nbytes)

    def token_hex(self, nbytes: int = 32) -> str:
        """``nbytes`` random bytes as hexadecimal digits."""
        return _take(nbytes).hex()

    def token_urlsafe(self, nbytes: int = 32) -> str:
        """``nbytes`` random bytes as URL-safe text."""
        import base64

        return base64.urlsafe_b64encode(_take(nbytes)).rstrip(b"=").decode("ascii")

    def seed(self, *_args: Any, **_kwargs: Any) -> None:
        """Does nothing: every action is seeded by the system."""

    def getstate(self) -> NoReturn:
        """Not supported: the state is the action's."""
        raise NotImplementedError("the env has no state of its own; every action is seeded by the system")

    def setstate(self, state: Any) -> NoReturn:
        """Not supported: the state is the action's."""
        raise NotImplementedError("the env has no state of its own; every action is seeded by the system")

    def __repr__(self) -> str:
        return "<coopy env>"

    def __reduce__(self) -> str:
        # Snapshots hold the env as a name, never as a value.
        return "env"


env = Env()
