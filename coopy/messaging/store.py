"""KeyValueStore and KeyValueClient: values by keys, for the processes of one machine without a server, and for other machines.
The module has more than 500 lines because both have the same methods, documented once each.

A store is a system of `coopy.messaging.store_state.Keys` in a directory that is shared; what is true of shared systems is true of it. Clients find it by
its ports, see `coopy.messaging.store_finding`; from other machines they come through `coopy serve`, with its key. The names and arguments are those of
PyDistributed, docs/guides/from-pydistributed.md says what is different; the guide is docs/guides/store.md.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import coopy
from coopy import CoopyError, SystemClosed, UsageError, init_system
from coopy.batteries import ALL, Change, Watch, thawed
from coopy.ground.words import shown
from coopy.messaging import store_json
from coopy.messaging.store_actions import (
    ExceptionAction,
    GetAction,
    GetExceptionAction,
    GetResultAction,
    SetAction,
    SetExceptionAction,
    SetResultAction,
    SubscribeAction,
    UnsubscribeAction,
)
from coopy.messaging.store_draft import Draft
from coopy.messaging.store_feed import Feed, Told
from coopy.messaging.store_finding import LOCAL, Announced, Attached, port_of
from coopy.messaging.store_keeping import TimeKept
from coopy.messaging.store_pickledb import OfPickleDB
from coopy.messaging.store_served import Served
from coopy.messaging.store_state import CHANGES, HISTORY, PAGE_KEYS, Keys, Version

if TYPE_CHECKING:
    from typing_extensions import Self

KIND = "keyvalue"
"""What a store is called where ports lead to directories."""
DEFAULT_PATH = "tmp/keyvalue.db"
HOST, PUBLISHER_PORT, SUBSCRIBER_PORT = "localhost", 5559, 5560
ENDING = ".coopy"
"""A store's directory lies beside the file of PyDistributed whose values it takes over, and which stays as it is."""
EVERYWHERE = ("*", "0.0.0.0", "::")
_REQUIRED: Any = "<required>"
_ELSEWHERE = ("cluster", "master", "replication")
"""With these options of `init_system` the store is a node of a replicated system, and its directory belongs to one process."""


