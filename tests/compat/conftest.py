from __future__ import annotations

from compat.clusters import cluster

__all__ = ["cluster"]
