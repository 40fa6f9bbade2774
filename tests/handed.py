"""Calls as they are handed to an engine, many at a time, for tests."""

from __future__ import annotations

from typing import Any

from coopy.spine import methods


class Called:
    """A call of a method of ``domain``; of nothing, if nobody waits for it any more."""

    domain: type

    def __init__(self, name: str | None, *args: Any, **kwargs: Any) -> None:
        self.what: Any = None
        if name is not None:
            function = getattr(self.domain, name)
            is_read = methods.kind_of(self.domain, name, function) == "read"
            self.what = function if is_read else methods.method_for(name, function, ("what",))
        self.args, self.kwargs = args, kwargs
        self.value: Any = None
        self.error: BaseException | None = None

    @property
    def outcome(self) -> Any:
        return self.value if self.error is None else type(self.error)
