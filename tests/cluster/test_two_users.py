"""Nodes that were given no password: the same user's find one another, another user's are refused at once, with words."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cryptography
import nats
import pytest
from cluster.bank import Bank
from program import free_port

from coopy import AuthenticationFailed, Unavailable, UsageError, control, init_system
from coopy.ground import action, batch
from coopy.network.connection import Connection
from coopy.network.server import loopback, proof

NOBODY = 65534
HIDDEN = "hidden"


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    """Of a master and of a cluster of one, both without a password of their own."""
    place = Path(tempfile.mkdtemp())
    first, second = free_port(), free_port()
    open_systems: list[Any] = []
    try:
        open_systems.append(init_system(Bank, place / "master", master=True, port=first, validation="off"))
        at = f"127.0.0.1:{second}"
        given: dict[str, Any] = {"cluster": [at], "node": at, "replica_password": "copynet", "validation": "off"}
        open_systems.append(init_system(Bank, place / "node", **given))
        for each in open_systems:
            each.deposit("x", 7)
        yield first, second
    finally:
        for each in open_systems:
            control(each).close()
        shutil.rmtree(place)


@pytest.mark.parametrize("options", [{}, {"password": "copynet"}, {"host": "localhost"}], ids=str)
@pytest.mark.parametrize("which", [0, 1], ids=["of a master", "of a cluster"])
def test_the_same_users_replica_follows(ports: tuple[int, int], tmp_path: Path, which: int, options: dict[str, Any]) -> None:
    with control(init_system(Bank, tmp_path / "r", replication=True, port=ports[which], validation="off", **options)) as found:
        assert found._system.proxy.balance("x") == 7


def test_the_documented_password_opens_nothing(ports: tuple[int, int]) -> None:
    for port in ports:
        for user in ("node", "replica", "system"):
            given = {"tls": proof.context(user, "copynet"), "tls_name": proof.name(user)}
            with pytest.raises(AuthenticationFailed, match="refused the password"):
                Connection([f"nats://127.0.0.1:{port}"], user, "copynet", **given).open(5)


def test_the_word_of_replicas_is_not_that_of_nodes(ports: tuple[int, int]) -> None:
    own = loopback.find_or_make()
    for user, other in (("node", "replica"), ("replica", "node")):
        word = loopback.for_user(own, user)
        with pytest.raises(AuthenticationFailed, match="refused the password"):
            # Past the certificates: with those of the other, as whoever has both words would.
            right = loopback.for_user(own, other)
            given = {"tls": proof.context(other, right), "tls_name": proof.name(other)}
            Connection([f"nats://127.0.0.1:{ports[1]}"], other, word, **given).open(5)


def test_a_system_that_was_given_a_password_is_not_opened_by_the_users_own(tmp_path: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    with control(init_system(Bank, tmp_path / "n", cluster=[at], node=at, password="given", validation="off")):
        port = int(at.rpartition(":")[2])
        with pytest.raises(AuthenticationFailed, match=f"No password= was given here.*{loopback.path()}.* Give a password= of"):
            init_system(Bank, tmp_path / "r", replication=True, port=port, validation="off")
    assert not list((tmp_path / "r").glob("coopy*"))


def test_the_command_line_needs_no_password_for_this_users_nodes(
    ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("click", reason="the extra [cli] is not installed")
    from coopy.cli.app import app

    monkeypatch.delenv("COOPY_PASSWORD", raising=False)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    with pytest.raises(SystemExit) as ended:
        app(["cluster", "status", f"127.0.0.1:{ports[1]}", "--json"], prog_name="coopy")
    assert (ended.value.code or 0, json.loads(capsys.readouterr().out)["system"]) == (0, "bank")


# -- another user of the machine


class Evil:
    """Runs code where it is unpickled."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._mark,)


def as_nobody(work: Callable[[str], object]) -> str:
    """What a child says that has become another user, and does something in a directory of its own."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")
    place = tempfile.mkdtemp()
    os.chown(place, NOBODY, NOBODY)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.environ["HOME"] = place
            there = all(os.access(str(each.__file__), os.R_OK) for each in (sys.modules["coopy"], cryptography, nats))
            said = repr(work(place)) if there else HIDDEN
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode()[:4096])
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        found = file.read().decode()
    os.waitpid(child, 0)
    shutil.rmtree(place)
    if found == HIDDEN:
        pytest.skip("another user can't read the code under test here")
    return found


def test_another_users_replica_is_refused_at_once_with_words(ports: tuple[int, int]) -> None:
    for port in ports:
        for given in ({}, {"password": "copynet"}):
            options: dict[str, Any] = {"replication": True, "port": port, "validation": "off", **given}
            said = as_nobody(lambda place: init_system(Bank, place + "/r", **options))
            assert said.startswith(f"AuthenticationFailed: nats://127.0.0.1:{port} refused the password. Nothing was opened")
            assert (
                f"this user (id {NOBODY})" in said
                and ".coopy/password" in said
                and "Give a password= of your own to all" in said
            )


def test_another_users_node_is_refused_at_once_with_words(ports: tuple[int, int]) -> None:
    cluster = [f"127.0.0.1:{port}" for port in (ports[1], free_port(), free_port())]
    options: dict[str, Any] = {"cluster": cluster, "node": cluster[1], "validation": "off"}
    said = as_nobody(lambda place: init_system(Bank, place + "/n", **options))
    assert said.startswith(f"AuthenticationFailed: nats://{cluster[0]} refused the password. Nothing was opened")


def test_another_user_can_not_read_this_users_password(ports: tuple[int, int]) -> None:
    own = loopback.path()

    def look(place: str) -> object:
        os.environ["XDG_RUNTIME_DIR"] = os.path.dirname(os.path.dirname(own))
        assert loopback.path().startswith(place)
        os.environ["HOME"] = "/"
        return loopback.find_or_make()

    assert as_nobody(lambda place: open(own).read()).startswith("PermissionError")
    said = as_nobody(look)
    assert said.startswith(f"UsageError: no password= was given, and this user's own (id {NOBODY}) can't be kept in /")


def test_another_user_runs_no_code(ports: tuple[int, int]) -> None:
    mark = os.path.join(tempfile.mkdtemp(), "mark")
    record = action.header(time.time_ns(), 0, action.RETURNED) + pickle.dumps(("deposit", (Evil(mark),)), 5)[2:]
    message = batch.pack(batch.ACTIONS, "x:1", time.time_ns(), 1, [record])

    def intrude(place: str) -> object:
        word = loopback.for_user(loopback.find_or_make(), "node")
        found = []
        for port in ports:
            for password in ("copynet", word, ""):
                blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
                connection = Connection([f"nats://127.0.0.1:{port}"], "node", password, tls=blind)
                try:
                    connection.open(5)
                    connection.run(connection.client.jetstream().publish("coopy.bank.line", message), 5)
                    found.append(password)
                except (AuthenticationFailed, Unavailable, UsageError):
                    pass
        return found

    assert as_nobody(intrude) == "[]"
    assert not os.path.exists(mark)
    os.rmdir(os.path.dirname(mark))
