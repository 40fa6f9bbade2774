"""digests.dat: what a live system has said of its state, an entry for each time it did.

    size  field
       1  newline   an entry begins with it, so that one that is torn does not spoil the next
       8  checksum  CRC-32 of what follows it, in hexadecimal digits
       n  text      a space, the index in decimal digits, a space, and ASCII; what that means is said in coopy.spine.agreement

Nothing depends on the file. Where there is none, nothing is compared. An entry that is torn or garbled is as if it were not there,
and so is one that this release can't read. It is not synced: after a power cut it may tell of actions that are lost, whose
index other actions have then; so entries beyond the end of the journal are passed over, and dropped before the next one is added.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib

from coopy.disk import directory
from coopy.disk.fs import Calls, File, remove_if_there
from coopy.ground.paths import is_file
from coopy.ground.storage import Entry, thinned

NAME = "digests.dat"

_ENTRY = re.compile(rb"([0-9a-f]{8})( ([0-9]{1,19}) ([ -~]*))\Z")


class Digests:
    """The file of one directory. A `coopy.ground.storage.EntryStore`."""

    def __init__(self, calls: Calls, basedir: str) -> None:
        self._calls = calls
        self._path = os.path.join(basedir, NAME)

    def read(self) -> list[Entry]:
        try:
            if not is_file(self._path):
                return []
            file = File(self._calls, self._path, write=False)
        except FileNotFoundError:
            return []
        try:
            data = file.read(0, file.size)
        finally:
            file.close()
        found = (_ENTRY.match(line) for line in data.split(b"\n"))
        return [
            Entry(int(each[3]), each[4].decode("ascii")) for each in found if each and int(each[1], 16) == zlib.crc32(each[2])
        ]

    def add(self, entry: Entry) -> None:
        self._calls.add(self._path, _packed(entry))

    def keep(self, first: int, last: int) -> None:
        entries = self.read()
        stay = thinned([each for each in entries if first <= each.action <= last])
        if stay != entries:
            directory.write_whole(self._calls, self._path, b"".join(map(_packed, stay)))

    def clear(self) -> None:
        remove_if_there(self._calls, self._path)


def set_aside(calls: Calls, basedir: str, aside: str) -> None:
    """Moves the file into another directory: its states are of actions that are about to be others. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        calls.rename(os.path.join(basedir, NAME), os.path.join(aside, NAME))


def _packed(entry: Entry) -> bytes:
    body = f" {entry.action} {entry.text}".encode("ascii")
    return b"\n%08x%b" % (zlib.crc32(body), body)
