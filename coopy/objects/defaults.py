"""How much memory objects take, and how long they stay in it, where nobody says otherwise."""

from __future__ import annotations

MEMORY_BYTES = 256 * 1024 * 1024
"""So many bytes active objects may take, unless another number is given: some hundred thousand small ones."""
IDLE_S = 60.0
"""An object that nobody calls is dropped after so long, unless another time is given: loading it again takes less than a millisecond."""
