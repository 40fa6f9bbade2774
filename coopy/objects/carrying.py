"""Carries out the effects that actions of objects have asked for with `coopy.on_commit`.

An effect waits in the state of its object, from the action that asked for it until an action of that object says that it was carried out
(`<done>`). So it is carried out at least once, whatever comes in between, with the same `coopy.effect_id`; see `coopy.spine.delivery`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coopy.objects.engine import Engine
from coopy.spine.delivery import Delivery


class Carrying:
    """What a delivery asks of the engine of many objects: effects by names that have the key in front."""

    effects: Mapping[str, bytes] = {}
    """None stands in one state: objects are looked at as they become due."""

    def __init__(self, engine: Engine, name: str, system: str) -> None:
        self._engine = engine
        self._asked: dict[str, tuple[bytes, str]] = {}
        self._delivery = Delivery(self, name, system)
        engine.asked = self.asked

    @property
    def machine(self) -> Any:
        """Returns what has the effects that stand in the state."""
        return self

    def asked(self, key: bytes, name: str) -> None:
        """Takes an effect of an object. Called with the lock of the engine held."""
        whole = f"{key.decode()}:{name}".replace("\0", "/")
        self._asked[whole] = key, name
        self._delivery.asked(whole)

    def effect(self, name: str) -> bytes | None:
        """Returns what an effect is to do, once the action that asked for it is durable; None if it is done."""
        return self._engine.effect(*self._asked[name])

    def carried_out(self, name: str) -> None:
        """Records that an effect has been carried out."""
        self._engine.carried_out(*self._asked[name])
        self._asked.pop(name, None)

    def finish(self) -> None:
        """Carries out what has not been tried yet, and takes no more. What failed stays for the next opening."""
        self._delivery.finish()
