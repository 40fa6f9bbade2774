"""The password of this user: where it is, that nobody else has a part in it, and that all who ask at once get the same."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from coopy import UsageError
from coopy.network.server import loopback


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and no XDG_RUNTIME_DIR."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    return tmp_path


def test_it_is_made_once_and_only_its_user_can_read_it(home: Path) -> None:
    assert loopback.find() is None
    found = loopback.find_or_make()
    assert found == loopback.find_or_make() == loopback.find() and len(found) > 40
    assert stat.S_IMODE((home / ".coopy").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / ".coopy" / "password").stat().st_mode) == 0o600
    assert os.listdir(home / ".coopy") == ["password"]


def test_the_run_directory_is_taken_if_it_is_this_users_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = home / "run"
    run.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    loopback.find_or_make()
    assert loopback.path() == str(run / "coopy" / "password") and os.path.exists(loopback.path())
    for mode in (0o750, 0o707):
        run.chmod(mode)
        assert loopback.path() == str(home / ".coopy" / "password")
    run.chmod(0o700)
    for other in ("", "run", str(run / "nowhere"), str(run / "coopy" / "password")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", other)
        assert loopback.path() == str(home / ".coopy" / "password")


def test_processes_that_ask_at_once_make_one(home: Path) -> None:
    begin, wait = os.pipe()[::-1], []
    for _ in range(8):
        reading, writing = os.pipe()
        if os.fork() == 0:
            try:
                os.close(begin[0])
                os.read(begin[1], 1)
                os.write(writing, loopback.find_or_make().encode())
            finally:
                os._exit(0)
        os.close(writing)
        wait.append(reading)
    os.close(begin[0])
    said = {os.read(each, 1000) for each in wait}
    for each in (begin[1], *wait):
        os.close(each)
    for _ in wait:
        os.wait()
    assert said == {loopback.find_or_make().encode()}


def test_an_empty_file_is_none_and_half_a_password_is_refused(home: Path) -> None:
    loopback.find_or_make()
    file = home / ".coopy" / "password"
    for held, says in (("half", "holds no password"), ("ä" * 40, "holds no password"), ("a\0" * 40, "holds no password")):
        file.write_text(held)
        with pytest.raises(UsageError, match=f"{says} that coopy has made. Nothing was opened. .* remove it"):
            loopback.find_or_make()
    file.write_text("")
    assert loopback.find() is None
    assert len(loopback.find_or_make()) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_file_that_others_have_a_part_in_is_refused(home: Path, mode: int) -> None:
    before = loopback.find_or_make()
    file = home / ".coopy" / "password"
    file.chmod(mode)
    with pytest.raises(UsageError, match=rf"{file}: .*it has mode {mode:04o}. Nothing was opened, .*remove {file}"):
        loopback.find_or_make()
    file.chmod(0o600)
    assert loopback.find() == before


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_a_folder_that_others_can_write_in_is_refused(home: Path, mode: int) -> None:
    loopback.find_or_make()
    (home / ".coopy").chmod(mode)
    with pytest.raises(UsageError, match=rf"it has mode {mode:04o}.*chmod 700 {home}/.coopy"):
        loopback.find_or_make()
    (home / ".coopy" / "password").unlink()
    with pytest.raises(UsageError, match="chmod 700"):
        loopback.find_or_make()
    assert os.listdir(home / ".coopy") == []


def test_what_is_another_users_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.find_or_make()
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(
        UsageError, match=rf"password of this user \(id {own + 1}\).* belongs to user {own}. .*have HOME or XDG"
    ):
        loopback.find_or_make()


def test_neither_a_link_nor_a_pipe_is_read(home: Path) -> None:
    before = loopback.find_or_make()
    file = home / ".coopy" / "password"
    file.rename(home / "elsewhere")
    file.symlink_to(home / "elsewhere")
    with pytest.raises(UsageError, match="Nothing was opened"):
        loopback.find_or_make()
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(UsageError, match="Nothing was opened"):
        loopback.find_or_make()
    file.unlink()
    (home / "elsewhere").rename(file)
    assert loopback.find_or_make() == before


def test_a_user_without_a_home_is_told_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file"))
    with pytest.raises(UsageError, match=r"can't be kept in .*/file/.coopy/password: .*Give a password= of your own"):
        loopback.find_or_make()


def test_nodes_and_replicas_say_another_word() -> None:
    one = loopback.find_or_make()
    assert loopback.for_user(one, "node") == loopback.for_user(one, "node") != loopback.for_user(one, "replica")
    assert one not in loopback.for_user(one, "replica")
