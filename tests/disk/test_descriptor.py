"""A file that is open is closed, wherever an exception comes in between."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
from pathlib import Path

import pytest
from interrupted import interrupted_at_every_instruction

from coopy.disk.fs import Calls, Descriptor, File

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files")


def open_files(directory: Path) -> list[str]:
    """What this process has open there. It may have more, of which threads and finalizers of other tests close some at any time."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # Of the listing itself.
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(path for path in found if Path(path).is_relative_to(directory))


@pytest.mark.parametrize(
    "what",
    [
        "a file",
        "a directory that is synced",
        "a line that is added",
        "a lock",
        "a file that is dropped",
        "a lock that is dropped",
    ],
)
def test_an_interrupt_at_any_instruction_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    # What comes in a __del__ goes no further.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    path = tmp_path / "file"
    path.write_bytes(b"text")

    def use_a_file() -> None:
        file = File(Calls(), str(path), write=True)
        file.read(0, 4)
        file.close()

    def lock() -> None:
        file = Descriptor()
        file.open(str(path), os.O_RDONLY)
        file.close()

    def drop_a_file() -> None:
        File(Calls(), str(path), write=True)

    def drop_a_lock() -> None:
        file = Descriptor()
        file.open(str(tmp_path), os.O_RDONLY | os.O_DIRECTORY)

    function, codes = {
        "a file": (use_a_file, (File.__init__, File.close, use_a_file)),
        "a directory that is synced": (lambda: Calls().sync_directory(str(tmp_path)), (Calls.sync_directory,)),
        "a line that is added": (lambda: Calls().add(str(path), b"more"), (Calls.add,)),
        "a lock": (lock, (lock,)),
        "a file that is dropped": (drop_a_file, (drop_a_file,)),
        "a lock that is dropped": (drop_a_lock, (drop_a_lock,)),
    }[what]
    of_descriptors = (Descriptor.__init__, Descriptor.open, Descriptor.close, Descriptor.__del__)
    function()
    before = open_files(tmp_path)
    moments = interrupted_at_every_instruction(function, *(each.__code__ for each in (*codes, *of_descriptors)))
    assert moments > 20 and open_files(tmp_path) == before


def test_a_file_that_nobody_has_any_more_is_closed(tmp_path: Path) -> None:
    before = open_files(tmp_path)
    file = File(Calls(), str(tmp_path / "file"), write=True, create=True)
    assert open_files(tmp_path) != before
    del file
    assert open_files(tmp_path) == before


def test_a_file_in_a_cycle_that_nobody_has_any_more_is_closed_by_the_collector(tmp_path: Path) -> None:
    held: list[object] = [File(Calls(), str(tmp_path / "file"), write=True, create=True)]
    held.append(held)
    del held
    gc.collect()
    assert open_files(tmp_path) == []


def test_a_file_is_no_childs(tmp_path: Path) -> None:
    file = Descriptor()
    file.open(str(tmp_path / "file"), os.O_CREAT | os.O_WRONLY)
    assert not os.get_inheritable(file.fileno()) and (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.fileno()


def test_a_number_that_somebody_else_has_closed_is_said(tmp_path: Path) -> None:
    file = Descriptor()
    file.open(str(tmp_path / "file"), os.O_CREAT | os.O_WRONLY)
    os.close(file.fileno())
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        file.close()
    assert not file.is_open
