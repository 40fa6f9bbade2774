"""The domain object and the index it has reached: the only place where domain methods run as actions. It has more than 500 lines
because its three loops are written out, and what old versions and interrupted actions need stands beside the loop it is for.

One call as it comes (`apply`) and many as they were recorded (`replay`) do the
same with the same inputs; `replay` only keeps the bookkeeping out of its loop.
What an action may depend on is the state, its arguments, and the clock and env,
which answer from the record's header and the index.
"""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType, GeneratorType, MemberDescriptorType, MethodType
from typing import Any, cast

from coopy import migration
from coopy.clock import clock
from coopy.env import env
from coopy.errors import (
    ChangedSignature,
    DecodingError,
    FailedUpgrade,
    InterruptedReplay,
    KeyedRecord,
    MissingMethod,
    NewerVersion,
    ReplayDiverged,
    ReplayError,
    UndecodableAction,
    UnsupportedFormat,
    UsageError,
)
from coopy.ground import action, decimals
from coopy.ground.batch import BATCH, WITHDRAWN, Batches
from coopy.ground.interruption import DOUBTFUL, INTERRUPTIONS, OUTSIDE, OWN, origin
from coopy.ground.running import current
from coopy.migration import MARK
from coopy.spine import versions
from coopy.spine.attributes import READING, called_by_name, hideable, made_attribute, methods_of
from coopy.spine.effects import DONE
from coopy.spine.methods import Function, is_withdrawing, method_of, whole
from coopy.spine.parts import CHANGING, change
from coopy.spine.versions import CODE
from coopy.values.codec import Codec, joined_headers

__coopy_inside__ = True  # See `coopy.spine.calling`.
__coopy_machine__ = True  # See `coopy.ground.running`.

NOTHING_FOLLOWS = action.header(0, 0, action.UNKNOWN)
_UNKNOWN, _RETURNED = action.UNKNOWN, action.RETURNED
_decimals = decimals.used
UNSURE = -2
"""What `Machine.applied` is while an action runs, and after one that was interrupted: no index."""


def _decoded(
    names: list[str | None], arguments: list[Any], outcomes: Sequence[int], codec: Codec
) -> tuple[list[str | None], list[Any]]:
    """The same actions: those without a name that can be decoded together are, as far as they have no arguments by name."""
    places = [
        place
        for place, name in enumerate(names)
        if name is None and arguments[place] is not None and outcomes[place] != action.WITHDRAWN
    ]
    calls = codec.decode_simple([arguments[place] for place in places])
    names, arguments = list(names), list(arguments)
    for place, call in zip(places, calls, strict=True):
        if call is None:
            continue
        if len(call) > 2:
            arguments[place] = call
        else:
            names[place], arguments[place] = call
    return names, arguments


