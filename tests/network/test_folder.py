"""Small files of a node: after a crash or on a full disk the old text is there or the new one, and an empty file is none."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coopy.network.server import folder


class Watched:
    """The calls that a writing makes, in order; the one with a given number fails."""

    NAMES = ("open", "fsync", "replace")

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.fails: int | None = None
        for name in self.NAMES:
            patch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, real: Any) -> Any:
        def call(what: Any, *args: Any, **others: Any) -> Any:
            kind = "folder" if name == "fsync" and stat.S_ISDIR(os.fstat(what).st_mode) else ""
            self.calls.append(f"{name} {kind}".strip())
            if len(self.calls) - 1 == self.fails:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(what, *args, **others)

        return call


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(folder, "_sync", lambda fd: os.fsync(fd))  # One call on every system.
    yield Watched(monkeypatch)


def test_the_bytes_are_on_disk_before_the_name_and_the_name_before_it_returns(tmp_path: Path, watched: Watched) -> None:
    folder.write(str(tmp_path / "kind"), "alone")
    assert watched.calls == ["open", "fsync", "replace", "open", "fsync folder"]


@pytest.mark.parametrize("failing", range(3))
def test_what_can_not_be_written_leaves_what_was_there(tmp_path: Path, watched: Watched, failing: int) -> None:
    path = str(tmp_path / "kind")
    folder.write(path, "alone")
    watched.fails = len(watched.calls) + failing
    with pytest.raises(OSError, match="No space left"):
        folder.write(path, "cluster")
    assert folder.read(path) == "alone"
    watched.fails = None
    folder.write(path, "cluster")
    assert folder.read(path) == "cluster"


def test_a_file_is_its_owner_s_alone_whatever_was_left_in_its_way(tmp_path: Path) -> None:
    (tmp_path / "secret.new").write_text("half")
    (tmp_path / "secret.new").chmod(0o666)
    folder.write(str(tmp_path / "secret"), "whole")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    (tmp_path / "secret.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        folder.write(str(tmp_path / "secret"), "led astray")
    assert folder.read(str(tmp_path / "secret")) == "whole" and not (tmp_path / "elsewhere").exists()


def test_a_file_that_a_power_cut_left_empty_is_none(tmp_path: Path) -> None:
    for name in ("kind", "secret", "members"):
        (tmp_path / name).touch()
    (tmp_path / "store").mkdir()
    folder.set_store_aside(str(tmp_path), "alone")
    assert os.path.isdir(tmp_path / "store") and folder.read(str(tmp_path / "kind")) == "alone"
    password = folder.own_password(str(tmp_path))
    assert len(password) > 40 and folder.own_password(str(tmp_path)) == password
    assert folder.remembered(str(tmp_path)) is None


def test_the_store_of_another_kind_is_moved_and_that_is_on_disk_before_the_word(tmp_path: Path, watched: Watched) -> None:
    folder.set_store_aside(str(tmp_path), "alone")
    (tmp_path / "store").mkdir()
    watched.calls.clear()
    folder.set_store_aside(str(tmp_path), "cluster")
    assert watched.calls == ["open", "fsync folder", "open", "fsync", "replace", "open", "fsync folder"]
    assert [each.name.rpartition("-")[0] for each in tmp_path.glob("store*")] == ["store-alone"]
    folder.set_store_aside(str(tmp_path), "cluster")
    assert len(list(tmp_path.glob("store*"))) == 1


def test_a_store_of_another_kind_that_can_not_be_seen_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.set_store_aside(str(tmp_path), "alone")
    (tmp_path / "store").mkdir()
    with monkeypatch.context() as patched:
        for name in ("stat", "lstat"):

            def refuse(path: Any, *args: Any, real: Any = getattr(os, name), **options: Any) -> Any:
                if path == str(tmp_path / "store"):
                    raise OSError(errno.EIO, os.strerror(errno.EIO), path)
                return real(path, *args, **options)

            patched.setattr(os, name, refuse)
        with pytest.raises(OSError):
            folder.set_store_aside(str(tmp_path), "cluster")
    assert folder.read(str(tmp_path / "kind")) == "alone"
    folder.set_store_aside(str(tmp_path), "cluster")
    assert not (tmp_path / "store").exists() and len(list(tmp_path.glob("store-alone-*"))) == 1
