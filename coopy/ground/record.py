"""Records joined: the bytes that logs, frames and messages share.

A record is a header and a call (`coopy.ground.action`). Records are joined so that any number of them can be decoded by one
pickle; what they mean is nobody's here, and neither is where they are kept.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate

PREFIX_BYTES = 13
"""Every record begins with this many bytes, which are not pickle. A log that is read wraps them, after bytes of its own if it likes,
as one bytes object of pickle's."""

WRAP = bytes([0x43, PREFIX_BYTES])
"""Stands before each record that is joined: pickle's opcode SHORT_BINBYTES, and the size of what follows."""

AMENDMENT_BYTES = PREFIX_BYTES + 2
"""The size of an amendment; every other record is longer."""


def joined(records: Sequence[bytes]) -> tuple[bytes, array[int]]:
    """Returns records joined, and the size of each with its WRAP: what `Log.append_all` takes."""
    sizes = array("I", [len(record) + len(WRAP) for record in records])
    return WRAP + WRAP.join(records) if records else b"", sizes


def with_headers(headers: list[bytes], joined: bytes, sizes: array[int]) -> bytes:
    """Returns joined records with other headers."""
    call, places = len(WRAP) + PREFIX_BYTES, [0, *accumulate(sizes)]
    return b"".join(
        [WRAP + header + joined[place + call : end] for header, place, end in zip(headers, places, places[1:], strict=False)]
    )


def listed(sizes: array[int]) -> bytes:
    """Returns sizes as they are written: 4 bytes each, little-endian."""
    return _little_endian(sizes).tobytes()


def sizes_of(data: bytes | memoryview) -> array[int]:
    """Returns the sizes that `listed` has written."""
    sizes = array("I")
    sizes.frombytes(data)
    return _little_endian(sizes)


def _little_endian(sizes: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return sizes
    found = array("I", sizes)
    found.byteswap()
    return found