class Machine:
    """A domain object at an index."""

    __slots__ = (
        "domain",
        "applied",
        "index",
        "header",
        "outcome",
        "secret",
        "running",
        "draws",
        "deterministic",
        "chance",
        "methods",
        "migration",
        "version",
        "effects",
        "asked",
        "batches",
        "code",
        "own_code",
        "is_doubtful",
        "replaying",
        "_numbered",
        "__weakref__",
    )

    def __init__(
        self,
        domain: Any,
        applied: int,
        header: bytes,
        secret: bytes,
        version: int | None = None,
        besides: bytes | memoryview = b"",
    ) -> None:
        self.domain = domain
        self.applied = applied
        """Index of the last action that was applied; UNSURE while the state may hold a part of another."""
        self.index = applied
        """Index of the action that runs, or has run last."""
        self.header = header
        """Header of the action that runs, or ran last."""
        self.outcome = header[action.OUTCOME]
        """How the last action ended."""
        self.is_doubtful = False
        """Whether nothing tells if the method that ran last has raised by itself."""
        self.secret = secret
        self.running = False
        self.replaying = False
        """Whether the action that runs was recorded before; see `coopy.ground.running.replaying`."""
        self.draws: object | None = None
        self.deterministic = False
        """Whether the standard library's clock and chance answer from the action, too."""
        self.chance: object | None = None
        self.methods = _Methods(domain)
        self.migration = migration.of(type(domain))
        self.version = self.migration.version if version is None else version
        """Version of the class that recorded what comes next."""
        kept: dict[str, Any] = pickle.loads(besides) if len(besides) else {}
        self.effects: dict[str, bytes] = kept.get("effects", {})
        """What actions asked for and is not known to have been carried out, by name."""
        self._numbered = 0, 0
        """The action that asked for an effect last, and how many it has asked for."""
        self.asked: Callable[[str], None] | None = None
        """Told the name of each effect that a live action asks for."""
        self.batches = Batches(*kept.get("batches", ()))
        """Which batches of the line that nodes share were applied."""
        self.own_code = versions.own(type(domain))
        """Highest code version that the class has."""
        self.code: int = versions.first(type(domain)) if version is None else kept.get("code", 0)
        """The code version that is enabled; see `coopy.spine.versions`."""
        self.methods.code = self.code
        if self.own_code:
            versions.enter(self)
        # They must not hold the machine, which holds them: a state goes with the last reference to it, not with a collection.
        myself: Any = weakref.proxy(self)
        decimals.look_at(type(domain))
        self.methods[DONE] = self.effects.pop
        self.methods[action.CLOCK] = _change_nothing
        self.methods[BATCH] = MethodType(Machine._begin_batch, myself)
        self.methods[WITHDRAWN] = MethodType(Machine._meet_withdrawal, myself)
        self.methods[CODE] = MethodType(Machine._begin_code, myself)
        equip(domain)

    def receive(self, domain: Any) -> None:
        """Goes on with another domain object of the same class: for who keeps many."""
        self.domain = domain
        self.methods = _Methods(domain)
        self.methods.code = self.code

    def emptied(self) -> Machine:
        """The same without the state: what is left of a system that is closed."""
        found = Machine(_Gone(), self.applied, self.header, self.secret, self.version, self.besides())
        found.outcome, found.own_code = self.outcome, self.own_code
        found.methods = _NoMethods(found.domain)
        return found

    def apply(self, header: bytes, method: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs one of ``methods`` as the next action. Raises what it raises.

        After that ``applied`` is UNSURE. ``outcome`` is RAISED if the method has raised by itself, and the caller says
        what becomes of the state it has left. It is RETURNED if the exception came after the method had returned. If it is UNKNOWN, an
        interruption has left the state in between; unless it ``is_doubtful``.
        """
        # The attributes of this thread: asked for once, not three times.
        here = current.__dict__
        before = here.get("machine")
        index = self.applied + 1
        context = decimals.outer() if _decimals.here else None
        # No `try` in the middle of another: CPython 3.11 leaves the step that begins it outside of both.
        try:
            try:
                if context is not None:
                    decimals.begin(context)
                # Before the method runs, not after it was interrupted: there is no moment at which the
                # state holds half an action and does not say so.
                self.applied = UNSURE
                self.outcome = _UNKNOWN
                self.header = header
                self.index = index
                self.running = True
                here["machine"] = self
                result = method(*args, **kwargs) if kwargs else method(*args)
                if type(result) is GeneratorType:
                    result = iter(list(result))
                self.outcome = _RETURNED
                self.applied = index
                self.running = False
                here["machine"] = before
                if context is not None:
                    decimals.end(context)
            except BaseException as error:
                if self.outcome == _UNKNOWN and self.index == index:
                    self._ended(error)
                raise
        except BaseException:
            self.running = False
            here["machine"] = before
            if context is not None:
                decimals.end(context)
            raise
        return result

    def apply_all(self, headers: list[bytes], methods: Iterable[Function], arguments: Iterable[Any], values: list[Any]) -> None:
        """Runs actions in order, as `apply` does each, and adds to ``values`` what each returns. Raises what one raises.

        So many as there are arguments for, which are asked for one by one.
        """
        generator, add = GeneratorType, values.append
        before, outcome = current.machine, self.outcome
        first = self.applied + 1
        assert first > 0, "a machine that is not sure of its state is rebuilt before the next action"
        inside = False
        context = decimals.outer() if _decimals.here else None
        if context is not None:
            arguments = decimals.renewing(arguments)
        try:
            try:
                if context is not None:
                    decimals.begin(context)
                self.applied = UNSURE
                self.outcome = action.UNKNOWN
                self.running = True
                current.machine = self
                indexes = range(first, first + len(headers))
                for index, header, method, args in zip(indexes, headers, methods, arguments, strict=False):
                    self.header = header
                    self.index = index
                    inside = True
                    result = method(*args)
                    add(result if type(result) is not generator else iter(list(result)))
                    inside = False
                self.outcome = action.RETURNED if values else outcome
                self.applied = first + len(values) - 1
                self.running = False
                current.machine = before
                if context is not None:
                    decimals.end(context)
            except BaseException as error:
                if inside:
                    self._ended(error)
                raise
        except BaseException:
            self.running = False
            current.machine = before
            if context is not None:
                decimals.end(context)
            raise

    def _ended(self, error: BaseException) -> None:
        """Says how a method has ended that an exception has left."""
        found = origin(error)
        self.is_doubtful = found == DOUBTFUL
        if found == OWN:
            self.drop_effects()
            self.outcome = action.RAISED

    def replay(
        self,
        headers: list[bytes],
        names: list[str | None],
        arguments: list[Any],
        following: bytes,
        codec: Codec,
        where: Callable[[int], str],
        withdrawn: int,
        is_live: bool = False,
    ) -> bool:
        """Runs recorded actions; ``following`` is the header after the last of them. With ``is_live`` they are news to this process.

        Skips those recorded as withdrawn, and the one whose index is ``withdrawn``. Returns
        whether the last one raised, its recorded outcome is not known, and its method's mark
        says that it is to be withdrawn. Raises `ReplayError` at the first that does not fit, and what came from outside.
        """
        methods, index = self.methods, self.applied
        name: str | None = None
        args, recorded, outcome = (), action.UNKNOWN, self.outcome
        # How each action ended stands in the header of the record after it.
        joined = joined_headers(headers, arguments)
        size = len(joined) // len(headers)
        endings = joined[size - 1 :: size] + following[action.OUTCOME :]
        if endings.translate(None, action.KNOWN):
            raise self._of_a_later_release(index, endings, where)
        outcomes = bytearray(endings[1:])
        if withdrawn:
            _mark_withdrawn(arguments, outcomes, withdrawn - index)
        if None in names and not _decimals.here:
            decimals.look_for(arguments)
        if self.version != self.migration.version:
            names, arguments = self._old(names, arguments, outcomes, codec, where)
        if None in names or action.WITHDRAWN in outcomes:
            headers, names, arguments, outcomes = self._made_plain(headers, names, arguments, outcomes, codec)
        generator = GeneratorType
        before = current.machine
        context = decimals.outer() if _decimals.here else None
        in_turn = arguments if context is None else decimals.renewing(arguments)
        indexes = range(index + 1, index + 1 + len(names))
        try:
            try:
                if context is not None:
                    decimals.begin(context)
                self.running = True
                self.replaying = not is_live
                current.machine = self
                self.applied = UNSURE
                for index, header, name, args, recorded in zip(indexes, headers, names, in_turn, outcomes, strict=False):
                    method = methods[name]
                    self.header = header
                    self.index = index
                    try:
                        result = method(*args)
                        if type(result) is generator:
                            list(result)
                    except (ReplayError, MissingName):
                        raise
                    except INTERRUPTIONS as error:
                        raise self._interrupted(index, name, args, codec, where, recorded, error) from error
                    except DecodingError as error:
                        raise UndecodableAction(index, where(index), error) from error
                    except BaseException as error:
                        if origin(error) == OUTSIDE:
                            raise
                        if recorded == 1:  # action.RETURNED
                            raise self._diverged(index, name, args, codec, where, recorded, 2, error) from error
                        outcome = 2  # action.RAISED
                        self.drop_effects()
                    else:
                        if recorded == 2:
                            raise self._diverged(index, name, args, codec, where, recorded, 1, None)
                        outcome = 1
                self.applied = index
            except MissingName as missing:
                raise self._missing(index, missing, name, args, codec, where) from None
            finally:
                self.running = self.replaying = False
                current.machine = before
        finally:
            # Twice, as the first may be interrupted as well.
            self.running = self.replaying = False
            current.machine = before
            if context is not None:
                decimals.end(context)
            for each in _OURS:
                methods.pop(each, None)
            self.outcome = action.WITHDRAWN if recorded == action.WITHDRAWN else outcome
        if outcome != action.RAISED or recorded != action.UNKNOWN or not names:
            return False
        return is_withdrawing(methods[self._call_of(name, args, codec, where).method])

    def _made_plain(
        self,
        headers: list[bytes],
        names: list[str | None],
        arguments: list[Any],
        outcomes: bytearray,
        codec: Codec,
    ) -> tuple[list[bytes], list[str | None], list[Any], bytearray]:
        """The same actions, such that each is a method called with a tuple: the loop needs no other test."""

        def opaque(data: Any) -> Any:
            name, args, *rest = codec.decode_call(data, None, self.domain)
            return self.methods[name](*args, **(rest[0] if rest else {}))

        self.methods[_OPAQUE] = opaque
        self.methods[_NOTHING] = lambda: None
        if None in names:
            names, arguments = _decoded(names, arguments, outcomes, codec)
            if None not in names and action.WITHDRAWN not in outcomes:
                return headers, names, arguments, outcomes
        plain = []
        for header, name, args, recorded in zip(headers, names, arguments, outcomes, strict=False):
            if args is None:
                continue  # An amendment: the outcome before it has been taken from it.
            if recorded == action.WITHDRAWN:
                name, args = _NOTHING, ()
            elif name is None:
                name, args = _OPAQUE, (args,)
            plain.append((header, name, args, recorded))
        return (
            [each[0] for each in plain],
            [each[1] for each in plain],
            [each[2] for each in plain],
            bytearray(each[3] for each in plain),
        )

    def _old(
        self,
        names: list[str | None],
        arguments: list[Any],
        outcomes: bytearray,
        codec: Codec,
        where: Callable[[int], str],
    ) -> tuple[list[str | None], list[Any]]:
        """The same actions, such that each is upgraded when its turn has come."""

        def run(name: str | None, args: Any, version: int, recorded: int) -> Any:
            call = self._todays(name, args, version, codec, where)
            if call is not None:
                return self.methods[call.method](*call.args, **call.kwargs)
            if recorded == action.RAISED:
                raise _NothingAnyMore
            return None

        def begin(version: int) -> None:
            self.refuse_newer(version, where)
            self.version = version

        self.methods.update({_OLD: run, MARK: begin})
        version = self.version
        names, arguments = list(names), list(arguments)
        for place, (name, args) in enumerate(zip(names, arguments, strict=True)):
            if name == MARK:
                version = args[0]
            elif args is not None and outcomes[place] != action.WITHDRAWN:
                names[place], arguments[place] = _OLD, (name, args, version, outcomes[place])
        return names, arguments

    def _todays(
        self, name: str | None, args: Any, version: int, codec: Codec, where: Callable[[int], str]
    ) -> migration.Call | None:
        name, args, *rest = (name, args) if name is not None else codec.decode_call(args, version, self.domain)
        call = migration.Call(cast(str, name), *args, **(rest[0] if rest else {}))
        try:
            return self.migration.upgraded(version, call)
        except Exception as error:
            index = self.index
            raise FailedUpgrade(index, call.method, where(index), version, error) from error

    def besides(self) -> bytes:
        """What the machine has besides the domain object, for the head of its state: a pickle, or nothing.

        A dict of what is not empty: ``effects`` by name, see `coopy.spine.effects`; ``batches``, the
        members of `coopy.ground.batch.Batches`; and ``code``, the code version that is enabled, see
        `coopy.spine.versions`.
        """
        kept: dict[str, Any] = {}
        if self.effects:
            kept["effects"] = self.effects
        if self.batches.sequence:
            kept["batches"] = tuple(self.batches)
        if self.code:
            kept["code"] = self.code
        return pickle.dumps(kept, 5) if kept else b""

    def _begin_batch(self, *found: Any) -> None:
        self.batches = self.batches.begun(self.index + 1, *found)

    def _meet_withdrawal(self, sequence: int, index: int) -> None:
        self.batches = self.batches.met(self.index + 1, sequence, index)

    def ask(self, effect: bytes) -> None:
        """Takes an effect that the running action asks for."""
        index = self.index
        number = self._numbered[1] if self._numbered[0] == index else 0
        self._numbered = index, number + 1
        name = f"{index}.{number}"
        self.effects[name] = effect
        if self.asked is not None:
            self.asked(name)

    def drop_effects(self) -> None:
        """Forgets what an action asked for that raised."""
        number = 0
        while self.effects.pop(f"{self.index}.{number}", None) is not None:
            number += 1

    @property
    def reached(self) -> int:
        """Index of the last action that was applied whole, also while another runs."""
        applied = self.applied
        return applied if applied != UNSURE else self.index - 1

    @property
    def _next(self) -> int:
        """Index of the action that runs, or else of the next."""
        return self.index if self.running else self.applied + 1

    def begin_version(self, version: int) -> None:
        """What the action does that says from where on a version of the class records."""
        self.version = version

    def refuse_newer(self, version: int, where: Callable[[int], str]) -> None:
        """Raises `NewerVersion` if today's class is older than what recorded."""
        if version > self.migration.version:
            index, cls = self._next, type(self.domain).__qualname__
            raise NewerVersion(index, MARK, where(index), cls, version, self.migration.version)

    def _begin_code(self, version: int) -> None:
        if version > self.own_code:
            raise MissingName(CODE, version)
        if version > self.code:
            self.code = version
            self.methods.forget(version)

    def refuse_newer_code(self, version: int, where: Callable[[int], str]) -> None:
        """Raises `NewerVersion` if the class does not have a code version that the next action enables."""
        if version > self.own_code:
            index = self._next
            raise self._newer_code(index, version, where(index))

    def _newer_code(self, index: int, version: int, where: str) -> ReplayError:
        return NewerVersion(index, CODE, where, f"the methods of {type(self.domain).__qualname__}", version, self.own_code)

    def _missing(
        self, index: int, error: MissingName, name: str | None, args: Any, codec: Codec, where: Callable[[int], str]
    ) -> ReplayError:
        missing = error.args[0]
        if missing == MARK:
            self.refuse_newer(args[0], where)
        if missing == CODE:
            return self._newer_code(index, error.args[1], where(index))
        cls = type(self.domain).__qualname__
        if isinstance(error, NotEnabled):
            return MissingMethod(index, missing, where(index), f"{cls} in code version {self.code}")
        call = self._call_of(name, args, codec, where)
        stub = migration.stub_of_action(cls, call, self.migration.version, "'new_name'")
        return MissingMethod(index, missing, where(index), cls, stub)

    def _diverged(
        self,
        index: int,
        name: str | None,
        args: Any,
        codec: Codec,
        where: Callable[[int], str],
        recorded: int,
        outcome: int,
        error: BaseException | None,
    ) -> ReplayError:
        names = action.OUTCOMES
        call = self._call_of(name, args, codec, where)
        if isinstance(error, TypeError) and not _fits(self.methods[call.method], call):
            cls = type(self.domain).__qualname__
            stub = migration.stub_of_action(cls, call, self.migration.version, repr(call.method))
            return ChangedSignature(index, call.method, where(index), f"{error}", stub)
        detail = f" ({type(error).__name__}: {error})" if error is not None else ""
        return ReplayDiverged(index, call.method, where(index), names[recorded], names[outcome], detail)

    def _interrupted(
        self,
        index: int,
        name: str | None,
        args: Any,
        codec: Codec,
        where: Callable[[int], str],
        recorded: int,
        error: BaseException,
    ) -> ReplayError:
        method = self._call_of(name, args, codec, where).method
        return InterruptedReplay(index, method, where(index), action.OUTCOMES[recorded], error)

    def _of_a_later_release(self, index: int, outcomes: Sequence[int], where: Callable[[int], str]) -> UnsupportedFormat:
        place = next((place for place, outcome in enumerate(outcomes) if outcome not in action.KNOWN), 0)
        return KeyedRecord(where(index + 1 + place))

    def _call_of(self, name: str | None, args: Any, codec: Codec, where: Callable[[int], str]) -> migration.Call:
        """The call that an entry of the loop is."""
        if name == _OLD:
            name, args, version, _ = args
            return self._todays(name, args, version, codec, where) or migration.Call("?")
        if name == _OPAQUE:
            name, args, *rest = codec.decode_call(args[0], None, self.domain)
        else:
            rest = []
        return migration.Call(cast(str, name), *args, **(rest[0] if rest else {}))


def running_in(frame: FrameType | None) -> Machine | None:
    """Returns the machine of which an action runs, from a frame outwards: where what said so was lost."""
    while frame is not None:
        machine = frame.f_locals.get("self") if frame.f_code in RUNNERS else None
        if machine is not None and machine.running:
            return cast(Machine, machine)
        frame = frame.f_back
    return None


RUNNERS = frozenset(each.__code__ for each in (Machine.apply, Machine.apply_all, Machine.replay))
_OPAQUE = "<opaque>"
_OLD = "<old>"
_NOTHING = "<nothing>"
_OURS = (_OPAQUE, _OLD, _NOTHING, MARK)


def _change_nothing(before: str) -> None:
    """What the action does with which the clock was put back: it says how late it was."""


class _Gone:
    """What a machine has in place of the state of a system that is closed."""


class MissingName(Exception):
    """The domain has no method of a name."""


class NotEnabled(MissingName, UsageError):
    """The domain has no method of a name in the code version that is enabled."""

    def __str__(self) -> str:
        return str(self.args[1])


class _NothingAnyMore(Exception):
    """Raised for an action that is nothing today and raised in its day."""


def _fits(method: Function, call: migration.Call) -> bool:
    """Whether a method can be called so; also if that can't be known."""
    import inspect

    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*call.args, **call.kwargs)
    except TypeError:
        return False
    return True


