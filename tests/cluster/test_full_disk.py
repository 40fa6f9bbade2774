"""A node whose disk is full waits, says so, and goes on when there is room; the others never stop."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.bank import Bank
from cluster.test_watching import Trio
from network.servers import until
from program import free_port

from coopy import control, init_system, replay
from coopy.replication import watching

MB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root can make a file system")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def noise(size: int) -> str:
    """Text that takes as much room on a server's disk as it has characters, and more: it can't be deflated to less."""
    return random.Random(size).randbytes(size).decode("latin-1")


def fill(path: Path) -> Path:
    """Takes all the room there is."""
    filler = path / "filler"
    with filler.open("wb") as file:
        size = os.statvfs(path)
        os.posix_fallocate(file.fileno(), 0, size.f_bavail * size.f_frsize)
    return filler


def test_a_replica_on_a_full_disk_waits_and_goes_on_when_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    port = free_port()
    master = init_system(Bank, tmp_path / "master", master=True, port=port, password="secret", validation="off")
    replica = init_system(
        Bank, small_disk / "replica", replication=True, port=port, password="secret", validation="off", segment_bytes=MB
    )
    try:
        filler = fill(small_disk)
        for _ in range(3):
            master.deposit(noise(700_000))
        until(lambda: control(replica).status()["state"] == "stalled")
        assert master.deposit("y") == 1
        assert replica.balance("y") == 0, "what the full disk has no room for is not applied either"
        filler.unlink()
        control(replica).sync(20)
        assert replica.balance("y") == 1
        assert control(replica).state_digest() == control(master).state_digest()
        until(lambda: control(replica).status()["state"] == "ready")
    finally:
        control(replica).close()
        control(master).close()
    assert replay(Bank, small_disk / "replica").balance("y") == 1


def test_a_master_on_a_full_disk_takes_what_waits_when_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "LAGGING_S", 2)
    options: dict[str, Any] = {"password": "secret", "validation": "off", "segment_bytes": MB}
    master = init_system(Bank, small_disk / "master", master=True, port=free_port(), **options)
    try:
        assert master.deposit("y") == 1
        filler = fill(small_disk)
        waiting = [control(master).submit("deposit", owner) for owner in (noise(700_000), "y")]
        until(lambda: "no space left on device" in caplog.text and control(master).status()["problem"])
        assert master.balance("y") == 1
        filler.unlink()
        assert [each.result(30) for each in waiting] == [1, 2]
        assert master.deposit("y") == 3
        assert control(master).status()["problem"] is None
    finally:
        control(master).close()
    assert replay(Bank, small_disk / "master").balance("y") == 3


@pytest.mark.skipif("COOPY_MEMBERS" not in os.environ, reason="run by make simulate")
def test_the_leading_node_of_three_on_a_full_disk_says_so_while_the_others_go_on_and_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trio = Trio(small_disk / "full", tmp_path / "one", tmp_path / "another")
    trio.open(0, 1, 2)
    try:
        full, *others = trio.banks.values()
        for each in trio.banks.values():
            each.deposit("all")
        trio.lead(0)
        filler = fill(small_disk)
        for number in range(5):
            assert others[number % 2].deposit("all") == 4 + number
            others[number % 2].deposit(noise(300_000))
        until(lambda: control(full).status()["state"] == "stalled")
        problem = control(full).status()["problem"]
        assert "No space left on device" in problem and str(small_disk / "full") in problem and "free the cause" in problem
        assert full.balance("all") < others[0].balance("all"), "what the full disk has no room for is not applied either"

        trio.impatient(0, monkeypatch, 2)
        until(lambda: "its server could not be started" in caplog.text)
        assert others[0].deposit("all") == 9
        filler.unlink()
        until(lambda: control(full).status()["server_pid"] is not None)
        monkeypatch.undo()

        until(lambda: control(full).status()["state"] == "ready")
        assert [each.deposit("all") for each in trio.banks.values()] == [10, 11, 12]
        assert trio.are_equal()
        until(lambda: all(peer["current"] for stream in control(full).cluster.health() for peer in stream["peers"]))
        assert control(full).status()["problem"] is None
    finally:
        trio.close(*trio.banks)
    assert replay(Bank, small_disk / "full").balance("all") == 12
