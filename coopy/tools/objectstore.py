"""Where a backup is kept that is not on this machine: objects, each of which has a name and is written once.

Speaks to S3 and what speaks as it does, to Google's and to Azure's stores, and to a directory (``file://``), by way of obstore, which is
the extra [s3]; docs/design/035-backup-in-objects.md says why. What the objects mean is not known here (`coopy.tools.catalog`).

A store writes an object whole or not at all, and everybody reads it from then on. An object is never written over: whoever gives a name
that is taken is told so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from coopy import StorageError, UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_RETRIES = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
"""A store that hiccups is asked again; one that is away for a minute is told of."""
_TIMES = {"connect_timeout": timedelta(seconds=10), "timeout": timedelta(minutes=5)}
"""A piece of a backup (8 MiB) takes four minutes on a line of 300 kbit/s."""


class OutOfReach(StorageError):
    """The store can't be reached, or refuses what was asked of it. ``url``."""

    def __init__(self, url: str, problem: str) -> None:
        self.url = url
        super().__init__(f"{url}: {problem}")


def is_url(text: str) -> bool:
    """Whether a text names a place in a store, and not a path."""
    return _URL.match(text) is not None


class Objects:
    """The objects below a URL: ``s3://bucket/some/prefix``.

    Raises `UsageError` for what is no URL of a store, or if obstore is not installed. Each method raises `OutOfReach`.
    """

    def __init__(self, url: str) -> None:
        try:
            import obstore.exceptions
            import obstore.store
        except ImportError:
            raise UsageError(
                f"{url}: a store of objects needs the package obstore. Install it: pip install 'coopy[s3]'"
            ) from None
        self.url = url.rstrip("/")
        self._base_error: type[Exception] = obstore.exceptions.BaseError
        self._taken: type[Exception] = obstore.exceptions.AlreadyExistsError
        # Without TLS everybody on the way reads it, and its key: only where that was asked for, as for a store on this machine.
        plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
        about: dict[str, Any] = {"retry_config": _RETRIES, "client_options": {**_TIMES, "allow_http": plain}}
        if url.startswith("file:"):
            about = {"mkdir": True}
        try:
            self._store: Any = obstore.store.from_url(self.url, **about)
        except (self._base_error, ValueError, TypeError) as error:
            raise UsageError(
                f"{url}: must be the URL of a bucket or of a place in one, as in s3://bucket/wiki, gs://bucket/wiki or "
                f"az://container/wiki: {_said(error)}"
            ) from None

    def names(self, under: str = "") -> list[str]:
        """Returns the names of the objects in a folder, in order; of all with ""."""
        with self._asked():
            return sorted(each["path"] for page in self._store.list(under or None) for each in page)

    def some(self) -> Iterator[str]:
        """Yields the names of all objects, page by page."""
        with self._asked():
            for page in self._store.list(chunk_size=100):
                yield from (each["path"] for each in page)

    def read(self, name: str) -> bytes | None:
        """Returns an object; None if there is none of that name."""
        with self._asked():
            try:
                return bytes(self._store.get(name).bytes())
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> bool:
        """Writes a new object. Returns False, and has written nothing, if there is one of that name."""
        with self._asked():
            try:
                self._store.put(name, data, mode="create", use_multipart=False)
            except self._taken:
                return False
            return True

    def remove(self, names: Iterable[str]) -> None:
        """Removes objects; one that is not there is none to remove."""
        wanted = list(names)
        if wanted:
            with self._asked():
                self._store.delete(wanted)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except (self._base_error, OSError, ValueError) as error:
            raise OutOfReach(self.url, _said(error)) from error


def _said(error: Exception) -> str:
    """What a store says of an error, in one line: without what it is for developers of obstore."""
    text = str(error).partition("\n\nDebug source")[0]
    return re.sub(r"\s+", " ", text).strip().rstrip(".") or type(error).__name__
