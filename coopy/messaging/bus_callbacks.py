"""What a callback of `MessageBusClient` takes: a message, and perhaps its topic and the client, by their places or by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable

_ARGUMENTS_MAX = 3
"""A message, its topic and the client."""


class Registered:
    """A callback, and what it takes."""

    def __init__(self, topic: str, function: Callable[..., object]) -> None:
        """Raises TypeError."""
        self.topic = topic
        self._function = function
        self._count, self._names = _wanted(function)

    def call(self, value: object, topic: str, client: object) -> None:
        """Calls it with as much of these as it takes."""
        more = {"topic": topic, "client": client}
        self._function(*(value, topic, client)[: self._count], **{name: more[name] for name in self._names})


def _wanted(callback: Callable[..., object]) -> tuple[int, tuple[str, ...]]:
    """How many of message, topic and client a function takes by their places, and which by name. Raises TypeError."""
    if not callable(callback):
        raise TypeError(f"a callback must be a function, and is a {type(callback).__qualname__}")
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (ValueError, TypeError):
        return 1, ()  # Of a built-in function that does not say.
    count, names, order = 0, [], ("message", "topic", "client")
    for each in parameters:
        if each.kind is each.VAR_POSITIONAL:
            count = _ARGUMENTS_MAX
        elif each.kind is each.KEYWORD_ONLY and each.name in order[1:]:
            names.append(each.name)
        elif each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
            # One with a value of its own has that, unless it is called as what would be given.
            if each.default is each.empty or count == 0 or (count < _ARGUMENTS_MAX and each.name == order[count]):
                count += 1
    if not 1 <= count <= _ARGUMENTS_MAX:
        raise TypeError(
            f"a callback takes a message, and may take its topic and the client; {callback!r} takes {count} arguments"
        )
    return count, tuple(names)