class Prefix(str):
    """What a beginning of keys is watched by: it is equal to every text that begins so."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.startswith(str(self))

    __hash__ = str.__hash__


class _Operations:
    """What a store and its clients have alike."""

    @property
    def system(self) -> Keys:
        """The system itself, as `coopy.init_system` or `coopy.connect` has returned it."""
        raise NotImplementedError

    # -- one key

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        """Returns a value, which is frozen. Raises `MissingKey`, whose first words are PyDistributed's, without a default."""
        return self.system[key] if default is _REQUIRED else self.system.get(key, default)

    def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Sets a value, for good or for ``ttl`` seconds of counted time at least. Returns True once it is recorded."""
        return self.system.set(key, value, ttl)

    def put(self, key: str, value: Any, ttl: float | None = None) -> int:
        """As `set`. Returns the revision."""
        return self.system.put(key, value, ttl)

    def put_if(self, key: str, value: Any, revision: int, ttl: float | None = None) -> int:
        """Sets a value if the key has that revision, 0 for none. Returns the new revision, or 0 if it has another one."""
        return self.system.put_if(key, value, revision, ttl)

    def put_if_absent(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Sets the value of a key that is not there. Returns whether it was set."""
        return self.system.put_if_absent(key, value, ttl)

    def compare_and_set(self, key: str, old: Any, new: Any, ttl: float | None = None) -> bool:
        """Sets a value if the one before is equal to ``old``, `ABSENT` for none. Returns whether it was set."""
        return self.system.compare_and_set(key, old, new, ttl)

    def increment(self, key: str, by: Any = 1) -> Any:
        """Adds to a number, which is 0 if it is not there. Returns it."""
        return self.system.increment(key, by)

    def delete(self, key: str) -> bool:
        """Takes a key out. Returns whether it was there."""
        return self.system.delete(key)

    def exists(self, key: str) -> bool:
        """Whether a key is there."""
        return self.system.exists(key)

    def touch(self, key: str, ttl: float | None) -> bool:
        """Has a key live for so many seconds from now, None for ever. Returns whether it was there."""
        return self.system.touch(key, ttl)

    def ttl(self, key: str) -> float | None:
        """Returns for how many seconds of counted time a key is there at most; None if it has no end. Raises `MissingKey`."""
        return self.system.ttl(key)

    def get_version(self, key: str) -> Version | None:
        """Returns the value of a key with its revision and its time, or None if it is not there."""
        return self.system.get_version(key)

    def history(self, key: str) -> list[Version]:
        """Returns the values that a key has had, the oldest first, as far as they are kept."""
        return self.system.history(key)

    def update(self, key: str, function: Any, default: Any = None) -> Any:
        """Puts ``function(value)`` in the place of a value, as often as it takes until nobody was quicker. Returns the new value.

        ``function`` is called outside of any action, with a value that it may change, or with the default if the key is not there.
        """
        while True:
            found = self.system.get_version(key)
            value = function(default if found is None else thawed(found.value))
            if self.system.put_if(key, value, 0 if found is None else found.revision):
                return value

    # -- several keys

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Returns the values of those of several keys that are there, as they were at one moment."""
        return self.system.get_many([*keys])

    def put_many(self, values: Mapping[str, Any], ttl: float | None = None) -> int:
        """Sets several values: one action. Returns the revision."""
        return self.system.put_many(values, ttl)

    def transact(self) -> Draft:
        """Begins a block of which all is recorded by one action, or nothing: ``with store.transact() as keys: keys.set("a", keys.get("b") - 1)``.

        Raises `Conflict` at its end if somebody else has changed meanwhile what the block has read.
        """
        return Draft(self.system)

    def scan(
        self, prefix: str = "", after: str | None = None, limit: int = PAGE_KEYS, before: str | None = None
    ) -> list[tuple[str, Any]]:
        """Returns a page of the keys that begin so, with their values, in order: those that come after a key. See `Keys.scan`."""
        return self.system.scan(prefix, after, limit, before)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yields all keys that begin so, in order, a page at a time: each page as it is when its turn comes."""
        after = None
        while page := self.system.scan_keys(prefix, after):
            yield from page
            after = page[-1]

    def count(self, prefix: str = "") -> int:
        """Returns how many keys begin so."""
        return self.system.count(prefix)

    def delete_prefix(self, prefix: str) -> int:
        """Takes all keys out that begin so. Returns how many they were."""
        return self.system.delete_prefix(prefix)

    # -- being told

    def subscribe(
        self,
        key: str | None = None,
        callback: Told | None = None,
        *,
        prefix: str = "",
        after: int | None = None,
        timeout: float | None = None,
    ) -> Watch | Feed:
        """Tells of the changes of one key, or of all keys that begin so: ``for change in store.subscribe("lamp/1")``, ``async for``, or a callback.

        A `Change` has ``index`` (the revision), ``time``, ``kind``, ``key``, ``before`` and ``after``. Begins with the next change, or with the one after
        ``after``; ends after ``timeout`` seconds without one, and when it is closed.
        """
        if key is not None and prefix:
            raise UsageError(f"subscribe({key!r}, prefix={prefix!r}): give the one or the other")
        found = self._subscribed(key, prefix, after, timeout)
        if callback is not None:
            found(callback)
        if key is not None:
            self._subscriptions.setdefault(key, WeakSet()).add(found)
        return found

    def unsubscribe(self, key: str) -> int:
        """Closes what `subscribe` has returned for a key. Returns how many that were."""
        found = [*self._subscriptions.pop(key, ())]
        self._performed.pop(key, None)
        for each in found:
            each.close()
        return len(found)

    _subscriptions: dict[str, WeakSet[Watch | Feed]]
    """By key. One that nobody has any more, and that has no callback, is gone."""
    _performed: dict[str, list[Watch | Feed]]
    """Those that were asked for by `perform`, until they are asked for no more."""

    def _subscribed(self, key: str | None, prefix: str, after: int | None, timeout: float | None) -> Watch | Feed:
        raise NotImplementedError

    # -- PyDistributed's requests

    def perform(self, action: object) -> object:
        """Does what one of PyDistributed's requests asks for, and returns what it is answered: `GetAction`, `SetAction`, `SubscribeAction`, `UnsubscribeAction`.

        >>> store.perform(SetAction("door", "open")), store.perform(GetAction("door"))
        (SetResultAction(key='door', value='open'), GetResultAction(key='door', value='open'))
        """
        if isinstance(action, GetAction):
            if action.subscribe:
                self._subscribe_for(action.key)
            try:
                return GetResultAction(action.key, self.get(action.key))
            except (KeyError, CoopyError) as error:
                return GetExceptionAction(error)
        if isinstance(action, SetAction):
            try:
                self.set(action.key, action.value)
            except CoopyError as error:
                return SetExceptionAction(error)
            return SetResultAction(action.key, action.value)
        if isinstance(action, SubscribeAction):
            return self._subscribe_for(action.key)
        if isinstance(action, UnsubscribeAction):
            return self.unsubscribe(action.key)
        return ExceptionAction(
            UsageError(f"perform({action!r}): is none of the requests of a key-value store. Nothing has changed.")
        )

    def _subscribe_for(self, key: str) -> Watch | Feed:
        found = self.subscribe(key)
        self._performed.setdefault(key, []).append(found)
        return found

    # -- as a dict

    __getitem__ = get

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        del self.system[key]

    def __contains__(self, key: object) -> bool:
        return key in self.system

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __len__(self) -> int:
        return len(self.system)


