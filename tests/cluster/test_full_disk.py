"""A node whose disk is full waits, says so, and goes on when there is room; the others never stop."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.bank import Bank
from network.servers import until
from program import free_port

from coopy import control, init_system, replay

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
    replica = init_system(Bank, small_disk / "replica", replication=True, port=port, password="secret", validation="off", segment_bytes=MB)
    try:
        filler = fill(small_disk)
        for _ in range(3):
            master.deposit("x" * 700_000)
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
