"""Marks on domain methods. They set an attribute and do nothing else.

What a mark means is the engine's affair; a marked method of a plain object,
outside any system, behaves as if it were not marked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar, overload

from coopy.errors import UsageError
from coopy.ground.words import shown

F = TypeVar("F", bound=Callable[..., Any])

READONLY = "_coopy_readonly"
UNLOCKED = "_coopy_unlocked"
ABORT_EXCEPTION = "_coopy_abort_exception"
TRANSACTIONAL = "_coopy_transactional"
OUTSIDE = "_coopy_outside"
ACTION = "_coopy_action"

READS = frozenset(
    "__len__ __length_hint__ __getitem__ __contains__ __iter__ __reversed__ __eq__ __ne__ __lt__ __le__ __gt__ "
    "__ge__ __hash__ __bool__ __str__ __repr__ __format__ __bytes__ __int__ __float__ __complex__ __index__ "
    "__round__ __trunc__ __floor__ __ceil__ __neg__ __pos__ __abs__ __invert__ __add__ __sub__ __mul__ "
    "__matmul__ __truediv__ __floordiv__ __mod__ __divmod__ __pow__ __lshift__ __rshift__ __and__ __xor__ "
    "__or__ __radd__ __rsub__ __rmul__ __rmatmul__ __rtruediv__ __rfloordiv__ __rmod__ __rdivmod__ __rpow__ "
    "__rlshift__ __rrshift__ __rand__ __rxor__ __ror__ __fspath__ __missing__ __getattr__".split()
)
"""Operators that are reads without a mark."""


def readonly(method: F) -> F:
    """The method changes nothing: it runs under the lock and is not recorded.

    See docs/guides/decorators.md.
    """
    setattr(method, READONLY, True)
    return method


def action(method: F) -> F:
    """The method is recorded, though its name is that of a read: ``__getitem__``, ``get``, ``items``, or the getter of a property.

    Without the mark, what has the name of a read is recorded if its byte code shows that it writes to its object; `coopy check` says
    which these are. A cache that keeps the keys used last at its end::

        @action
        def __getitem__(self, key):
            self.order.used(key)
            return self.values[key]

        @property
        @action
        def newest(self):
            return self.looked_at(-1)

    All other methods are recorded anyway. See docs/guides/decorators.md.
    """
    setattr(method, ACTION, True)
    return method


def unlocked(method: F) -> F:
    """The method takes no lock.

    With `readonly`, it runs at once, beside any other call: the domain answers
    for its thread safety. Without, the call is still recorded and applied one
    at a time, because replay can repeat only one order; the lock is held for
    that alone.

    See docs/guides/decorators.md.
    """
    setattr(method, UNLOCKED, True)
    return method


def abort_exception(method: F) -> F:
    """If the method raises, its call is withdrawn: replay skips it.

    The live state stays as the method left it, so raise before changing
    anything; a system opened with ``check=True`` refuses a method that does not.

    See docs/guides/transactions.md.
    """
    setattr(method, ABORT_EXCEPTION, True)
    return method


def outside(method: F) -> F:
    """The method is called outside of any action, with the system in the place of the object.

    It takes no lock, is not recorded and never runs again, so it may do what an action must not: wait, start a thread, read a clock, call the
    system's other methods, each of which is an action or a read of its own. Called on a system that `coopy.aio.open` has opened it is a plain
    method as well: it must return at once, for instance with what is awaited then.

    A wiki that imports many pages, each of which is an action::

        @outside
        def import_all(self, pages):
            for name, text in pages:
                self.create_page(name, text)

    Raises `UsageError` when it is called inside an action of its own system. Called on a plain object it is a plain method.
    See docs/guides/decorators.md.
    """
    setattr(method, OUTSIDE, True)
    return method


@overload
def transactional(method: F, /) -> F: ...


@overload
def transactional(*, parts: Sequence[str]) -> Callable[[F], F]: ...


def transactional(method: Any = None, /, *, parts: Sequence[str] = ()) -> Any:
    """If the method raises, its call leaves no trace, in memory or on disk.

    The cost is on the failing path: the state is rebuilt from the newest snapshot and the journal.

    With ``parts``, the attributes of the domain that are all the method changes, it lies on every call
    instead: they are pickled before it, and put back if it raises. A part must own what it holds: an
    object that another attribute refers to as well is put back as one of its own. With ``check=True``
    both are looked after. docs/guides/transactions.md says what either costs.
    """
    names = not isinstance(parts, str) and isinstance(parts, Collection) and all(isinstance(part, str) for part in parts)
    if method is None and not (names and parts):
        raise UsageError(f"@transactional(parts={shown(parts)}): must be the names of attributes, such as ('accounts',)")

    def mark(function: F) -> F:
        setattr(function, TRANSACTIONAL, tuple(parts) or True)
        return function

    return mark if method is None else mark(method)
