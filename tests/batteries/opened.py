"""Systems in memory, as quick as can be: that validation finds nothing in the structures is a test of its own."""

from __future__ import annotations

from functools import partial

from coopy import testing

memory_system = partial(testing.memory_system, validation="off")
