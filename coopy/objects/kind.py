"""What a class has once (`Kind`), what an object has (`Cell`), and where the methods of all objects of a class run (`Stage`).

A machine of the spine takes more than a kilobyte and 30 microseconds to make, which is too much for each of a million objects. So a class has
one machine, the stage, and an object goes onto it for as long as an action of it runs.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from coopy.errors import InterruptedReplay, PrevalentError, UsageError
from coopy.ground import action, keyed
from coopy.ground.raised import or_none
from coopy.ground.running import current
from coopy.ground.storage import MemoryWriter
from coopy.ground.words import shown
from coopy.spine import versions
from coopy.spine.effects import DONE
from coopy.spine.machine import Machine
from coopy.spine.methods import functions_of
from coopy.spine.replay import refuse_other
from coopy.values.codec import Codec, decode_one

__coopy_inside__ = True  # See `coopy.spine.calling`.
__coopy_machine__ = True  # See `coopy.ground.running`.

KEY_BYTES_MAX = 512
"""A key stands in every record of its object."""
_COST = 4
"""An object takes about so many times the memory that its pickle has."""
_CELL_BYTES = 700
"""What an active object takes beside that: its cell, its place in the tables, its own head."""
_DUE_ACTIONS = 100
"""After so many actions the state is written again, so that a start of the object has no more to replay."""
_BYTES_AN_ACTION = 512
"""Loading so many bytes of a state takes as long as replaying one action."""


class Cell:
    """An object that is active. Guarded by the lock of the engine."""

    __slots__ = ("domain", "place", "number", "outcome", "sure", "since", "size_bytes", "due", "touched", "pending", "kept")

    def __init__(
        self, domain: Any, place: int, number: int, outcome: int, since: int, state_bytes: int, kept: dict[str, Any]
    ) -> None:
        self.domain = domain
        """The plain object; None if the next action makes it."""
        self.place = place
        """The number of its key in the table."""
        self.number = number
        """The number of its last action; 0 if there was none."""
        self.outcome = outcome
        """How that has ended."""
        self.sure = True
        """Whether the state is that after the last action, and the log has all of it."""
        self.since = since
        """How many actions the newest state in the log lacks."""
        self.size_bytes = _CELL_BYTES + _COST * state_bytes
        """About how much memory it takes."""
        self.due = _DUE_ACTIONS + state_bytes // _BYTES_AN_ACTION
        """After so many actions the state is written again."""
        self.pending = 0
        """The index that its newest record gets, while that is not in the log yet; else 0."""
        self.kept = kept or None
        """What it has besides: alarms, effects, and calls that wait. None if that is nothing."""
        self.touched = 0.0
        """When it was called last; of time.monotonic()."""


class Stage(Machine):
    """The machine of all objects of a class: the one whose action runs is on it."""

    __slots__ = ("root", "key", "kind", "kept", "told", "ran", "_asked", "_asked_by")

    root: bytes
    key: bytes
    kind: Kind
    kept: dict[str, Any]

    def __init__(self, domain: Any, root: bytes) -> None:
        self.root = root
        self.key = b""
        self.kept = {}
        self.told: list[tuple[Kind, bytes, bytes]] = []
        """Whom the running action has told something: the class, the key and the call."""
        self.ran: Any = None
        """The method that a call which waited, or an alarm, has run."""
        self._asked: list[tuple[str, int, bytes]] = []
        self._asked_by = 0
        super().__init__(domain, 0, action.header(0, 0, action.UNKNOWN), root)

    @property
    def secret(self) -> bytes:
        """What the draws of an action are made from: of the system's secret and the key."""
        import hashlib

        return hashlib.blake2b(self.key, key=self.root, digest_size=32, person=b"coopy object").digest()

    @secret.setter
    def secret(self, value: bytes) -> None:
        self.root = value

    def enter(self, key: bytes, domain: Any, number: int, kept: dict[str, Any]) -> None:
        """Has an object come onto the stage, whose last action had a number."""
        self.key = key
        self.kept = kept
        self._asked_by = 0
        self._asked.clear()
        self.told.clear()
        self.domain = domain
        self.applied = self.index = number
        self.draws = self.chance = None

        if self.own_code and domain is not None:
            versions.enter(self)

    def made(self, domain: Any) -> None:
        """Takes an object that the running action has made."""
        if self.own_code:
            self.domain = domain
            versions.enter(self)

    def left(self, domain: Any) -> None:
        """Has an object leave the stage: it is a plain one, and has the newest bodies."""
        self.domain = None
        if self.own_code:
            versions.leave(domain)

    def set_alarm(self, name: str, due: int, call: bytes) -> None:
        """Sets an alarm once the running action has returned; one without a call unsets it."""
        self._keep_earlier()
        self._asked.append((name, due, call))

    def _keep_earlier(self) -> None:
        """Keeps the alarms that an action before this one has set: at replay nobody else does."""
        if self._asked_by != self.index:
            self.commit()
            self._asked_by = self.index

    @property
    def has_asked(self) -> bool:
        """Whether the action that has run last has set alarms."""
        return bool(self._asked)

    def commit(self) -> None:
        """Keeps the alarms that an action has set which has returned, and the effects that it has asked for."""
        for name, due, call in self._asked:
            if due == _EFFECT:
                self.kept.setdefault("effects", {})[name] = call
                continue
            alarms = self.kept.setdefault("alarms", {})
            alarms.pop(name, None)
            if call:
                alarms[name] = due, call
        self._asked.clear()

    def drop_effects(self) -> None:
        """Forgets what an action has asked for that has raised."""
        if self._asked_by == self.index:
            self._asked.clear()
        self.told.clear()

    def run_told(self) -> Any:
        """Runs the first call that waits."""
        return self._run_kept(self.kept["inbox"].pop(0))

    def run_alarm(self, name: str, due: int) -> Any:
        """Runs the call of an alarm, unless it was set anew or unset."""
        self._keep_earlier()
        alarms = self.kept.get("alarms", {})
        if alarms.get(name, (0,))[0] != due:
            return None
        return self._run_kept(alarms.pop(name)[1])

    def pass_over(self, name: str = "", due: int = 0) -> None:
        """Drops a call that waits, or an alarm, that was run and undone."""
        self._keep_earlier()
        alarms = self.kept.get("alarms", {})
        if not name:
            self.kept["inbox"].pop(0)
        elif alarms.get(name, (0,))[0] == due:
            del alarms[name]

    def _run_kept(self, call: bytes) -> Any:
        name, args = decode_one(call)
        kwargs: dict[str, Any] = {}
        if name is None:
            name, args, *rest = self.kind.codec.decode_call(args)
            kwargs = rest[0] if rest else {}
        self.ran = self.methods[name]
        return self.ran(*args, **kwargs)

    def receive(self, domain: Any) -> None:
        super().receive(domain)
        self.methods.update(
            {keyed.TAKE: self.run_told, keyed.ALARM: self.run_alarm, keyed.PASSED: self.pass_over, DONE: self.carried_out}
        )

    def ask(self, effect: bytes) -> None:
        """Takes an effect of the running action, which waits in the object once that has returned."""
        self._keep_earlier()
        number = sum(due == _EFFECT for _, due, _ in self._asked)
        self._asked.append((f"{self.index}.{number}", _EFFECT, effect))

    def carried_out(self, name: str, _: Any = None) -> None:
        """Drops an effect, which has been carried out."""
        self._keep_earlier()
        self.kept.get("effects", {}).pop(name, None)


