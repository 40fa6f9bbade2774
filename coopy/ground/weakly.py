"""Methods that do not keep their object: for threads and callbacks that may outlive it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


def weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method that does not keep its object; once that is gone, it does nothing and returns None."""
    found = weakref.WeakMethod(method)

    def call(*args: Any) -> Any:
        method = found()
        return None if method is None else method(*args)

    return call
