"""check=True: an engine that looks at the state around every call, for development and for tests.

What it finds would go wrong one day, in a restart or in a replica, without a word:

* the state was changed outside any action: what a method returned is the live object
* a @readonly method changed it; an @abort_exception method did, before it raised; a @transactional
  one did outside its parts
* an argument is an object of the system, or holds one: the method gets a copy
* an argument that the system has kept was changed by the caller afterwards: the system has the
  argument as it was
* the action depends on the order of a set, on addresses, the time zone or the environment: a
  shadow, a second process with others, replays each action and compares

The state is digested around every call (`coopy.values.digest`), which takes about as long as a snapshot.
When it was changed it is put back as the journal has it before the error is raised.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, ItemsView, Iterator, KeysView, Sequence, ValuesView
from typing import Any, NamedTuple

from coopy.errors import CheckFailed, EncodingError, NotRepeatable, SharedArgument, StateChanged
from coopy.ground.raised import or_none
from coopy.ground.running import current
from coopy.spine.attributes import ATTRIBUTES
from coopy.spine.calling import Call, begin_each
from coopy.spine.engine import Engine, with_lock
from coopy.spine.methods import Function, Method
from coopy.spine.replay import Progress
from coopy.values import deep, digest, entities
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.
WATCHED_MAX = 1000
"""So many results and arguments are remembered."""

Shadow = Callable[[int, int, bytes], "dict[str, bytes] | str | None"]
"""Given an index, how the action ended, and the digest behind it: answers None if it comes to the same, the
digests of the members of its own state if not, or what happened to it."""


class WatchedCodec(Codec):
    """Remembers the arguments of the last call as the method gets them."""

    given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def encode_call(self, *call: Any, **options: Any) -> tuple[bytes, tuple[Any, ...], dict[str, Any]]:
        data, args, kwargs = super().encode_call(*call, **options)
        self.given = (args, kwargs)
        return data, args, kwargs


class CheckedEngine(Engine):
    """An engine that raises a `CheckFailed` when something is found."""

    _codec: WatchedCodec
    looks_at_reads = True
    gives_parts = False
    """A change that is no call of a method is what is looked for here."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.shadow: Shadow | None = None
        self._expected = b""
        self._objects: list[Any] = []
        self._results: list[_Result] = []
        self._arguments: list[_Argument] = []

    def start(self, progress: Progress | None = None, loading: Progress | None = None) -> None:
        super().start(progress, loading)
        self.run(self._remember)

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        nested, index, result, failure = self._call_and_look(method, args, kwargs)
        if wait and not nested:
            self.settle(index)
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # Its traceback has this frame.
        return result

    @with_lock
    def _call_and_look(
        self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bool, int, Any, Exception | None]:
        failure: Exception | None = None
        result = None
        if self.machine.running:
            return True, 0, super().call(method, args, kwargs), None
        self._look_for_changes()
        self._refuse_objects_of_the_system(method, args, kwargs)
        before = self._expected
        try:
            result = super().call(method, args, kwargs, False)
        except Exception as error:  # The domain's own: it is raised below, once the state has been compared.
            failure = error
        index = self.log.last
        if failure is None or self.machine.applied == index:
            self._remember()
            method = method.of(self.machine.code)
            if failure is not None and (method.abort or method.parts) and self._expected != before:
                raise self._changed_before_raising(method, failure)
            self._watch(method, args, kwargs, result)
            self._compare_with_shadow(method.name, index)
        try:
            return False, index, result, failure
        finally:
            failure = None  # Its traceback has this frame, which has the state.

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        nested, seen, result = self._read_and_look(function, args, kwargs)
        if wait and not nested:
            self.settle(seen)
        return result

    @with_lock
    def _read_and_look(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, int, Any]:
        if self.machine.running:
            return True, 0, super().read(function, args, kwargs)
        self._look_for_changes()
        try:
            result = super().read(function, args, kwargs, False)
        finally:
            self._refuse_a_change_by(function)
        self._hand_out(_told(function, args), result)
        return False, self.log.last, result

    def begin_all(self, calls: Sequence[Call]) -> Any:
        begin_each(self, calls)
        return self.log.last

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if current.machine is self.machine:
            return super().read_unlocked(function, args, kwargs)
        return self.read(function, args, kwargs)

    @with_lock
    def close(self) -> None:
        """As of any engine. Raises `StateChanged` once it is closed, if the state was changed since the last call."""
        changed: StateChanged | None = None
        takes_calls = self.log.settled >= 0
        if takes_calls and self.machine.applied == self.log.last and not self.machine.running:
            try:
                self._look_for_changes()
            except StateChanged as error:
                changed = error
            except SharedArgument:
                pass  # What the caller has changed is no part of the state.
        super().close()
        if changed is not None:
            raise changed

    def let_go(self) -> None:
        super().let_go()
        self._objects, self._results, self._arguments = [], [], []
        self._codec.given = (), {}

    # -- with the lock held

    def _remember(self) -> None:
        """Takes the state as it is for the one that is to be."""
        self._expected, self._objects = digest.survey(self.machine.domain)

    def _look_for_changes(self) -> None:
        """Raises `StateChanged` if the state is not what the last action left, `SharedArgument` if an argument was changed."""
        found, self._objects = digest.survey(self._current().domain)
        if found != self._expected:
            tampered = dict(digest.members(self.machine.domain))
            places = self._put_back()
            changed = {id(one) for place in places if place in tampered for one in _objects_in(tampered[place])}
            ways = {each.text for each in self._results if any(id(one) in changed for one in _objects_in(each.value))}
            self._results.clear()
            raise StateChanged(
                f"the state was changed outside any action, at {digest.listed(places)}, perhaps through "
                f"{', '.join(sorted(ways)) or 'something that a method has returned'}. The journal knows nothing of it, so "
                f"the state was put back. Change it in a method, and let methods return copies."
            )
        for each in self._arguments:
            if each.is_changed(self.machine.domain):
                self._arguments.remove(each)
                raise SharedArgument(
                    f"{each.text} was changed by the caller after the call, and the system has kept it: what the system has "
                    f"is a copy, as it was at the call. Nothing was recorded. Change it in a method, or pass a new object."
                )

    def _refuse_a_change_by(self, function: Function) -> None:
        if digest.digest(self.machine.domain) == self._expected:
            return
        places = self._put_back()
        raise StateChanged(
            f"{_name_of(function)}() is a read and changed the state, at {digest.listed(places)}. The journal knows nothing of it, "
            f"so the state was put back. Let it change nothing, or take its mark @readonly away."
        )

    def _changed_before_raising(self, method: Method, failure: BaseException) -> CheckFailed:
        places = digest.listed(self._put_back())
        if method.parts:
            text = (
                f"{method.name}() is marked @transactional(parts={method.parts!r}), raised {type(failure).__name__} and left the "
                f"state changed, at {places}: it changes more than its parts, or they share objects with the rest. The state "
                f"was put back as before the call. Name all that it changes, or use @transactional without parts."
            )
        else:
            text = (
                f"{method.name}() is marked @abort_exception and changed state before it raised {type(failure).__name__}, at "
                f"{places}. The state was put back as before the call. Raise before changing anything, or mark it "
                f"@transactional."
            )
        error = StateChanged(text)
        error.__cause__ = failure
        return error

    def _put_back(self) -> list[str]:
        """Rebuilds the machine from the journal. The places in which it was otherwise."""
        was = digest.digests(self.machine.domain)
        self._rebuild()
        self._remember()
        return digest.differing(was, digest.digests(self.machine.domain))

    def _refuse_objects_of_the_system(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        domain, theirs = self.machine.domain, set(map(id, self._objects))
        for name, value in _named(method, args, kwargs):
            for each in _copied(domain, value):
                if id(each) in theirs:
                    which = "is" if each is value else f"holds a {type(each).__qualname__} that is"
                    raise SharedArgument(
                        f"argument {name!r} of {method.name}() {which} an object of the system, and the method would get a copy "
                        f"of it: what it changes would not change in the system. Nothing was recorded. Pass its key and look "
                        f"it up inside the method, or mark {type(each).__qualname__} as an @entity."
                    )

    def _watch(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Remembers what the caller has in its hands now and the state has as well, or a copy of it."""
        domain, theirs = self.machine.domain, set(map(id, self._objects))
        given = dict(_named(method, *self._codec.given))
        for name, value in _named(method, args, kwargs):
            copy = given.get(name)
            if copy is not value and any(id(each) in theirs for each in _copied(domain, copy)):
                self._arguments.append(_Argument(value, f"argument {name!r} of {method.name}()", domain))
        del self._arguments[:-WATCHED_MAX]
        self._hand_out(f"what {method.name}() returned", result)

    def _hand_out(self, text: str, result: Any) -> None:
        theirs = set(map(id, self._objects))
        held = list(result) if isinstance(result, (KeysView, ValuesView, ItemsView)) else result
        if result is not self.proxy and any(id(each) in theirs for each in _objects_in(held)):
            self._results.append(_Result(held, text))
            del self._results[:-WATCHED_MAX]

    def _compare_with_shadow(self, name: str, index: int) -> None:
        if self.shadow is None:
            return
        found = self.shadow(index, self.machine.outcome, self._expected)
        if found is None:
            return
        places = [] if isinstance(found, str) else digest.differing(digest.digests(self.machine.domain), found)
        what = found if isinstance(found, str) else f"gives another state, at {digest.listed(places)}"
        raise NotRepeatable(
            f"action {index}, {name}(), {what}, in a second process with another hash seed, time zone and environment. It is "
            f"recorded, and a replay may come to another state as well. The method depends on the order of a set, on id(), "
            f"the time zone or the environment: sort the set, and pass what comes from outside as an argument.",
            index,
            name,
            tuple(places),
        )


class _Result(NamedTuple):
    """An object that a caller has from the system."""

    value: Any
    text: str


class _Argument:
    """An object of which the system has kept a copy, and how it was."""

    def __init__(self, value: Any, text: str, domain: object) -> None:
        self.text = text
        self._value = value
        self._was = _copy(domain, value)[0]

    def is_changed(self, domain: object) -> bool:
        return _copy(domain, self._value)[0] != self._was


class _Copied:
    """Notes each object that a pickle of an argument copies. Entities of the system are not copied."""

    def __init__(self, domain: object) -> None:
        self.file = io.BytesIO()
        super().__init__(self.file, 5)  # type: ignore[call-arg]
        self.found: list[Any] = []
        self._domain = domain

    def persistent_id(self, obj: object) -> str | None:
        if hasattr(type(obj), "_coopy_engine") or isinstance(obj, type) or entities.key_in(self._domain, obj) is not None:
            return "not copied"
        self.found.append(obj)
        return None


class _CopiedPlainly(_Copied, pickle.Pickler):
    pass


class _CopiedDeeply(_Copied, deep.Pickler):
    pass


def _copy(domain: object, value: object) -> tuple[bytes, list[Any]]:
    """A pickle, and the objects it copies, as far as pickle goes; dill takes the rest, and is not looked after."""
    pickler: Any = _CopiedPlainly(domain)
    # Methods of the value may raise anything.
    if or_none(_is_too_deep, pickler, value):
        pickler = _CopiedDeeply(domain)
        or_none(pickler.dump, value)
    return pickler.file.getvalue(), pickler.found


def _is_too_deep(pickler: pickle.Pickler, value: object) -> bool:
    """Pickles a value, unless it is deeper than the stack."""
    try:
        pickler.dump(value)
    except RecursionError:
        return True
    return False


def _copied(domain: object, value: object) -> list[Any]:
    return _copy(domain, value)[1]


def _objects_in(value: Any) -> list[Any]:
    """The objects that can change, in what a caller has; none if it cannot be digested."""
    if isinstance(value, (str, bytes, int, float, bool, type(None))):
        return []
    try:
        return digest.survey([value])[1][1:]
    except EncodingError:
        return []


def _named(method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    names = method.parameters
    yield from ((names[place] if place < len(names) else f"#{place + 1}", value) for place, value in enumerate(args))
    yield from kwargs.items()


def _told(function: Function, args: tuple[Any, ...]) -> str:
    return f"the attribute {args[0]}" if function in ATTRIBUTES else f"what {_name_of(function)}() returned"


def _name_of(function: Function) -> str:
    return getattr(function, "__name__", repr(function))
