"""Values <-> the bytes of a message. JSON, MessagePack, bytes as they are, and pickle among those who share a password.

    kind   data
    j      JSON, UTF-8
    m      MessagePack (the extra [msgpack])
    b      bytes as they were given
    p      32 bytes HMAC-SHA256 over the subject, a zero byte and the pickle; then the pickle

The kind stands in the header of a message, see `coopy.messaging.bus_message`. To read a pickle is to run what it says, so one is read only
if whoever made it has shown by the HMAC that it has the key, which is made from the password; a server, and its other users, have
no part in that.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from coopy import AuthenticationFailed, DecodingError, EncodingError, UsageError
from coopy.messaging.bus_types import plain

JSON, MSGPACK, BYTES, PICKLE = b"j", b"m", b"b", b"p"
_NAMES = {"json": JSON, "msgpack": MSGPACK, "pickle": PICKLE}
_MAC_BYTES = 32
"""Of SHA-256."""
SCRYPT: dict[str, Any] = {"salt": b"coopy bus pickles", "n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20, "dklen": 32}
"""As `coopy.network.server.proof` stretches a password: 32 MB, and 0.1 s of a core, for each guess."""


@lru_cache(maxsize=16)
def key_of(password: str) -> bytes:
    """Returns what pickles are signed with by those who have a password."""
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), **SCRYPT)


class Payloads:
    """Encodes and decodes. ``key``: of pickles; None: there are none here. A function, as it takes 0.1 s to make."""

    def __init__(self, encoding: str, key: Callable[[], bytes] | None) -> None:
        if encoding not in _NAMES:
            raise UsageError(f"encoding={encoding!r}: must be one of {', '.join(map(repr, _NAMES))}. Nothing was opened.")
        self._kind = _NAMES[encoding]
        self._key = key
        if self._kind == PICKLE and key is None:
            raise UsageError(
                "encoding='pickle': to read a pickle is to run what it says, so it is for those who share a password. Nothing was "
                "opened. Give the password= that all members of the bus have, or a directory, or use 'json' or 'msgpack'."
            )
        if self._kind == MSGPACK:
            _msgpack()
        self._write = {JSON: _json, MSGPACK: _packed, PICKLE: _pickled}[self._kind]

    def encode(self, subject: bytes, value: object) -> tuple[bytes, bytes]:
        """Returns the kind and the data of a value. Raises `EncodingError`; nothing was sent then."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return BYTES, bytes(value)
        try:
            data = self._write(value)
        # A pickle calls methods of the value.
        except (TypeError, ValueError, OverflowError, RecursionError, AttributeError, pickle.PicklingError) as error:
            raise EncodingError(
                f"{subject.decode()}: a {type(value).__qualname__} can't be encoded: {error}. Nothing was sent. Send bytes, text, numbers, lists "
                f"and dicts of them, or dataclasses."
            ) from error
        return self._kind, self._signature(subject, data) + data if self._kind == PICKLE else data

    def decode(self, kind: bytes, subject: bytes, data: bytes) -> Any:
        """Returns the value of a message; without a kind it is taken for one of this bus's encoding.

        Raises `DecodingError`, and `AuthenticationFailed` for a pickle of somebody who has not the password.
        """
        kind = kind or self._kind
        if kind == BYTES:
            return data
        if kind == PICKLE:
            return self._unpickled(subject, data)
        if kind not in (JSON, MSGPACK):
            raise DecodingError(
                f"{subject.decode(errors='replace')}: a message is of kind {kind!r}, which this release does not know"
            )
        try:
            return json.loads(data) if kind == JSON else _msgpack().unpackb(data, timestamp=3, strict_map_key=False)
        except (ValueError, RecursionError) as error:
            what = "JSON" if kind == JSON else "MessagePack"
            raise DecodingError(
                f"{subject.decode(errors='replace')}: a message of {len(data)} bytes is no {what}: {error}. See who publishes it; "
                f"`message.data` has its bytes."
            ) from error

    def _unpickled(self, subject: bytes, data: bytes) -> Any:
        where = subject.decode(errors="replace")
        if self._key is None:
            raise AuthenticationFailed(f"{where}: a message is a pickle, and this bus has no password. It was not read.")
        signature, data = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(signature, self._signature(subject, data)):
            raise AuthenticationFailed(
                f"{where}: a message is a pickle, and who has sent it has another password than this process, or none. It was not read: to "
                f"read a pickle is to run what it says."
            )
        try:
            return pickle.loads(data)
        except (AttributeError, ImportError, pickle.UnpicklingError, EOFError, TypeError, ValueError, IndexError) as error:
            raise DecodingError(f"{where}: a pickle can't be read here: {type(error).__name__}: {error}") from error

    def _signature(self, subject: bytes, data: bytes) -> bytes:
        assert self._key is not None, "there are pickles only where there is a key"
        return hmac.digest(self._key(), b"\0".join((subject, data)), "sha256")


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain)


def _json(value: object) -> bytes:
    return _encoder.encode(value).encode()


def _packed(value: object) -> bytes:
    found: bytes = _msgpack().packb(value, datetime=True, default=plain)
    return found


def _pickled(value: object) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def _msgpack() -> Any:
    """The module `msgpack`. Raises `UsageError` if it is not there."""
    try:
        msgpack = importlib.import_module("msgpack")
    except ImportError as error:
        raise UsageError(
            f"MessagePack needs the extra [msgpack]: {error}. Install it with `pip install 'coopy[msgpack]'`."
        ) from error
    return msgpack