_OF_ATTRIBUTES = frozenset({"__setattr__", "__delattr__"})


class _Methods(dict[str | None, Function]):
    """The methods of a domain by the name that an action carries."""

    code = 0
    """The code version that is enabled."""
    hid: Callable[[str], object] | None = None
    """Told the name of each method that an attribute may hide from now on. Raises nothing."""

    def __init__(self, domain: Any) -> None:
        super().__init__()
        self._domain = domain

    def forget(self, code: int) -> None:
        """Looks the domain's methods up anew: another code version is enabled."""
        self.code = code
        for name in [name for name in self if name is not None and not name.startswith("<")]:
            del self[name]

    def __missing__(self, name: str | None) -> Function:
        domain = self._domain
        cls: Any = type(domain)
        if name is None:
            raise MissingName(name)
        if name == READING:
            found: Function = partial(made_attribute, domain)
            self[name] = found
            return found
        if name == CHANGING:
            found = self[name] = partial(change, domain)
            return found
        if name in hideable(cls) or callable(getattr(domain, "__dict__", {}).get(name)):
            found = self[name] = called_by_name(domain, name)
            return found
        for base in cls.__mro__:
            if name in vars(base):
                function: Any = method_of(cls, name, vars(base)[name])
                if function is not None:
                    enabled: Any = versions.body(function, self.code)
                    if enabled is None:
                        raise NotEnabled(name, versions.not_enabled(name, function, self.code))
                    method = whole(name, enabled).__get__(domain, cls)
                    self[name] = self._forgetting(method) if name in _OF_ATTRIBUTES else method
                    return self[name]
                break
        if not callable(getattr(domain, name, None)):
            raise MissingName(name)
        # What a property gives, or ``__getattr__``.
        found = self[name] = called_by_name(domain, name)
        return found

    def _forgetting(self, method: Function) -> Function:
        """A method that sets or deletes an attribute, after which a method of that name is looked up anew: it may be hidden."""

        names = methods_of(type(self._domain))

        def set_or_delete(name: str, *value: Any) -> None:
            method(name, *value)
            if name in self:
                del self[name]

        def set_one(name: str, value: Any) -> None:
            method(name, value)
            if name in self:
                del self[name]
            if name in names and self.hid is not None:
                self.hid(name)

        return set_one if method.__name__ == "__setattr__" else set_or_delete


