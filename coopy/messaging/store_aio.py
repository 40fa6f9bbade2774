"""AsyncKeyValueClient: a client of a store for an event loop, which goes on while the store is asked.

It is a `KeyValueClient` whose calls are made by threads of the loop's executor. Programs that open the state itself use ``coopy.aio.open(Keys, ...)`` or
``coopy.aio.connect(url, Keys)``, which need none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from coopy.ground.raised import as_awaited
from coopy.messaging.store import KeyValueClient
from coopy.messaging.store_draft import Draft
from coopy.messaging.store_feed import Feed
from coopy.messaging.store_state import PAGE_KEYS, Version

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R")
_REQUIRED: Any = "<required>"


async def _in_thread(function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    return await asyncio.get_running_loop().run_in_executor(None, partial(as_awaited, function, *args, **kwargs))


class AsyncKeyValueClient:
    """A client of a store whose methods are coroutines; see `KeyValueClient` for the arguments, and for what each method does.

    >>> import asyncio
    >>> from coopy.messaging import AsyncKeyValueClient, KeyValueStore
    >>> async def main():
    ...     async with AsyncKeyValueClient("localhost", 7005, 7006) as client:
    ...         await client.set("lamp", "on")
    ...         async with client.transact() as keys:
    ...             keys.set("lamp", [await keys.get("lamp"), "off"])
    ...         return await client.get("lamp")
    >>> with KeyValueStore(db_file_path="rooms", publisher_port=7005, subscriber_port=7006):
    ...     asyncio.run(main())
    ['on', 'off']
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._client = KeyValueClient(*args, **kwargs)
        self.client_id = self._client.client_id

    # -- one key

    async def get(self, key: str, default: Any = _REQUIRED) -> Any:
        """Returns a value. Raises `MissingKey` without a default."""
        return await _in_thread(self._client.get, key, *[default] * (default is not _REQUIRED))

    async def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Sets a value. Returns True once it is recorded."""
        return await _in_thread(self._client.set, key, value, ttl)

    async def put(self, key: str, value: Any, ttl: float | None = None) -> int:
        """As `set`. Returns the revision."""
        return await _in_thread(self._client.put, key, value, ttl)

    async def put_if(self, key: str, value: Any, revision: int, ttl: float | None = None) -> int:
        """Sets a value if the key has that revision, 0 for none. Returns the new revision, or 0."""
        return await _in_thread(self._client.put_if, key, value, revision, ttl)

    async def put_if_absent(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Sets the value of a key that is not there. Returns whether it was set."""
        return await _in_thread(self._client.put_if_absent, key, value, ttl)

    async def compare_and_set(self, key: str, old: Any, new: Any, ttl: float | None = None) -> bool:
        """Sets a value if the one before is equal to ``old``, `ABSENT` for none. Returns whether it was set."""
        return await _in_thread(self._client.compare_and_set, key, old, new, ttl)

    async def increment(self, key: str, by: Any = 1) -> Any:
        """Adds to a number, which is 0 if it is not there. Returns it."""
        return await _in_thread(self._client.increment, key, by)

    async def update(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Puts ``function(value)`` in the place of a value. The function runs in another thread. Returns the new value."""
        return await _in_thread(self._client.update, key, function, default)

    async def delete(self, key: str) -> bool:
        """Takes a key out. Returns whether it was there."""
        return await _in_thread(self._client.delete, key)

    async def exists(self, key: str) -> bool:
        """Whether a key is there."""
        return await _in_thread(self._client.exists, key)

    async def touch(self, key: str, ttl: float | None) -> bool:
        """Has a key live for so many seconds from now, None for ever. Returns whether it was there."""
        return await _in_thread(self._client.touch, key, ttl)

    async def ttl(self, key: str) -> float | None:
        """Returns for how many seconds of counted time a key is there at most. Raises `MissingKey`."""
        return await _in_thread(self._client.ttl, key)

    async def get_version(self, key: str) -> Version | None:
        """Returns the value of a key with its revision and its time, or None if it is not there."""
        return await _in_thread(self._client.get_version, key)

    async def history(self, key: str) -> list[Version]:
        """Returns the values that a key has had, the oldest first, as far as they are kept."""
        return await _in_thread(self._client.history, key)

    # -- several keys

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Returns the values of those of several keys that are there."""
        return await _in_thread(self._client.get_many, [*keys])

    async def put_many(self, values: Mapping[str, Any], ttl: float | None = None) -> int:
        """Sets several values: one action. Returns the revision."""
        return await _in_thread(self._client.put_many, values, ttl)

    def transact(self) -> AsyncDraft:
        """Begins a block of which all is recorded by one action, or nothing: ``async with client.transact() as keys:``. Raises `Conflict` at its end."""
        return AsyncDraft(self._client)

    async def scan(
        self, prefix: str = "", after: str | None = None, limit: int = PAGE_KEYS, before: str | None = None
    ) -> list[tuple[str, Any]]:
        """Returns a page of the keys that begin so, with their values, in order."""
        return await _in_thread(self._client.scan, prefix, after, limit, before)

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Yields all keys that begin so, in order, a page at a time."""
        after = None
        while page := await _in_thread(self._page, prefix, after):
            for key in page:
                yield key
            after = page[-1]

    def _page(self, prefix: str, after: str | None) -> list[str]:
        return self._client.system.scan_keys(prefix, after)

    async def count(self, prefix: str = "") -> int:
        """Returns how many keys begin so."""
        return await _in_thread(self._client.count, prefix)

    async def delete_prefix(self, prefix: str) -> int:
        """Takes all keys out that begin so. Returns how many they were."""
        return await _in_thread(self._client.delete_prefix, prefix)

    async def subscribe(
        self, key: str | None = None, *, prefix: str = "", after: int | None = None, timeout: float | None = None
    ) -> Feed:
        """Tells of changes: ``async for change in await client.subscribe("lamp/1")``. The first is the next one after this has returned."""
        found = await _in_thread(self._client.subscribe, key, prefix=prefix, after=after, timeout=timeout)
        assert isinstance(found, Feed), "that of a client"
        return found

    async def shutdown(self) -> None:
        """Lets the store go, which goes on. Shutting down twice is fine."""
        await _in_thread(self._client.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        return repr(self._client)


class AsyncDraft:
    """What `AsyncKeyValueClient.transact` gives: a `Draft` whose reads are awaited."""

    def __init__(self, client: KeyValueClient) -> None:
        self._client = client
        self._draft: Draft

    async def get(self, key: str, default: Any = _REQUIRED) -> Any:
        """Returns a value, which may be changed and set again. Raises `MissingKey` without a default."""
        return await _in_thread(self._draft.get, key, *[default] * (default is not _REQUIRED))

    async def exists(self, key: str) -> bool:
        """Whether a key is there."""
        return await _in_thread(self._draft.exists, key)

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Sets a value at the end of the block."""
        self._draft.set(key, value, ttl)

    def delete(self, key: str) -> None:
        """Takes a key out at the end of the block."""
        self._draft.delete(key)

    @property
    def revision(self) -> int:
        """Index of the action, once it is recorded; 0 if there was nothing to record."""
        return self._draft.revision

    async def __aenter__(self) -> Self:
        self._draft = await _in_thread(self._client.transact)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._draft.end()
        if kind is None:
            await _in_thread(self._draft.record)
