"""Which of several processes has a key, and where the journal of each lies.

A key has one of `SLOTS` slots for ever, drawn from its text; the slots are dealt to the shards of a directory in order. A shard is what one
process has: a directory of its own in that of the objects, with a journal, a table of keys, and a lock, as a directory that is not spread has them.

    data/coopy.json               the objects are spread: which generation, over how many shards
    data/shard-GENERATION-NUMBER  one of them

Objects of two classes with keys of the same text have the same slot: what these tell each other stays in one journal.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

from coopy.disk.manifest import Manifest

KNOWN = 16384
"""Of so many keys it is known where they are: some megabytes, and a microsecond less for a call."""
SLOTS = 4096
"""More than there will be processes, so that all have about as many."""
_SLOT_BYTES = 8  # So many of the digest as an integer has in other languages.
_NAME = re.compile(r"shard-[0-9]+-[0-9]+\Z")


def slot_of(key: bytes) -> int:
    """Returns the slot of a key as records have it; the class in front of it does not count."""
    import hashlib

    digest = hashlib.blake2b(key.rpartition(b"\0")[2], digest_size=_SLOT_BYTES).digest()
    return int.from_bytes(digest, "little") % SLOTS


@lru_cache(KNOWN)
def shard_of(key: bytes, count: int) -> int:
    """Returns which of ``count`` shards has a key."""
    return slot_of(key) * count // SLOTS


def name_of(generation: int, number: int) -> str:
    """Returns the name of the directory of a shard."""
    return f"shard-{generation}-{number}"


def directories(basedir: str, manifest: Manifest) -> list[str]:
    """Returns the directories that have the journals of the objects: that of the objects itself if they are not spread."""
    generation, count = manifest.shards
    return [os.path.join(basedir, name_of(generation, number)) for number in range(count)] or [basedir]


def is_name(name: str) -> bool:
    """Returns whether a name is that of a directory of a shard, of whatever generation."""
    return _NAME.match(name) is not None