class KeyValueStore(_Operations, OfPickleDB):
    """A store: it opens its directory, and serves it from then on to clients of this machine, and of others if it is told to.

    Args:
        initial: values for keys that are not there.
        db_file_path: its directory is this with ".coopy" behind it. If there is a JSON file of PyDistributed, its values are taken over, once; it stays as it is.
        auto_backup: whether a value is on the disk when `set` returns. False: with the operating system, which survives the end of the process, not a power cut.
        keyvalue_host: "localhost" for this machine alone; otherwise where to listen for others, "0.0.0.0" for everywhere.
        publisher_port, subscriber_port: by these two numbers clients find it. On a network they are where it listens, for calls and for those who follow changes.
        enable_logging: whether each change is printed, on stderr.
        key: the key file for those who come over the network; made if it is not there. By default serve.key in the directory.
        tls: the folder with the certificate, as `coopy cluster init` makes it; needed where others than this machine can reach it.
        history: how many values of a key are kept, for a new store; changes: how many changes for those who follow them.
        options: others of `coopy.init_system`, as ``snapshot_time=``, ``keep=``, or ``cluster=`` and ``node=`` for a node of a replicated store.

    Raises `UsageError`, and whatever `coopy.init_system` raises.

    >>> from coopy.messaging import KeyValueClient, KeyValueStore
    >>> with KeyValueStore(db_file_path="home", publisher_port=7001, subscriber_port=7002) as store, KeyValueClient("localhost", 7001, 7002) as client:
    ...     client.set("lamp/1", {"on": True}), client.get("lamp/1"), store.exists("lamp/2"), store.scan("lamp/")
    (True, {'on': True}, False, [('lamp/1', {'on': True})])
    """

    def __init__(
        self,
        initial: Mapping[str, Any] = {},
        db_file_path: str | os.PathLike[str] = DEFAULT_PATH,
        auto_backup: bool = True,
        keyvalue_host: str = HOST,
        publisher_port: int | str = PUBLISHER_PORT,
        subscriber_port: int | str = SUBSCRIBER_PORT,
        enable_logging: bool = False,
        *,
        key: str | os.PathLike[str] | None = None,
        tls: str | os.PathLike[str] | None = None,
        history: int = HISTORY,
        changes: int = CHANGES,
        **options: Any,
    ) -> None:
        if not isinstance(initial, Mapping):
            raise UsageError(
                f"KeyValueStore({shown(initial)}): the first argument is a dict of values for keys that are not there. Nothing was opened. "
                f"Name a place with db_file_path=."
            )
        ports = port_of("publisher_port", publisher_port), port_of("subscriber_port", subscriber_port)
        path = self._path = os.path.abspath(db_file_path)
        if keyvalue_host not in LOCAL and tls is None:
            raise UsageError(
                f"keyvalue_host={keyvalue_host!r} can be reached from other machines, and what is sent there can be read and changed on the way. "
                f"Nothing was opened. Give tls= the folder with its certificate, as `coopy cluster init` makes it, or stay on localhost."
            )
        self._subscriptions, self._performed = {}, {}
        self._parts: list[Any] = []
        """What is to be closed, the last one first."""
        imported = store_json.read(path) if os.path.isfile(path) else None
        directory = path + ENDING
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        durability = options.setdefault("durability", "sync" if auto_backup else "buffered")
        options.setdefault("validation", "off")  # The class is ours, and a test of ours validates it.
        is_shared = not any(options.get(name) for name in _ELSEWHERE)
        self._system = init_system(Keys(history, changes), directory, **{"shared": is_shared, **options})
        is_open = False
        try:
            if not options.get("replication"):
                self._begin(initial, path, imported)
            if is_shared:
                self._parts.append(Announced(KIND, Keys, directory, *ports))
            if key is not None or keyvalue_host not in LOCAL:
                key_file = os.path.join(directory, "serve.key") if key is None else os.fspath(key)
                urls = [f"tcp://{_listening(keyvalue_host)}:{port}" for port in dict.fromkeys(ports)]
                self._parts.append(Served(Keys, directory, urls, key_file, None if tls is None else os.fspath(tls), durability))
            if enable_logging:
                self._parts.append(self._system.watch(ALL, _shown))
            is_open = True
        finally:
            if not is_open:
                self.shutdown()

    def _begin(self, initial: Mapping[str, Any], path: str, imported: Mapping[str, Any] | None) -> None:
        if imported is not None and not self._system.imported():
            self._system.take_over(path, imported)
        if any(key not in self._system for key in initial):
            self._system.put_missing(dict(initial))
        self._parts.append(TimeKept(self._system))

    @property
    def system(self) -> Keys:
        return self._system

    @property
    def basedir(self) -> str:
        """The data directory, absolute."""
        return coopy.control(self._system).basedir

    def at(self, until: int | datetime) -> Keys:
        """Returns a plain copy of the store as it was after a revision, or at a time. See `coopy.Control.replay`."""
        found: Keys = coopy.control(self._system).replay(until)
        return found

    def take_snapshot(self) -> int:
        """Keeps the whole state, so that the next start is short. Returns its index."""
        return coopy.control(self._system).take_snapshot()

    def dump(self, path: str | os.PathLike[str] | None = None) -> bool:
        """Writes all keys and values as a JSON file that PyDistributed and PickleDB read, by default at ``db_file_path``. Returns True.

        Raises `UsageError` for values that JSON has not, OSError.
        """
        store_json.write(self._path if path is None else os.fspath(path), self._system.to_dict())
        return True

    def _subscribed(self, key: str | None, prefix: str, after: int | None, timeout: float | None) -> Watch:
        wanted: Any = key if key is not None else Prefix(prefix) if prefix else ALL
        return self._system.watch(wanted, after=after, timeout=timeout)

    def shutdown(self) -> None:
        """Serves no more, makes everything durable, and lets the directory go. Shutting down twice is fine."""
        for each in [*self._subscriptions]:
            self.unsubscribe(each)
        while self._parts:
            part = self._parts.pop()
            (part.withdraw if isinstance(part, Announced) else part.close)()
        coopy.control(self._system).close()

    close = shutdown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<key-value store in {self.basedir}>"


