"""Certificates as `coopy cluster init` makes them: nodes that have them work, and whoever has not is told why, at once."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.bank import Bank
from cluster.test_nodes import NODE, Process
from program import free_port, write

from coopy import AuthenticationFailed, UsageError, control, init_system
from coopy.network.address import parse
from coopy.network.connection import Connection
from coopy.network.server.configuration import TLS, tls_of

pytest.importorskip("cryptography", reason="the extra [crypto] is not installed")
from coopy.network.server import certificates


class Place:
    """A port of this machine, certificates for who is there, and the systems that were opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        made = certificates.make(str(path / "made"), [parse(f"127.0.0.1:{self.port}")])
        self.folder = next(iter(made.folders.values()))
        self.authority = made.authority
        self.open: list[Any] = []

    def others(self, days: int = 1) -> TLS:
        """What the same node would have from another authority."""
        made = certificates.make(str(self.path / "others"), [parse(f"127.0.0.1:{self.port}")], days)
        return tls_of(next(iter(made.folders.values())))

    def opened(self, name: str, tls: TLS | bool, **role: bool) -> Any:
        found = init_system(
            Bank, self.path / name, port=self.port, password="secret", timeout=5, validation="off", tls=tls, **role
        )  # type: ignore[call-overload]
        self.open.append(found)
        return found

    def master(self, tls: TLS | bool = True) -> Any:
        if tls is True and not (self.path / "master" / "tls").exists():
            shutil.copytree(self.folder, self.path / "master" / "tls")
        return self.opened("master", tls, master=True)

    def replica(self, tls: TLS | bool) -> Any:
        return self.opened("replica", tls, replication=True)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    for each in reversed(found.open):
        control(each).close()


def test_a_replica_needs_the_authority_alone(place: Place) -> None:
    master = place.master()
    master.deposit("x")
    (place.path / "replica" / "tls").mkdir(parents=True)
    shutil.copy(place.authority, place.path / "replica" / "tls")
    replica = place.replica(True)
    assert replica.balance("x") == 1
    assert master.deposit("x") == 2
    control(replica).sync()
    assert replica.balance("x") == 2


def test_whoever_has_no_certificates_or_others_is_refused_at_once(place: Place) -> None:
    master = place.master()
    for tls in (False, TLS("", "", place.others().authority)):
        with pytest.raises(AuthenticationFailed, match="issuer certificate.*`coopy cluster init`"):
            place.replica(tls)
    assert list((place.path / "replica").glob("coopy*")) == []
    assert master.deposit("x") == 1


def test_a_certificate_that_has_expired_says_so(place: Place) -> None:
    made = certificates.make(str(place.path / "made"), [parse(f"localhost:{place.port}")], days=-1)
    expired = next(iter(made.folders.values()))
    with pytest.raises(AuthenticationFailed, match="certificate has expired"):
        place.master(tls_of(expired))


def test_a_certificate_is_for_the_host_of_its_node(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_HERE", ())
    made = certificates.make(str(place.path / "made"), [parse("elsewhere.example")])
    with pytest.raises(AuthenticationFailed, match="127.0.0.1"):
        place.master(tls_of(next(iter(made.folders.values()))))


def test_who_speaks_no_tls_is_told_no_password() -> None:
    """Somebody in between leaves TLS out; the client must not go on without."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as client:
                client.settimeout(5)
                client.sendall(b'INFO {"server_id":"X","version":"2.11.0","proto":1,"max_payload":1000,"headers":true}\r\n')
                heard.append(client.recv(1000))

        serving = threading.Thread(target=serve)
        serving.start()
        url = f"tls://127.0.0.1:{server.getsockname()[1]}"
        connection = Connection([url], "node", "secret", tls=ssl.create_default_context())
        with pytest.raises(AuthenticationFailed, match="it speaks no TLS"):
            connection.open(2)
        serving.join(10)
    assert heard == [b""]


@pytest.mark.parametrize("missing", ["node.pem", "node.key", "authority.pem"])
def test_a_file_that_is_missing_is_named(place: Place, missing: str) -> None:
    folder = place.path / "master" / "tls"
    shutil.copytree(place.folder, folder)
    (folder / missing).unlink()
    with pytest.raises(UsageError, match=rf"tls/{missing} is not there. Nothing was opened. `coopy cluster init`"):
        place.master()
    assert os.listdir(place.path / "master") == ["tls"]


def test_files_that_do_not_do_are_refused_before_anything_is_opened(place: Place) -> None:
    others, own = place.others(), tls_of(place.folder)
    for tls, says in [
        (TLS(own.certificate, others.key, own.authority), "key values mismatch"),
        (TLS(own.certificate, own.key, own.key), own.key),
        (TLS(own.certificate, own.key, "nowhere.pem"), "nowhere.pem: No such file"),
        (TLS("", "", own.authority), "needs a certificate and its key"),
        ("yes", "tls='yes': must be True"),
    ]:
        with pytest.raises(UsageError, match=says):
            place.master(tls)  # type: ignore[arg-type]
    assert not (place.path / "master").exists()


def test_three_nodes_speak_tls_to_each_other(tmp_path: Path) -> None:
    port = free_port(3)
    addresses = [f"127.0.0.1:{port + number}" for number in range(3)]
    made = certificates.make(str(tmp_path / "made"), [parse(each) for each in addresses])
    script = write(
        tmp_path / "node.py",
        NODE.format(tests=str(Path(__file__).resolve().parents[1])).replace("cluster=cluster,", "cluster=cluster, tls=True,"),
    )
    nodes = [Process(script, number, addresses) for number in range(3)]
    try:
        for node in nodes:
            shutil.copytree(made.folders[str(node.arguments[2])], node.directory / "tls")
            node.start()
        for node in nodes:
            node.ready()
        assert [node.do("bank.deposit('x')") for node in nodes] == [1, 2, 3]
        assert [node.do("(control.sync(), bank.balance('x'))")[1] for node in nodes] == [3, 3, 3]
    finally:
        for node in nodes:
            node.end()
