"""The documented old path: ``from coopy.base import init_persistent_system``."""

from __future__ import annotations

from coopy import init_persistent_system, init_system

__all__ = ["init_persistent_system", "init_system"]
