"""The names of PyDistributed: a program goes on with this line in the place of its import.

from coopy.compat import pydistributed
"""

from __future__ import annotations

from coopy.compat.pydistributed_bus import *  # noqa: F403
from coopy.compat.pydistributed_events import *  # noqa: F403
from coopy.compat.pydistributed_store import *  # noqa: F403