class Action:
    """An action as it was recorded, and how it ended."""

    __slots__ = ("index", "header", "version", "code", "call", "outcome", "told")

    def __init__(
        self, index: int, header: bytes, version: int, code: int, call: bytes, outcome: int, told: bytes | None = None
    ) -> None:
        self.code = code
        """The code version that was enabled."""
        self.told = told
        """The call that came to wait; None of an action."""
        self.index = index
        """That of its record."""
        self.header = header
        self.version = version
        self.call = call
        self.outcome = outcome


class Kind:
    """A class whose objects are kept."""

    def __init__(self, cls: type, prefix: bytes, secret: bytes, deterministic: bool) -> None:
        self.cls = cls
        self.prefix = prefix
        """What the keys of its objects begin with in the log: nothing, for the class of the directory."""
        self.system = ""
        """Id of the system, for handles that are pickled."""
        self.codec = Codec(cls)
        self.takes_key = _takes_key(cls)
        self.version: int = self.codec.migration.version
        make: Any = cls
        self.stage = Stage(make.__new__(make), secret)
        self.stage.kind = self
        self.stage.deterministic = deterministic
        self.code = self.stage.code
        """The code version of actions that are recorded now: the newest. Those of before are replayed with the bodies of their day."""
        self.functions = functions_of(cls)
        self.of: Callable[[type], Kind] = _no_others
        """Returns what another class has, whose objects are in the same directory."""
        self.handle: Callable[[bytes], Any] = self.text
        """Makes what users call an object by."""

    def stored(self, key: object) -> bytes:
        """Returns a key as records have it. Raises `UsageError`."""
        if type(key) is not str:
            raise UsageError(f"{shown(key)} is no key: a key is a str, as {str(key)!r}. Nothing was called.")
        try:
            found = key.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"{key!r} is no key: it has half of a surrogate pair, which UTF-8 has no bytes for.") from None
        if not found or len(found) > KEY_BYTES_MAX or b"\0" in found:
            raise UsageError(f"{shown(key)} is no key: a key has 1 to {KEY_BYTES_MAX} bytes of UTF-8, and no zero among them.")
        return self.prefix + found

    def text(self, key: bytes) -> str:
        """Returns the key that a user knows."""
        return key[len(self.prefix) :].decode("utf-8")

    def made(self, key: bytes) -> Any:
        """Returns a new object of a key."""
        make: Any = self.cls
        return make(self.text(key)) if self.takes_key else make()

    # -- states

    def dumped(self, cell: Cell, header: bytes) -> bytes:
        """Returns the call of a record that holds the state of an object. Raises `EncodingError`."""
        writer = MemoryWriter()
        self.codec.dump_state(cell.domain, writer)
        besides = pickle.dumps({"number": cell.number, **(cell.kept or {})}, 5)
        data = action.head(header, cell.outcome, self.version, besides) + writer.value()
        return _STATE_OPCODES + len(data).to_bytes(4, "little") + data

    def loaded(self, call: bytes) -> tuple[Any, dict[str, Any], int, int]:
        """Returns the object that a state holds, what it has besides, how its last action had ended, and the size of the state.

        Raises `DecodingError`, `ChangedClass`, `NewerVersion`.
        """
        _, data = decode_one(call)
        header, version, size = action.HEAD.unpack_from(data)
        self.codec.refuse_newer(version, "the state of the object")
        start = action.HEAD.size + size
        kept = pickle.loads(data[action.HEAD.size : start])
        domain = self.codec.load_state(memoryview(data)[start:], version)
        if domain is not None:  # Of one that was told something and was not made yet.
            refuse_other(domain, self.cls)
        return domain, kept, header[action.OUTCOME], len(data) - start

    # -- replay

    def replayed(
        self,
        key: bytes,
        domain: Any,
        number: int,
        kept: dict[str, Any],
        actions: Sequence[Action],
        where: Any,
        step: Callable[[int], None] | None = None,
    ) -> tuple[Any, int, int]:
        """Runs actions of an object again, of which the first makes it if there is no ``domain``. Adds to what it has besides.

        ``step`` is given the index of each before it is run.

        Returns the object, the number of the last action, and how that has ended. Raises `ReplayError`.
        """
        outcome = action.UNKNOWN
        # What an action of the same number has drawn before is not drawn on.
        self.stage.draws = self.stage.chance = None
        at = 0
        while at < len(actions):
            if actions[at].told is not None:
                kept.setdefault("inbox", []).append(actions[at].told)
                at += 1
                continue
            upto = at + 1
            if step is not None:
                step(actions[at].index)
            while (
                step is None
                and upto < len(actions)
                and (actions[upto].version, actions[upto].code) == (actions[at].version, actions[at].code)
                and domain is not None
                and actions[upto].told is None
            ):
                upto += 1
            run = actions[at:upto]
            if domain is None and run[0].outcome != action.WITHDRAWN:
                domain = self._made_again(key, number, run[0])
                if domain is None:
                    run[0].outcome = action.WITHDRAWN
            outcome = self._run(key, domain, number, kept, run, where)
            number += len(run)
            at = upto
        return domain, number, outcome

    def _made_again(self, key: bytes, number: int, first: Action) -> Any:
        """Returns the object that an action has made; None if making it has raised, so that the action was withdrawn."""
        stage = self.stage
        stage.enter(key, None, number, {})
        before = current.machine
        try:
            stage.header, stage.index, stage.running, stage.replaying = first.header, number + 1, True, True
            stage.code = first.code
            current.machine = stage
            return or_none(self.made, key) if first.outcome == action.UNKNOWN else self.made(key)
        finally:
            stage.running = stage.replaying = False
            stage.code = self.code
            current.machine = before

    def _run(self, key: bytes, domain: Any, number: int, kept: dict[str, Any], run: Sequence[Action], where: Any) -> int:
        """Replays actions that one version of the class has recorded. Returns how the last one has ended."""
        if domain is None:
            return action.WITHDRAWN
        stage, begun = self.stage, (self.stage.draws, self.stage.chance)
        headers = [first.header + bytes([before.outcome]) for before, first in zip([_NO_ACTION, *run], run, strict=False)]
        calls = [decode_one(each.call) for each in run]
        following = bytes(action.HEADER.size - 1) + bytes([run[-1].outcome])
        stage.code = run[0].code
        stage.enter(key, domain, number, kept)
        stage.refuse_newer_code(stage.code, where)
        stage.receive(domain)
        stage.draws, stage.chance = begun  # Making the object may have drawn in the same action.
        stage.version = run[0].version
        stage.outcome = action.UNKNOWN
        try:
            is_withdrawn = stage.replay(
                headers, [name for name, _ in calls], [args for _, args in calls], following, self.codec, where, 0
            )
        except InterruptedReplay as error:
            if run[-1].outcome != action.UNKNOWN or error.index != number + len(run):
                raise
            is_withdrawn = True
        finally:
            stage.version, stage.code = self.version, self.code
            stage.draws = stage.chance = None
            stage.left(domain)
        stage.commit()
        return action.WITHDRAWN if is_withdrawn else stage.outcome


