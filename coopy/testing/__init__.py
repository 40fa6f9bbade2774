"""For the tests of who uses coopy: systems in memory, a clock to set, chance that repeats, crashes and faults.

    wiki = memory_system(Wiki, clock=Clock(), seed=1)
    wiki = crash(wiki)
    assert_replays(wiki)

All of it is the system itself: the same engine, proxy and journal, on a disk or in a log that can be told to
fail. `crash` and `failing` are for systems that were opened here, as those of `init_system` have the
operating system's disk. The pytest fixture of `coopy.testing.plugin` is a `Systems`.

A system with a clock takes its reads through the engine, which a system otherwise does not: there the clock
of the test is put in the place of a running action's while the read lasts, so that what a read asks
`self._clock`, or ``coopy.clock``, is answered by the clock of its own system and by no other's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coopy.testing.clock import Clock
    from coopy.testing.systems import Systems, assert_replays, crash, failing, memory_system, open_system

__all__ = ["Clock", "Systems", "assert_replays", "crash", "failing", "memory_system", "open_system"]

if not TYPE_CHECKING:  # A type checker would take any name for one that is there.

    def __getattr__(name: str) -> Any:
        """Loads what is asked for: pytest imports this package wherever coopy is installed, for the plugin in it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from coopy.testing import clock, systems

        globals().update({each: getattr(clock if each == "Clock" else systems, each) for each in __all__})
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
