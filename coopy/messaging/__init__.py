"""Tasks, messages, keys and events: what programs tell one another, kept by systems of coopy.

A `TaskQueue`, a `Bus`, a `KeyValueStore` and an `EventSource` stand on the names that everybody may use: each is a system, or
several, and what is true of systems is true of them.
"""

from __future__ import annotations
