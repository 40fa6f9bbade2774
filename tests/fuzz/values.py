"""What calls are given and states hold in the fuzzer: plain things, what belongs to a process, and objects with odd ways to be pickled."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import threading
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import cache, partial
from typing import Any

from engine import test_loadable
from values import test_bound

FINE, NEVER, SCARCE, EITHER = "fine", "never", "scarce", "either"
"""How a snapshot ends of a state with a value in it: it is kept; it is refused; it is kept and can't be loaded; one of these."""

ERRORS: tuple[type[BaseException], ...] = (
    ValueError,
    MemoryError,
    RecursionError,
    TimeoutError,
    KeyboardInterrupt,
    SystemExit,
    KeyError,
    asyncio.CancelledError,
)


class Tag:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Tag({self.name!r})"


# -- odd ways to be pickled


class Odd:
    """Raises, or answers nonsense, when it is pickled or loaded. ``step`` says where, ``answer`` what."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def _answers(self) -> Any:
        if isinstance(self.answer, type) and issubclass(self.answer, BaseException):
            raise self.answer
        return self.answer


class OddGetstate(Odd):
    def __getstate__(self) -> Any:
        return self._answers()


class OddReduce(Odd):
    def __reduce__(self) -> Any:
        return self._answers()


class OddReduceEx(Odd):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._answers()


class OddSetstate(Odd):
    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._answers()


class OddNewArgs(Odd):
    def __getnewargs__(self) -> Any:
        return self._answers()


class NoReduce:
    __reduce_ex__ = None


class Rude:
    """Says nothing of itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")

    __hash__ = None  # type: ignore[assignment]


class Liar:
    """Says that it is a number."""

    @property
    def __class__(self) -> Any:
        return int

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError


class Closed:
    """Has no attributes that it would show."""

    def __getattribute__(self, name: str) -> Any:
        raise TimeoutError(name)


class Noisy:
    """Raises when it goes, while somebody listens."""

    is_heard = False

    def __del__(self) -> None:
        if Noisy.is_heard:
            raise ValueError("gone")


class Hung:
    """Waits for ever when a child of the process pickles it, as for a lock that another thread had at the fork."""

    def __getstate__(self) -> Any:
        if os.getpid() != self.owner:
            time.sleep(3600)
        return {"owner": self.owner}

    owner = 0


class Fussy(Exception):
    """Can't be made without an argument; is loaded with one all the same."""

    def __init__(self, job: str) -> None:
        super().__init__(job)


class HashesLate:
    def __init__(self) -> None:
        self.name = "late"

    def __hash__(self) -> int:
        return hash(self.name)


def _keyed() -> Any:
    one = HashesLate()
    found = {one: 1}
    one.held = found  # type: ignore[attr-defined]
    return one


def _itself() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


def _shared() -> Any:
    inner = [1]
    return [inner, inner]


PLAIN: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "int": lambda: 7,
    "huge int": lambda: -(1 << 200),
    "text": lambda: "text",
    "surrogate": lambda: "\ud800",
    "bytes": lambda: b"\0" * 40,
    "block": lambda: b"x" * 20_000,
    "more than a block": lambda: b"y" * 70_000,
    "nan": lambda: float("nan"),
    "list": lambda: [1, "a", None],
    "shared": _shared,
    "itself": _itself,
    "dict": lambda: {"a": [1], 2: ()},
    "set": lambda: {1, 2, 3},
    "tag": lambda: Tag("t"),
    "datetime": lambda: datetime(2020, 1, 2),
    "decimal": lambda: Decimal("1.50"),
    "error": lambda: KeyError("k"),
    "fussy error": lambda: Fussy("job"),
    "buffer": lambda: io.BytesIO(b"bytes"),
    "class": lambda: Tag,
    "function": lambda: _itself,
    "noisy": Noisy,
}


def _lambda() -> Any:
    return lambda each: each


def _closure() -> Any:
    kept = [1, 2]
    return lambda: kept


def _local_object() -> Any:
    class Local:
        def __init__(self) -> None:
            self.one = 1

    return Local()


MADE_HERE: dict[str, Callable[[], Any]] = {
    "lambda": _lambda,
    "closure": _closure,
    "local object": _local_object,
    "partial": lambda: partial(_lambda(), 1),
}


def _closure_of_file() -> Any:
    file = test_bound.FILES["temporary"]()
    return lambda: file


def _deep(make: Callable[[], Any]) -> Callable[[], Any]:
    """Makes a value that lies deeper than the pickler of the standard library goes."""

    def made() -> Any:
        found = make()
        for _ in range(DEEP):
            found = [found]
        return found

    return made


DEEP = 1500

