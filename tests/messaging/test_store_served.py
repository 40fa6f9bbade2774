"""A store that is served over the network: who is let in, and what ends with it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from messaging.stores import store_elsewhere, until
from program import free_port

from coopy import AuthenticationFailed, Unavailable, UsageError
from coopy.messaging import KeyValueClient, KeyValueStore
from coopy.network.address import Address
from coopy.network.server.certificates import make

pytest.importorskip("websockets", reason="the extra [serve] is not installed")
pytest.importorskip("click", reason="the extra [cli] is not installed")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default directories are made in the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    first = free_port(2)
    yield first, first + 1


def test_whoever_has_the_key_is_let_in_at_both_ports_and_nobody_else(tmp_path: Path, ports: tuple[int, int]) -> None:
    key = tmp_path / "a.key"
    with KeyValueStore({"a": 1}, key=key, publisher_port=ports[0], subscriber_port=ports[1]) as store:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        with KeyValueClient("127.0.0.1", *ports, key=key, timeout=30) as client:
            assert client.get("a") == 1 and client.set("b", {"x": [1]}) and store.get("b") == {"x": [1]}
            feed = client.subscribe("c", timeout=30)
            store.set("c", 1)
            assert next(feed)[2:] == ("added", "c", None, 1) and sorted(client._connected) == [*ports]
            with client.transact() as keys:
                keys["a"] = keys["a"] + 1
            assert store.get("a") == 2
        with (
            KeyValueClient("127.0.0.1", *ports, key=secrets.token_bytes(32), timeout=30) as stranger,
            pytest.raises(AuthenticationFailed),
        ):
            stranger.get("a")
        with KeyValueClient("localhost", *ports) as beside:  # Of this machine and user: without the network.
            assert beside.get("a") == 2 and not beside._connected
    with KeyValueClient("127.0.0.1", *ports, key=key, timeout=0.2) as late, pytest.raises(Unavailable):
        late.get("a")


def test_a_client_of_another_machine_must_have_a_key() -> None:
    with pytest.raises(UsageError, match="Give key= the file"):
        KeyValueClient("192.0.2.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "192.0.2.1", "store.example.com"])
def test_an_address_that_others_can_reach_needs_certificates(host: str, ports: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Give tls= the folder"):
        KeyValueStore(keyvalue_host=host, publisher_port=ports[0], subscriber_port=ports[1])
    assert os.listdir(tmp_path) == []


def test_a_store_with_certificates_has_them_checked(tmp_path: Path, ports: tuple[int, int]) -> None:
    made = make(str(tmp_path / "certificates"), [Address("localhost", ports[0])])
    (folder,) = made.folders.values()
    key = tmp_path / "a.key"
    with KeyValueStore(
        {"a": 1}, keyvalue_host="127.0.0.1", publisher_port=ports[0], subscriber_port=ports[1], key=key, tls=folder
    ):
        with KeyValueClient("localhost", *ports, key=key, tls=made.authority, timeout=30) as client:
            assert client.get("a") == 1
        with KeyValueClient("localhost", *ports, key=key, tls=True, timeout=30) as other, pytest.raises(AuthenticationFailed):
            other.get("a")


def test_a_port_that_another_program_has_is_refused_with_what_the_child_has_said(
    ports: tuple[int, int], tmp_path: Path
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", ports[1])), pytest.raises(UsageError, match="can't be served at .*in use"):
        KeyValueStore(key=tmp_path / "a.key", publisher_port=ports[0], subscriber_port=ports[1])


def test_what_serves_a_store_ends_with_it_even_if_it_is_killed(tmp_path: Path, ports: tuple[int, int]) -> None:
    arguments: dict[str, Any] = {"key": str(tmp_path / "a.key"), "publisher_port": ports[0], "subscriber_port": ports[1]}
    with store_elsewhere(tmp_path / "one", **arguments) as one:
        children = Path(f"/proc/{one.pid}/task/{one.pid}/children")
        if not children.exists():
            pytest.skip("this operating system does not tell who is whose child")
        [child] = [int(each) for each in children.read_text().split()]
        one.kill()
        one.wait()
        assert until(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text() and not os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
