"""Makes the coroutine function of a method: of a system, and of an object with a key.

Wrong arguments fail before anything is recorded, as in the methods of a proxy, and a debugger can step through.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Coroutine
from types import FunctionType
from typing import Any, NamedTuple, cast

from coopy.aio.worker import Call, answered
from coopy.spine import methods
from coopy.spine.calling import INSIDE

__coopy_inside__ = True  # See `coopy.spine.calling`.

# What queues a call stands in the method itself: a function more would be a frame more for each call.
QUEUED = """
async def {{name}}({{signature}}):{{bind}}
    _coopy_worker = {{self}}._coopy_worker
    if _coopy_worker.refusal is not None:
        raise _coopy_worker.refuse()
    _coopy_pool = _coopy_worker.pool
    _coopy_call = _coopy_pool.pop() if _coopy_pool else _coopy_new(_coopy_worker)
    _coopy_call.what = _coopy_what
    _coopy_call.args = {args}
    _coopy_call.kwargs = {{kwargs}}
    await _coopy_answered(_coopy_call)
    if _coopy_call.error is not None:
        raise _coopy_call.take_error()
    _coopy_result = _coopy_call.value
    _coopy_call.value = _coopy_call.args = _coopy_call.kwargs = None
    _coopy_call._asyncio_future_blocking = True
    _coopy_pool.append(_coopy_call)
    return {result}
"""
"""The text of a coroutine function that queues its call: ``args`` is what is queued, ``result`` what the caller is given."""


class Source(NamedTuple):
    """The text of a coroutine function, and where a debugger finds it."""

    template: str
    place: str
    """What the text belongs to: "coopy.aio", or "coopy.aio.objects"."""


def is_plain(function: Any) -> bool:
    """Returns whether the arguments of a function are what its code says."""
    return isinstance(function, FunctionType) and not hasattr(function, "__wrapped__")


def what_of(name: str, function: Any, is_action: bool, parameters: tuple[str, ...] = ()) -> Any:
    """Returns what a worker is queued for a method: a `Method`, or the function that reads. ``parameters`` are those of one without code."""
    if is_action:
        return methods.method_for(name, function, methods.parameters_of(function) if is_plain(function) else parameters)
    return methods.reader_of(name, function)


def made(
    cls: type, name: str, function: Any, what: Any, source: Source, **names: Any
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Returns the coroutine function for a method of a class. ``names`` are globals of its text besides those that all have."""
    exact = methods.exact_signature(function) if is_plain(function) else None
    myself, signature, args, kwargs, _ = exact or methods.ANY_SIGNATURE
    found: dict[str, Any] = {
        "__name__": source.place,
        INSIDE: True,
        "_coopy_none": {},
        "_coopy_new": Call,
        "_coopy_answered": answered,
        "_coopy_what": what,
        **names,
    }
    bind = ""
    if is_plain(function) and exact is None:
        found["_coopy_bind"] = methods.binder(function)
        bind = "\n    _coopy_bind(self, *args, **kwargs)"
    text = source.template.format(name=name, self=myself, signature=signature, args=args, kwargs=kwargs, bind=bind)
    filename = f"<{source.place} {cls.__module__}.{cls.__qualname__}.{name} {id(cls):x}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), found)
    return cast("Callable[..., Coroutine[Any, Any, Any]]", methods.dressed(found[name], function))