_EFFECT = -1
"""What stands for an instant where an action asks for an effect: it is no alarm."""
_NO_ACTION = Action(0, b"", 0, 0, b"", action.UNKNOWN)
_STATE_OPCODES = b"\x8c" + bytes([len(keyed.STATE)]) + keyed.STATE.encode("ascii") + b"B"
_TOLD_OPCODES = b"\x8c" + bytes([len(keyed.TOLD)]) + keyed.TOLD.encode("ascii") + b"B"
NO_ARGUMENTS = b")"  # The opcode of pickle for an empty tuple.


def _no_others(cls: type) -> Kind:
    raise UsageError(f"there are no objects of {cls.__qualname__} here")


def told(call: bytes) -> bytes:
    """Returns the call of a record that has a call wait."""
    return _TOLD_OPCODES + len(call).to_bytes(4, "little") + call


def named(name: str) -> bytes:
    """Returns the call of a record that calls no method and has no arguments."""
    return b"\x8c" + bytes([len(name)]) + name.encode("ascii") + NO_ARGUMENTS


def _takes_key(cls: type) -> bool:
    """Returns whether the class is made of a key."""
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return False
    import inspect

    try:
        signature = inspect.signature(cls)
    except (TypeError, ValueError):
        return False
    for arguments in (("key",), ()):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise PrevalentError(
        f"{cls.__qualname__} can't be made of a key: its __init__ must take the key, or nothing. Nothing was opened."
    )


def beginning(prefix: object) -> bytes:
    """Returns what the stored keys begin with that begin with a text. Raises `UsageError`."""
    if not isinstance(prefix, str):
        raise UsageError(f"prefix={shown(prefix)}: must be a text")
    try:
        return prefix.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"prefix={prefix!r}: no key begins so, as UTF-8 has no bytes for half of a surrogate pair") from None
