"""How a call becomes bytes, and how what it raised does, as the arguments of recorded calls do. Bytes are read by workers and handles, and
never by the state, so that a process that only keeps the queue needs none of the classes.
"""

from __future__ import annotations

import copy
import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from coopy import EncodingError, RemoteError, UsageError
from coopy.values.alone import decoded, encoded

Error = tuple[str, str, str, "bytes | None"]
"""Of an exception: its class, its text, its traceback, and itself, pickled, if that can be."""
_TRACEBACK_CHARS = 16_384
"""What is kept of a traceback: its end. One of a recursion would be as large as all other tasks."""


def packed_call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], parameters: Sequence[str] = ()) -> bytes:
    """Returns the arguments of a task as bytes. Raises `EncodingError`, which names the one that can't be kept."""
    try:
        return encoded(args, kwargs, parameters)
    except EncodingError as error:
        raise EncodingError(
            f"{name}: {error}. No task was sent. Pass what can be pickled, such as a path, a name or an id."
        ) from error


def packed(value: Any) -> bytes:
    """Returns a value as bytes. Raises `EncodingError`."""
    return encoded((value,), names=("what it has returned",))


def unpacked_call(data: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments of a task. Of what an action has put there itself it returns copies. Raises `DecodingError`."""
    if isinstance(data, bytes):
        return decoded(data)
    args, kwargs = copy.deepcopy(data)
    return args, kwargs


def unpacked(data: Any) -> Any:
    """Returns the value of bytes. Of what an action has put there itself it returns a copy. Raises `DecodingError`."""
    return decoded(data)[0][0] if isinstance(data, bytes) else copy.deepcopy(data)


def attempted(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, BaseException | None]:
    """Calls a function of the user's. Returns what it has returned, and what it has raised. Ctrl-C goes on; `sys.exit` in a task does not end its worker."""
    try:
        return function(*args, **kwargs), None
    except KeyboardInterrupt:
        raise
    except (
        BaseException
    ) as error:  # It is told to who waits for the task. Of asyncio, and of other libraries, not all are Exceptions.
        return None, error


def packed_error(error: BaseException) -> Error:
    """Returns an exception in parts."""
    text, _ = attempted(lambda: "".join(traceback.format_exception(type(error), error, error.__traceback__)))
    said, _ = attempted(str, error)
    data, _ = attempted(packed, error)
    again, _ = attempted(unpacked, data) if data is not None else (None, None)
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return kind, said or "", (text or "")[-_TRACEBACK_CHARS:], data if type(again) is type(error) else None


def unpacked_error(error: Error) -> BaseException:
    """Returns the exception, with its traceback as the text of its cause; a `RemoteError` that names it if its class can't be had here."""
    kind, text, trace, data = error
    told = RemoteError(kind, text, trace)
    found = attempted(unpacked, data)[0] if data is not None else None
    if not isinstance(found, BaseException):
        return told
    found.__cause__ = told
    return found


def name_of(function: Callable[..., Any]) -> str:
    """Returns the name by which other processes find a function. Raises `UsageError`."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name:
        raise UsageError(f"{function!r}: must be a function or a class of a module, so that a worker finds it by its name")
    return f"{module}:{name}"


def found(name: str) -> Any:
    """Returns what has a name, as ``"shop.mails:send"``. Raises LookupError if there is nothing, and what importing its module raises."""
    module, _, path = name.partition(":")
    thing: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in path.split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            raise LookupError(
                f"there is no {path} in the module {module} here. A worker must have the module from which the task was sent; "
                f"a function inside of another one is found only in the process that defines it."
            ) from None
    return thing
