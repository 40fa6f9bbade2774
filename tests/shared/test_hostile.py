"""What comes to the socket and is no process of ours: refused or bounded, and the others are served."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.domain import opened

import coopy
from coopy import control
from coopy.disk import frame
from coopy.replication import door, local, parcels
from coopy.replication.parcels import Garbage, Splitter, pack


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


@pytest.fixture
def wiki(tmp_path: Path) -> Any:
    return opened(tmp_path / "data", durability="buffered")


@pytest.fixture
def follower(wiki: Any, tmp_path: Path) -> Any:
    return opened(tmp_path / "data")


def connected(wiki: Any) -> socket.socket:
    found = local.published(control(wiki).basedir)
    assert found is not None
    return local.connected(control(wiki).basedir, found.name)


def is_let_go(peer: socket.socket) -> bool:
    peer.settimeout(60)
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


GARBAGE = {
    "bytes of no kind": os.urandom(4096),
    "a request of HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4,
    "a huge length": frame.HEAD.pack(0x43, 33, 0xFFFFFFFF, 1, 0),
    "a length of nothing": frame.HEAD.pack(0x43, 33, 0, 1, 0) + bytes(64),
    "a checksum that does not match": frame.changed(pack(parcels.PING, 1, 0, b"NN"), 30, 7)[:-6] + b"J0000" + b"0",
    "a call before the hello": pack(parcels.CALL, 1, 0, b"\x8c\x03add\x94K\x01\x85\x94", b"12345678"),
    "a kind that there is not": pack(99, 1, 0, b"NN", parcels.NOBODY),
    "a hello of another format": pack(parcels.HELLO, 0, 0, b"\x8c\x00\x94)", b"12345678"),
    "a pickle that can't be loaded": pack(parcels.HELLO, 0, 0, b"NB\x05\x00\x00\x00Pabcd", b"12345678"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_who_sends_garbage_is_let_go_and_the_others_are_served(wiki: Any, follower: Any, what: str) -> None:
    with connected(wiki) as peer:
        peer.sendall(GARBAGE[what])
        assert is_let_go(peer)
    assert follower.add(1) == 1 and wiki.all() == [1]


def test_another_user_is_let_go_before_anything_is_read(wiki: Any, follower: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    follower.add(1)
    monkeypatch.setattr(door, "is_ours", lambda peer: False)
    monkeypatch.setattr(Splitter, "split", None)
    with connected(wiki) as peer:
        with contextlib.suppress(OSError):
            peer.sendall(GARBAGE["a pickle that can't be loaded"])
        assert is_let_go(peer)


def test_a_socket_of_another_user_is_not_spoken_to(wiki: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="another user"):
        connected(wiki)


def test_connections_that_say_nothing_are_bounded_and_the_others_are_served(
    wiki: Any, follower: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiki.add(0)
    door_of_wiki = control(wiki)._system._door  # type: ignore[attr-defined]
    monkeypatch.setattr(door_of_wiki, "_peers_max", 50)
    idle = [connected(wiki) for _ in range(120)]
    try:
        assert follower.add(1) == 2
        assert len(door_of_wiki._visitors) <= 50
        assert sum(is_let_go(each) for each in idle[:60]) == 60
    finally:
        for each in idle:
            each.close()


def test_there_are_never_more_connections_than_half_of_the_files(wiki: Any) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert control(wiki)._system._door._peers_max <= max(limit // 2, 1)  # type: ignore[attr-defined]


def test_a_peer_that_does_not_read_is_let_go_and_the_others_are_served(
    wiki: Any, follower: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "UNREAD_BYTES_MAX", 1_000_000)
    wiki.put("large", "x" * 500_000)
    caller = control(follower)._system.place.caller  # type: ignore[attr-defined]
    channel = caller.connected("calls", 60)
    call = control(follower)._system.engine._codec.encode_call("page", ("large",), {})[0]  # type: ignore[attr-defined]
    with contextlib.suppress(Exception):
        for number in range(20):
            channel._send(pack(parcels.CALL, number + 1, 0, call, caller.process))
    assert follower.add(1) == 1
    channel.close()


def test_a_parcel_that_comes_byte_by_byte_is_one(wiki: Any) -> None:
    splitter, data = Splitter(), pack(parcels.PING, 7, 3, b"NN", b"12345678")
    found = [parcel for byte in data for parcel in splitter.split(bytes([byte]))]
    assert [(each.number, each.position, each.process) for each in found] == [(7, 3, b"12345678")]
    two = splitter.split(data + data[:10]) + splitter.split(data[10:])
    assert len(two) == 2


@pytest.mark.parametrize("place", [0, 1, 5, 22, 40])
def test_a_parcel_in_which_a_byte_was_changed_is_garbage(place: int) -> None:
    data = bytearray(pack(parcels.VALUE, 1, 2, b"\x8c\x00\x94K\x01\x85\x94", b"12345678"))
    data[place] ^= 0x80
    with pytest.raises(Garbage):
        Splitter().split(bytes(data) + bytes(64))
