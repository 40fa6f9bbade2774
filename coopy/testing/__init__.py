"""For the tests of who uses coopy: systems in memory, a clock to set, chance that repeats, crashes and faults.

    wiki = memory_system(Wiki, clock=Clock(), seed=1)
    wiki = crash(wiki)
    assert_replays(wiki)

All of it is the system itself: the same engine, proxy and journal, on a disk or in a log that can be told to
fail. `crash` and `failing` are for systems that were opened here, as those of `init_system` have the
operating system's disk. The pytest fixture of `coopy.pytest_plugin` is a `Systems`.

A system with a clock takes its reads through the engine, which a system otherwise does not: there the clock
of the test is put in the place of a running action's while the read lasts, so that what a read asks
`self._clock`, or ``coopy.clock``, is answered by the clock of its own system and by no other's.
"""

from __future__ import annotations

from coopy.testing.clock import Clock
from coopy.testing.systems import Systems, assert_replays, crash, failing, memory_system, open_system

__all__ = ["Clock", "Systems", "assert_replays", "crash", "failing", "memory_system", "open_system"]
