"""Messages in a file: `stream_to_file` and `stream_from_file` of PyDistributed.

A file has one gzip member for each message, in each the pickle of a dict: ``topic``, ``message`` and ``timestamp`` (seconds since 1970). So
`gzip -d` reads it as one, and what a crash leaves is whole up to the last message.

To read a pickle is to run what it says. So a file is read only if it is this user's, and nobody else can have written to it.
"""

from __future__ import annotations

import gzip
import logging
import os
import pickle
import stat
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

from coopy import DecodingError, EncodingError, UsageError

_log = logging.getLogger("coopy.bus")


class FileWriter:
    """Writes messages into a file. It is a callback, of `MessageBusClient.register_callback` or any other."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(self.path, flags, 0o600)
        self._lock = threading.Lock()
        self._closed = False
        try:
            _check(self._fd, self.path)
        except UsageError:
            self.close()
            raise

    def __call__(self, message: object, topic: str = "", client: object = None) -> None:
        """Appends one message. Raises `EncodingError`, and OSError; the file is as it was then."""
        try:
            record = pickle.dumps({"topic": topic, "message": message, "timestamp": time.time()}, pickle.HIGHEST_PROTOCOL)
        except (TypeError, ValueError, AttributeError, RecursionError, pickle.PicklingError) as error:
            raise EncodingError(
                f"{self.path}: a message on {topic!r} can't be pickled: {error}. Nothing was written."
            ) from error
        member = gzip.compress(record)
        with self._lock:
            if self._closed:
                raise UsageError(f"{self.path}: is closed. Nothing was written.")
            before = os.fstat(self._fd).st_size
            try:
                written = os.write(self._fd, member)
                if written < len(member):
                    raise OSError(f"{self.path}: {written} of {len(member)} bytes were written")
            except OSError:
                os.ftruncate(self._fd, before)
                raise

    def close(self) -> None:
        """Closing twice is fine."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stream_to_file(path: str | os.PathLike[str]) -> FileWriter:
    """Returns a callback that appends each message to a file, which is made if it is not there, for this user alone.

    Raises `UsageError` if the file is another user's, or others can write to it; OSError.

    >>> client.register_callback("sensors", stream_to_file("sensors.gz"))
    """
    return FileWriter(path)


def stream_from_file(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yields the messages of a file, in the order in which they were written: dicts of ``topic``, ``message`` and ``timestamp``.

    What a crash has left of the last message is left out, and logged.

    Raises:
        UsageError: the file is another user's, or others can write to it. Nothing was read: to read a pickle is to run what it says.
        DecodingError: it is no such file, or damaged.
        OSError: it can't be opened.

    >>> for each in stream_from_file("sensors.gz"):
    ...     print(each["timestamp"], each["topic"], each["message"])
    """
    place = os.fspath(path)
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check(fd, place)
    except UsageError:
        os.close(fd)
        raise
    return _records(fd, place)


def _records(fd: int, path: str) -> Iterator[dict[str, Any]]:
    number = 0
    with open(fd, "rb") as raw, gzip.GzipFile(fileobj=raw, mode="rb") as file:
        while True:
            try:
                if not file.peek(1):
                    return
                found = pickle.load(file)
            except EOFError:
                _log.warning("%s: ends in the middle of a message, after %d that are whole; the rest is left out", path, number)
                return
            except (
                OSError,
                zlib.error,
                pickle.UnpicklingError,
                AttributeError,
                ImportError,
                IndexError,
                ValueError,
                TypeError,
            ) as error:
                raise DecodingError(f"{path}: message {number + 1} can't be read: {type(error).__name__}: {error}") from error
            if not isinstance(found, dict) or not {"topic", "message", "timestamp"} <= found.keys():
                raise DecodingError(f"{path}: message {number + 1} is none: it must have a topic, a message and a timestamp")
            number += 1
            yield found


def _check(fd: int, path: str) -> None:
    """Raises `UsageError` for a file that is not this user's alone."""
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode):
        raise UsageError(f"{path}: is no file. Nothing was read or written.")
    if about.st_uid != os.geteuid():
        raise UsageError(
            f"{path}: belongs to user {about.st_uid}, and this is user {os.geteuid()}. Nothing was read or written: its messages are pickles, "
            f"and to read a pickle is to run what it says."
        )
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{path}: others than its owner can write to it (mode {stat.S_IMODE(about.st_mode):04o}). Nothing was read or written: its messages are "
            f"pickles, and to read a pickle is to run what it says. Say chmod 600 if nobody else has written to it."
        )