class KeyValueClient(_Operations):
    """A client of a store: in the process that has it, in another one of this machine, or on another machine.

    It connects with its first call, and waits for a store that is not there yet. All threads may use one client, and a forked child may go on with it.

    Args:
        keyvalue_host: "localhost" for a store of this machine and of this user; otherwise the host of the store.
        publisher_port, subscriber_port: those of the store.
        key: the store's key file, for a store that is reached over the network, or for one of this machine that is to be.
        tls: the PEM file of the authority that has signed the store's certificate, or True for those of this machine.
        timeout: so many seconds a call, and connecting, wait for an answer.
    """

    def __init__(
        self,
        keyvalue_host: str = HOST,
        publisher_port: int | str = PUBLISHER_PORT,
        subscriber_port: int | str = SUBSCRIBER_PORT,
        *,
        key: str | os.PathLike[str] | bytes | None = None,
        tls: str | os.PathLike[str] | bool | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._host = keyvalue_host
        self._ports = port_of("publisher_port", publisher_port), port_of("subscriber_port", subscriber_port)
        self._is_local = keyvalue_host in LOCAL and key is None
        if not self._is_local and key is None:
            raise UsageError(
                f"KeyValueClient({keyvalue_host!r}): over the network a store asks for its key. Give key= the file that it has made, by default "
                f"serve.key in its directory. Nothing was opened."
            )
        self._key, self._tls, self._timeout_s = key, tls, timeout
        self.client_id = self._client_id = os.urandom(16).hex()
        """A name that no other client has, 32 hexadecimal digits."""
        self._lock = threading.Lock()
        self._attached: Attached[Keys] | None = None
        self._connected: dict[int, Keys] = {}
        """By port."""
        self._subscriptions, self._performed = {}, {}
        self._closed = False

    @property
    def system(self) -> Keys:
        attached = self._attached
        if attached is not None and not coopy.control(attached.system).closed:
            return attached.system
        return self._at(self._ports[0])

    def _at(self, port: int) -> Keys:
        with self._lock:
            if self._closed:
                raise SystemClosed("this client was shut down. Make another one.")
            if self._is_local:
                if self._attached is not None and coopy.control(self._attached.system).closed:
                    self._attached.leave()
                    self._attached = None
                if self._attached is None:
                    self._attached = Attached(KIND, Keys, self._timeout_s, *self._ports)
                return self._attached.system
            if port not in self._connected:
                url = f"tcp://{_bracketed(self._host)}:{port}"
                self._connected[port] = coopy.connect(url, Keys, key=self._key, tls=self._tls, timeout=self._timeout_s)
            return self._connected[port]

    def _subscribed(self, key: str | None, prefix: str, after: int | None, timeout: float | None) -> Feed:
        # Over a connection of its own, so that it holds up no call.
        return Feed(lambda: self._at(self._ports[1]), key, prefix, after, timeout)

    def shutdown(self) -> None:
        """Lets the store go, which goes on. Shutting down twice is fine."""
        for each in [*self._subscriptions]:
            self.unsubscribe(each)
        with self._lock:
            self._closed = True
            attached, self._attached = self._attached, None
            connected, self._connected = self._connected, {}
        if attached is not None:
            attached.leave()
        for system in connected.values():
            coopy.control(system).close()

    close = shutdown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<key-value client {self.client_id} of {self._host}, ports {self._ports[0]} and {self._ports[1]}>"


def _listening(host: str) -> str:
    return "0.0.0.0" if host in EVERYWHERE else _bracketed(host or "127.0.0.1")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _shown(change: Change) -> None:
    with suppress(OSError):
        print(f"keyvalue {change.kind} {change.key!r}: {change.after!r}", file=sys.stderr, flush=True)
