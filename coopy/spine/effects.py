"""Effects on the world outside: a method asks for one, and it happens after its action is durable.

    class Shop:
        def order(self, article, address):
            self.orders.append(article)
            on_commit(send_mail, address, subject=f"Your order of {article}")

A mail sent by the method itself would be sent again by every replay. What `on_commit` is given
is kept with the state instead, and called once the action that asked for it is on the disk, by
a thread of the system, outside any action. That it was done is recorded. If the process ends in
between, it is called again at the next opening: at least once, and with the same `effect_id`,
by which the other side can tell.

What an action asked for that raises is dropped. Replay and time travel carry out nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from coopy.errors import EncodingError, UsageError
from coopy.ground.raised import told_as
from coopy.ground.running import current
from coopy.ground.words import shown
from coopy.values import bound, deep

DONE = "<done>"
"""Name of the action that says that an effect was carried out."""


class _Carried(threading.local):
    name: str | None = None


carried = _Carried()


def on_commit(function: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
    """Asks that ``function`` is called with these arguments after the running action is durable.

    The function is kept by its name and so must be one of a module; the arguments are kept as they
    are now. What it returns is dropped; while it raises, it is called again, later and later. Outside
    a system, as in a test of the plain class, it is called at once.

    Raises:
        EncodingError: the function or an argument cannot be pickled.
        UsageError: ``function`` can't be called.

    See docs/guides/effects.md.
    """
    if not callable(function):
        raise UsageError(f"on_commit({shown(function)}): must be something to call, and then its arguments")
    machine = current.machine
    if machine is None:
        function(*args, **kwargs)
        return
    with told_as(_not_kept, function, args, kwargs):
        effect = deep.dumps((function, args, kwargs))
    machine.ask(effect)


def _not_kept(
    error: Exception, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> EncodingError:
    """Returns what is raised in place of what pickling an effect has raised."""
    name = getattr(function, "__qualname__", repr(function))
    why, instead = str(error), "Pass a function of a module, and arguments that can be pickled."
    for label, value in [*((f"#{place}", each) for place, each in enumerate(args, 1)), *kwargs.items()]:
        found = bound.find(value, label, lambda _: False, frozenset())
        if found is not None and found.kind is not None:
            why, instead = str(found), found.kind.instead
            break
    return EncodingError(f"the effect {name}() cannot be kept: {why}. {instead}")


def effect_id() -> str | None:
    """Inside an effect: its id, the same whenever it is tried again, and no other's. Elsewhere None.

    See docs/guides/effects.md.
    """
    return carried.name