# Other processes take too long to start, and what is written to the standard streams or left in the file system is nobody's.
_NOT = frozenset(
    {
        "popen",
        "pipe of a process",
        "shared memory",
        "process",
        "queue of processes",
        "simple queue of processes",
        "lock of processes",
        "event of processes",
        "value of processes",
        "pipe of processes",
        "loop",
        "stdout",
        "TLS",
        "dumb database",
        "of a descriptor",
        # As arguments these are taken in another form.
        "generator",
        "expression",
        "traceback",
    }
)
BOUND: dict[str, Callable[[], Any]] = {
    **{f"file, {name}": make for name, make in test_bound.FILES.items() if name not in _NOT},
    **{name: make for name, make in test_bound.OTHERS.items() if name not in _NOT},
    "object with a socket": lambda: test_bound.Order(test_bound.OTHERS["socket"]()),
    "list with a logger": lambda: [1, {"log": test_bound.OTHERS["logger"]()}],
    "closure of a file": _closure_of_file,
    **{f"deep {name}": _deep(make) for name, make in test_bound.FILES.items() if name in ("text", "temporary", "closed")},
    **{f"deep {name}": _deep(test_bound.OTHERS[name]) for name in ("module", "weak reference")},
    "closure of a generator": lambda: partial(next, test_bound.generator()),
}


def _taken(make: Callable[[], Any]) -> Callable[[], Any]:
    def taken() -> Any:
        lock = make()
        lock.acquire()
        return lock

    return taken


LOCKS: dict[str, Callable[[], Any]] = {
    **test_bound.LOCKS,
    "taken lock": _taken(threading.Lock),
    "taken re-entrant lock": _taken(threading.RLock),
    "taken condition": _taken(threading.Condition),
    "taken semaphore": _taken(threading.Semaphore),
    "taken bounded semaphore": _taken(threading.BoundedSemaphore),
}


def _waited_for() -> Any:
    """A condition that somebody waits for."""
    condition = threading.Condition()
    lock = threading.Lock()
    lock.acquire()
    condition._waiters.append(lock)  # type: ignore[attr-defined]
    return condition


LOCKS["condition that is waited for"] = _waited_for

_ODD_CLASSES = (OddGetstate, OddReduce, OddReduceEx, OddSetstate, OddNewArgs)
ODD: dict[str, Callable[[], Any]] = {
    **test_loadable.MADE,
    **{f"{cls.__name__} {error.__name__}": partial(cls, error) for cls in _ODD_CLASSES for error in ERRORS},
    **{
        f"OddReduce {number}": partial(OddReduce, answer)
        for number, answer in enumerate(
            [
                3,
                "not there",
                "",
                (),
                (int,),
                (int, 3),
                ("int", ()),
                (len, (), None, None, None, None, 1),
                (test_loadable.gone, ()),
                None,
            ]
        )
    },
    **{f"OddNewArgs {number}": partial(OddNewArgs, answer) for number, answer in enumerate([3, (1, 2, 3), None])},
    "no __reduce_ex__": NoReduce,
    "rude": Rude,
    "liar": Liar,
    "shows nothing": Closed,
    "keyed by itself": _keyed,
}
VALUES: dict[str, Callable[[], Any]] = {**PLAIN, **MADE_HERE, **BOUND, **LOCKS, **ODD, "hung": Hung}
assert len(VALUES) == 1 + len(PLAIN) + len(MADE_HERE) + len(BOUND) + len(LOCKS) + len(ODD), "each value has a name of its own"


@cache
def in_state(name: str) -> str:
    """How a snapshot of a state ends that has a value of that name in it."""
    if name in BOUND:
        return NEVER
    if name in LOCKS:
        return FINE
    if name in MADE_HERE:
        return FINE
    if name not in ODD:
        return FINE
    try:
        data = pickle.dumps(ODD[name](), 5)
    except BaseException:
        return NEVER
    try:
        pickle.loads(data)
    except MemoryError:
        return SCARCE
    except BaseException:
        return NEVER
    return FINE


def as_argument(name: str) -> str:
    """How a call ends that is given a value of that name: FINE if it is taken, NEVER if it is refused."""
    if name in BOUND or name in LOCKS:
        return NEVER
    return FINE if in_state(name) == FINE else EITHER


def described(value: Any, left: int = 20) -> str:
    """What is compared of a value, so many levels deep; calls nothing of it that might raise."""
    cls = type(value)
    if not left:
        return cls.__qualname__
    if cls in (int, float, str, bytes, bool, type(None), Decimal, datetime, Tag):
        return repr(value)
    if cls in (list, tuple, set):
        return f"{cls.__name__} {[described(each, left - 1) if each is not value else 'itself' for each in value]}"
    if cls is dict:
        return f"dict {[(described(key, left - 1), described(each, left - 1)) for key, each in value.items()]}"
    return f"{cls.__module__}.{cls.__qualname__}"


def is_open(lock: Any) -> bool:
    """Whether a lock that was restored is as if it was new."""
    if isinstance(lock, threading.Event):
        return True
    if isinstance(lock, threading.Barrier):
        return lock.n_waiting == 0 and not lock.broken
    if isinstance(lock, threading.Condition) and lock._waiters:  # type: ignore[attr-defined]
        return False
    if not lock.acquire(blocking=False):
        return False
    lock.release()
    return True