class _NoMethods(_Methods):
    """Those of a system that is closed: the log refuses each call, and no method has to be there for that."""

    def __missing__(self, name: str | None) -> Function:
        return _nothing


def _nothing(*_: object) -> None:
    pass


def _mark_withdrawn(arguments: list[Any], outcomes: bytearray, number: int) -> None:
    """Marks the call of that number, from 1, if it is among these."""
    for place, args in enumerate(arguments):
        number -= args is not None
        if number == 0:
            outcomes[place] = action.WITHDRAWN
            return


def equip(domain: Any) -> None:
    """Gives a domain ``_clock`` and ``_env``: on its class, so that the object itself has nothing but what is its own.

    What the class or the object has of such a name stays, unless it is a clock or an env of ours, as one that a test has given it.
    """
    cls = type(domain)
    for name, value in (("_clock", clock), ("_env", env)):
        own = getattr(domain, "__dict__", {})
        if isinstance(own.get(name), type(value)):
            del own[name]
        found = getattr(cls, name, None)
        if isinstance(found, MemberDescriptorType):  # It has a slot for it.
            object.__setattr__(domain, name, value)
        elif found is None or (isinstance(found, type(value)) and found is not value):
            with suppress(TypeError):  # A class of C takes nothing, and none of its methods asks for it.
                type.__setattr__(cls, name, value)


def construct(cls: type, header: bytes, secret: bytes, deterministic: bool = False) -> Any:
    """A new domain object, its ``__init__`` run with a clock and an env as if it were an action."""
    if type(cls).__call__ is not type.__call__:
        return cls()
    make: Any = cls
    domain = make.__new__(make)
    if not isinstance(domain, cls):
        return domain
    machine = Machine(domain, -1, header, secret)
    machine.index = 0
    machine.deterministic = deterministic
    before = current.machine
    context = decimals.outer() if _decimals.here else None
    try:
        try:
            current.machine = machine
            if context is not None:
                decimals.begin(context)
            make.__init__(domain)
        finally:
            current.machine = before
    finally:
        # Twice, as the first may be interrupted as well.
        current.machine = before
        if context is not None:
            decimals.end(context)
    if machine.effects:
        raise UsageError(
            f"{cls.__qualname__}.__init__ asks for an effect. The first state is no action, so nothing would say whether "
            f"it was carried out; call on_commit() in a method. No system was begun."
        )
    return domain
