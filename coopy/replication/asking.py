"""How an engine asks another process for calls and reads: many at once, and what of each is its own business.

Of the engine of a process that follows, of one without a copy, and of a connection. How the questions get there is a `Caller`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from coopy.errors import CoopyError
from coopy.replication.caller import Caller, Came, Question
from coopy.replication.parcels import Parcel, said
from coopy.spine import methods
from coopy.spine.attributes import read_attribute
from coopy.spine.calling import Call, answering
from coopy.spine.methods import Function
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.
Begun = list[tuple[Call, Question]]


class Unguarded:
    """The lock of an engine that keeps nothing: there is nothing to guard."""

    @staticmethod
    def acquire(*_: object) -> bool:
        return True

    @staticmethod
    def release() -> None:
        pass

    def unwind(self) -> None:
        pass


class Reads:
    """How reads of the methods of a class are said: by name, as the class may be found under another module's name elsewhere."""

    __slots__ = ("_cls", "_codec", "_names")

    def __init__(self, cls: type, codec: Codec) -> None:
        self._cls = cls
        self._codec = codec
        self._names = {function: name for name, function in methods.functions_of(cls).items()}

    def is_here(self, function: Function, args: tuple[Any, ...]) -> bool:
        """Whether what is read is the class's alone, which is here as well: what a library has noted there, such as ``__dataclass_fields__``."""
        if function is not read_attribute or not (args[0].startswith("__") and args[0].endswith("__")):
            return False
        raw = methods.raw_of(self._cls, args[0])
        return raw is not None and not hasattr(type(raw), "__get__")

    def of_class(self, name: str) -> Any:
        """Returns what the class has by a name."""
        return getattr(self._cls, name)

    def said(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Returns what a READ says. Of what is no method of the class, the function itself. Raises `EncodingError`."""
        name = self._names.get(function) or self._names.get(getattr(function, "__wrapped__", None))
        return said(self._codec, name or function, args, kwargs)


def never_here(*_: object) -> NoReturn:
    """For an engine whose process never comes to write."""
    raise AssertionError("what was asked is answered")


def begin_all(calls: Sequence[Call], question_for: Callable[[Call], Question | None]) -> Begun:
    """Returns what is to be asked for calls, in order; ``question_for`` returns None for one that is answered already."""
    begun: Begun = []
    for call in calls:
        # The caller of this call is told what it raises, and the others are sent all the same.
        with answering(call):
            question = question_for(call)
            if question is not None:
                begun.append((call, question))
    return begun


def end_all(
    caller: Caller | None, begun: Begun, value_of: Callable[[Parcel], Any], done_here: Callable[[Question, Call], Any]
) -> None:
    """Asks for all at once. Each call gets its value, or what it raises; ``done_here`` makes it if this process has come to write."""
    failure: BaseException | None = None
    try:
        if begun and caller is not None:
            caller.ask([question for _, question in begun])
    except Came:
        pass
    except CoopyError as error:
        failure = error
    for call, question in begun:
        with answering(call):
            if question.answer is not None:
                call.value = value_of(question.answer)
            elif failure is not None:
                raise failure
            else:
                call.value = done_here(question, call)
    failure = None
