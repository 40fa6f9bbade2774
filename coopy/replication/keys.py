"""Where a system is served, and how the two sides of a connection come to trust each other. Nothing is decoded here.

An address is "unix:PATH" or "tcp://HOST:PORT". At a Unix socket the kernel says whose process is on the other side. Over TCP both sides
have the same key, and each shows it to the other without sending it: whoever listens in the place of the server learns nothing that
opens a door, and is trusted by no client. Three texts go over a new connection, before anything else:

    server   coopy 1 <nonce>
    client   <nonce> <process> <proof>
    server   <proof> <system> <class>

A nonce is 32 drawn bytes, a process the 8 of `coopy.replication.parcels`, a system the id that coopy.json has, all in hexadecimal digits; a class is
its qualified name. A proof is HMAC-SHA256 with the key, over who shows it ("client", "server"), both nonces, and what the same text
says besides; at a Unix socket the key is empty, and proves nothing. The scheme is that of RFC 2104 as challenge and response (ISO/IEC 9798-4).
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import ssl
import stat
from typing import NamedTuple

from coopy.errors import AuthenticationFailed, UsageError
from coopy.ground.words import shown
from coopy.network import address
from coopy.network.address import Address
from coopy.network.server.configuration import TLS

UNIX, TCP = "unix:", "tcp://"
ANY_PORT = ":0"  # One that is free: for who listens.
KEY_BYTES = 32
NAME = "serve.key"
"""What `coopy serve` calls the key that it makes in a directory."""
FORMAT = "coopy 1"
TEXT_CHARS_MAX = 1024
"""No text of the three is longer."""
PIECE_BYTES = 64 * 1024
"""In messages of at most this many bytes parcels are sent; longer ones are refused, however long they say they are."""
_CLIENT, _SERVER = b"client", b"server"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_CLASS_CHARS_MAX = 512
"""Of a name; the rest of a text has fewer than two hundred."""


class Where(NamedTuple):
    """An address: a path, or a host and a port."""

    path: str
    host: Address | None

    def __str__(self) -> str:
        return f"{UNIX}{self.path}" if self.host is None else f"{TCP}{self.host}"


def parse(url: str) -> Where:
    """Returns where a URL leads to. Raises `UsageError`.

    >>> parse("unix:/run/wiki.sock"), parse("tcp://127.0.0.1:7070")
    """
    if isinstance(url, str) and url.startswith(UNIX):
        path = url[len(UNIX) :].removeprefix("//")
        if path:
            return Where(os.path.abspath(path), None)
    elif isinstance(url, str) and url.startswith(TCP):
        rest = url[len(TCP) :].removesuffix("/")
        if rest.endswith(ANY_PORT):
            return Where("", Address(address.parse(rest.removesuffix(ANY_PORT)).host, 0))
        found = address.parse(rest, 0)
        if found.port:
            return Where("", found)
    raise UsageError(
        f"{shown(url)}: must be unix:PATH or tcp://HOST:PORT, for example tcp://127.0.0.1:7070. Nothing was opened."
    )


# -- keys


def make_key(path: str) -> bool:
    """Writes a new key into a file that only this user reads, unless the file is there. Returns whether it was made. Raises OSError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    except FileExistsError:
        return False
    try:
        os.write(file, secrets.token_hex(KEY_BYTES).encode("ascii") + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    return True


def key_of(key: str | os.PathLike[str] | bytes) -> bytes:
    """Returns a key: the one in a file, or the bytes themselves. Raises `UsageError`."""
    if isinstance(key, bytes):
        if len(key) < KEY_BYTES:
            raise UsageError(f"key: must be at least {KEY_BYTES} bytes, or the path of a file that `coopy serve` has made.")
        return key
    path = os.fspath(key)
    try:
        with open(path, "rb") as file:
            mode, said = os.fstat(file.fileno()).st_mode, file.read(2 * KEY_BYTES + 2).strip()
    except OSError as error:
        raise UsageError(
            f"key: {path}: {error.strerror}. Nothing was opened. `coopy serve` makes such a file and says where."
        ) from error
    if mode & _OTHERS:
        raise UsageError(
            f"key: {path} can be read or written by others than its owner, and the key is the right to run code as the server. "
            f"Nothing was opened. Make a new one, or say chmod 600 if nobody else has seen it."
        )
    if not re.fullmatch(rb"[0-9a-f]{%d}" % (2 * KEY_BYTES), said):
        raise UsageError(f"key: {path} is no key: it must hold {2 * KEY_BYTES} hexadecimal digits. Nothing was opened.")
    return bytes.fromhex(said.decode("ascii"))


def refuse_without_tls(where: Where, tls: object) -> None:
    """Refuses an address that others than this machine's users can listen to, unless there is TLS. Raises `UsageError`."""
    if where.host is not None and not where.host.is_loopback and not tls:
        raise UsageError(
            f"{where} can be reached from other machines, and what is sent there can be read and changed on the way. Nothing was "
            f"opened. Give certificates (`coopy serve --tls FOLDER`, coopy.connect(..., tls=...)), or use 127.0.0.1 or unix:PATH."
        )


def server_context(tls: TLS) -> ssl.SSLContext:
    """Returns what a server answers with. Raises `UsageError`."""
    try:
        found = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        found.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise UsageError(f"tls: {tls.certificate}, {tls.key}: {error.strerror or error}. Nothing was opened.") from error
    return found


def client_context(tls: str | os.PathLike[str] | bool | None) -> ssl.SSLContext | None:
    """Returns what a client connects with: None for no TLS, True for the authorities of this machine, or the PEM file of one. Raises `UsageError`."""
    if not tls:
        return None
    try:
        return ssl.create_default_context(cafile=None if tls is True else os.fspath(tls))
    except OSError as error:
        raise UsageError(f"tls: {tls}: {error.strerror or error}. Nothing was opened. It must be a PEM file.") from error


# -- the three texts


class Introduced(NamedTuple):
    """What a server has told of itself."""

    system: bytes
    cls: str


def nonce() -> str:
    """Returns what nobody has seen before."""
    return secrets.token_hex(KEY_BYTES)


def challenge(own: str) -> str:
    """Returns the first text of a server, of its nonce."""
    return f"{FORMAT} {own}"


def response(key: bytes, text: object, own: str, process: bytes) -> tuple[str, str]:
    """Returns the text of a client, and the nonce of the server. Raises `AuthenticationFailed` if the other side is no server of ours."""
    theirs = _after(text, FORMAT)
    if not _is_nonce(theirs):
        raise AuthenticationFailed("what answers there is no `coopy serve` of this format. Nothing was sent to it.")
    said = process.hex()
    return f"{own} {said} {_proof(key, _CLIENT, theirs, own, said)}", theirs


def admitted(key: bytes, text: object, own: str) -> tuple[str, bytes]:
    """Returns the nonce and the process of a client that has the key. Raises `AuthenticationFailed`."""
    parts = text.split(" ") if isinstance(text, str) and len(text) <= TEXT_CHARS_MAX else []
    if len(parts) == 3 and _is_nonce(parts[0]):
        theirs, said, proof = parts
        if hmac.compare_digest(_proof(key, _CLIENT, own, theirs, said).encode(), proof.encode("utf-8", "replace")):
            return theirs, bytes.fromhex(said)
    raise AuthenticationFailed("the other side has not shown that it has the key")


def introduction(key: bytes, own: str, theirs: str, system: bytes, cls: str) -> str:
    """Returns the second text of a server."""
    said = f"{system.hex()} {cls[:_CLASS_CHARS_MAX]}"
    return f"{_proof(key, _SERVER, own, theirs, said)} {said}"


def introduced(key: bytes, text: object, own: str, theirs: str) -> Introduced:
    """Returns what a server that has the key has told of itself. Raises `AuthenticationFailed`."""
    proof, _, said = text.partition(" ") if isinstance(text, str) and len(text) <= TEXT_CHARS_MAX else ("", "", "")
    if not hmac.compare_digest(_proof(key, _SERVER, theirs, own, said).encode(), proof.encode("utf-8", "replace")):
        raise AuthenticationFailed("the server has not shown that it has the key. Nothing that it sent was read.")
    system, _, cls = said.partition(" ")
    return Introduced(bytes.fromhex(system), cls)


def _proof(key: bytes, who: bytes, servers: str, clients: str, said: str) -> str:
    return hmac.digest(key, b" ".join((who, servers.encode(), clients.encode(), said.encode())), "sha256").hex()


def _after(text: object, head: str) -> str:
    return text[len(head) + 1 :] if isinstance(text, str) and text.startswith(f"{head} ") else ""


def _is_nonce(text: str) -> bool:
    return len(text) == 2 * KEY_BYTES and all(each in "0123456789abcdef" for each in text)
