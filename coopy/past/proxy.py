"""The proxy that a past state is given.

A domain may hold its own proxy and call it in its methods. In a state of the past these calls go to the plain object, at replay as
they did live, and nothing is recorded.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from types import GeneratorType
from typing import Any

from coopy.spine import versions
from coopy.spine.calling import Call, begin_each
from coopy.spine.machine import Machine
from coopy.spine.methods import Function, Method
from coopy.spine.proxy import attach, build
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.


def codec_of_past(cls: type) -> tuple[Codec, Callable[[Machine], None]]:
    """Returns a codec for past states of a class, and what is given the machine of one before its first action is replayed."""
    past, codec = Past(cls), Codec(cls)
    codec.proxy = past.proxy
    return codec, past.begin


class _AllSettled:
    settled = last = 0


class Past:
    """What the proxy of a past state calls: the plain object, and nothing is recorded.

    A domain that holds its own proxy calls it in its methods, at replay as it did live. It holds
    the proxy and the proxy holds this: so neither the proxy nor the domain is held from here, and a past state goes
    with the last reference to it.
    """

    looks_at_reads = False
    gives_parts = False

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._proxy: Callable[[], Any] = _none
        self._machine: Callable[[], Machine | None] = _none
        self._domain: Callable[[], Any] = _none

    @property
    def proxy(self) -> Any:
        """The proxy. It is the same for as long as somebody has it."""
        found = self._proxy()
        if found is None:
            found = attach(build(self._cls), self, None)
            self._proxy = weakref.ref(found)
        return found

    def begin(self, machine: Machine) -> None:
        """Takes the machine whose domain is called."""
        self._machine = weakref.ref(machine)
        domain = machine.domain
        try:
            self._domain = weakref.ref(domain)
        except TypeError:
            self._domain = lambda: domain  # Its class has slots and no place for weak references.

    @property
    def machine(self) -> Past:
        """The past state; there is a machine only while actions are replayed."""
        return self

    @property
    def domain(self) -> Any:
        """The plain object."""
        return self._domain()

    applied = 0
    """There is nothing to wait for: see ``log``."""

    @property
    def code(self) -> int:
        """The code version that is enabled: the newest for an object that no machine has any more."""
        machine = self._machine()
        return versions.own(self._cls) if machine is None else machine.code

    log = _AllSettled

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Does nothing: a past state has no lock."""
        return True

    def release(self) -> None:
        """Does nothing."""

    unwind = release

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Calls the method."""
        return self.read(method.function, args, kwargs)

    def begin_all(self, calls: Sequence[Call]) -> None:
        """Takes calls in order."""
        begin_each(self, calls)

    def settled(self, begun: None, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        """Yields all of them: nothing is waited for."""
        yield calls

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Calls the function."""
        domain = self._domain()
        result = function(domain, *args, **kwargs)
        if type(result) is GeneratorType:
            return iter(list(result))
        return self.proxy if result is domain else result

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls the function."""
        return self.read(function, args, kwargs)


def _none() -> None:
    pass
