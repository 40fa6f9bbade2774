"""coopy.json: what a data directory is.

    format      1
    system      32 hexadecimal digits, the id that every file of the directory carries
    secret      64 hexadecimal digits, from which the env of every action is seeded
    serializer  "pickle5"
    domain      module:class that it was made for, as it was called then; the tools import it unless they are told another
    program     the file of the program, if the class is defined in the main file of a program (and so domain is __main__:class);
                not there otherwise
    created     when, ISO 8601, UTC
    deterministic  true, if the standard library's clock and chance are answered from the action (see `coopy.determinism.install`);
                not there otherwise
    reclocked   [[index, instant], ...]: where the clock was put back, and to when (nanoseconds since 1970-01-01 UTC); not there
                otherwise
    objects     true, if the directory holds many objects, each with a key (see `coopy.objects`); not there otherwise
    shards      [generation, count], if these are spread over several processes: the journals are those of the directories
                `shard-GENERATION-NUMBER` in it, with the same secret (see `coopy.objects.slots`); not there otherwise
    checksum    CRC-32, 8 hexadecimal digits, of the other members as sorted JSON without spaces

The file has mode 0600: who knows the secret can tell the draws of the env.
It is written whole (temporary file, sync, rename, sync of the directory), when the system is made, when it is
turned deterministic, for good, when its clock is put back, and when its objects are spread over another number of processes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from datetime import datetime, timezone
from typing import Any, NamedTuple

from coopy.disk.fs import Calls, File, remove_if_there
from coopy.errors import DamagedManifest, ForeignDirectory, UnsupportedFormat, UsageError
from coopy.ground.paths import is_file
from coopy.ground.raised import on_failure

NAME = "coopy.json"
FORMAT = 1  # A higher one is refused: it was written by a newer coopy.
SERIALIZER = "pickle5"
SYSTEM_BYTES = 16  # Random, so that no two systems have the same: 128 bits, like a UUID.
SHARDS_MAX = 64
"""Objects are spread over so many processes at most: more than a machine of today has use for."""
SECRET_BYTES = 32  # What draws are made from: 256 bits, which nobody can try out.


class Manifest(NamedTuple):
    """The id of the system (16 bytes), its secret (32 bytes), and what people want to know."""

    system: bytes
    secret: bytes
    domain: str = ""
    created: str = ""
    deterministic: bool = False
    program: str = ""
    reclocked: tuple[tuple[int, int], ...] = ()
    has_objects: bool = False
    shards: tuple[int, int] = (0, 0)
    """Which spreading of its objects, and over how many directories; zeros if the journal is in the directory itself."""

    def clock_from(self, instant: int) -> int:
        """Index of the action from which on the clock runs that shows an instant; 0 if it was never put back before that.

        What is before that action is earlier than the instant, whatever time it has.
        """
        return max((index for index, begins in self.reclocked if begins <= instant), default=0)


def read(calls: Calls, directory: str, with_objects: bool = False) -> Manifest | None:
    """The manifest, or None where there is none. Raises a `StorageError`, and OSError where that can't be seen.

    That of a directory of many objects is refused by a `UsageError`, unless it is asked for ``with_objects``: what knows one system finds no
    state there.
    """
    import json

    path = os.path.join(directory, NAME)
    # Where it can't be told whether there is one, there may be: none must be made in its place.
    try:
        os.lstat(path)  # Also raises where the way to it is a loop of links.
        is_ours = is_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not is_ours:
        raise DamagedManifest(f"{path} is not a file, or a link to one. {_ADVICE}")
    file = File(calls, path, write=False)
    try:
        data = file.read(0, file.size)
    finally:
        file.close()
    try:
        members = json.loads(data)
    except (ValueError, RecursionError):
        raise DamagedManifest(f"{path} is not JSON. {_ADVICE}") from None
    # One name that is not what it was does not make it somebody else's.
    if not isinstance(members, dict) or ("system" not in members and len(_OURS & members.keys()) < 2):
        raise ForeignDirectory(f"{path} was not written by this coopy. {_OTHER}")
    if members.get("checksum") != _checksum(members):
        raise DamagedManifest(f"{path}: its checksum does not match. {_ADVICE}")
    for name, known in (("format", FORMAT), ("serializer", SERIALIZER)):
        if members.get(name) != known:
            raise UnsupportedFormat(
                f"{path} has {name} {members.get(name)}; this coopy reads {known}. Nothing was changed. "
                f"Use the release that wrote it, or a newer one."
            )
    try:
        found = Manifest(
            bytes.fromhex(members["system"]),
            bytes.fromhex(members["secret"]),
            str(members.get("domain", "")),
            str(members.get("created", "")),
            members.get("deterministic", False) is True,
            str(members.get("program", "")),
            tuple((int(index), int(instant)) for index, instant in members.get("reclocked", ())),
            members.get("objects", False) is True,
            _shards(members.get("shards", (0, 0))),
        )
    except (KeyError, TypeError, ValueError):
        found = Manifest(b"", b"")
    if (len(found.system), len(found.secret)) != (SYSTEM_BYTES, SECRET_BYTES):
        raise DamagedManifest(f"{path}: its id or its secret is not what this coopy writes. {_ADVICE}")
    if found.has_objects and not with_objects:
        raise UsageError(
            f"{directory} holds many objects, each with a key, and not one system. Nothing was changed. Open it with coopy.objects(), "
            f"which has the history and the past of each; what is for systems does not read it."
        )
    return found


def create(
    calls: Calls,
    directory: str,
    domain: str,
    secret: bytes | None = None,
    system: bytes | None = None,
    deterministic: bool = False,
    program: str = "",
    has_objects: bool = False,
) -> Manifest:
    """Makes a system's manifest, with a secret and an id of its own if none is given. Raises OSError, with no manifest there."""
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    manifest = Manifest(
        system or os.urandom(SYSTEM_BYTES),
        secret or os.urandom(SECRET_BYTES),
        domain,
        created,
        deterministic,
        program,
        has_objects=has_objects,
    )
    path = os.path.join(directory, NAME)
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    else:
        # Whoever was told that there is none was told wrongly: its secret would be lost.
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    # What may not last must not be taken for a system by who comes next.
    with on_failure(_remove_if_possible, calls, path):
        _write(calls, directory, manifest)
    return manifest


def _remove_if_possible(calls: Calls, path: str) -> None:
    with contextlib.suppress(OSError):
        remove_if_there(calls, path)


def spread(calls: Calls, directory: str, manifest: Manifest, generation: int, count: int) -> Manifest:
    """Says that the objects of a directory are in so many others from now on. Raises OSError, with the old one or the new one there."""
    manifest = manifest._replace(shards=(generation, count))
    _write(calls, directory, manifest)
    return manifest


def _shards(found: Any) -> tuple[int, int]:
    generation, count = map(int, found)
    if (generation, count) != (0, 0) and not (generation > 0 and 0 < count <= SHARDS_MAX):
        raise ValueError(found)
    return generation, count


def make_deterministic(calls: Calls, directory: str, manifest: Manifest) -> Manifest:
    """Says so in a directory that has a manifest. Raises OSError, with the old one or the new one there."""
    manifest = manifest._replace(deterministic=True)
    _write(calls, directory, manifest)
    return manifest


def put_clock_back(calls: Calls, directory: str, manifest: Manifest, index: int, instant: int) -> Manifest:
    """Says that the clock is put back by an action. Raises OSError, with the old one or the new one there."""
    before = tuple(each for each in manifest.reclocked if each[0] < index)
    manifest = manifest._replace(reclocked=(*before, (index, instant)))
    _write(calls, directory, manifest)
    return manifest


def _write(calls: Calls, directory: str, manifest: Manifest) -> None:
    import json

    members: dict[str, object] = {
        "format": FORMAT,
        "system": manifest.system.hex(),
        "secret": manifest.secret.hex(),
        "serializer": SERIALIZER,
        "domain": manifest.domain,
        "created": manifest.created,
    }
    if manifest.program:
        members["program"] = manifest.program
    if manifest.deterministic:
        members["deterministic"] = True
    if manifest.reclocked:
        members["reclocked"] = manifest.reclocked
    if manifest.has_objects:
        members["objects"] = True
    if manifest.shards[1]:
        members["shards"] = manifest.shards
    members["checksum"] = _checksum(members)
    path = os.path.join(directory, NAME)
    temporary = path + ".tmp"
    remove_if_there(calls, temporary)
    file = File(calls, temporary, write=True, create=True)
    try:
        file.write(0, json.dumps(members, indent=1).encode("ascii") + b"\n")
        file.sync()
    finally:
        file.close()
    calls.rename(temporary, path)
    calls.sync_directory(directory)


_OURS = frozenset({"format", "system", "secret", "domain", "created", "checksum"})
_ADVICE = "Nothing was changed. Put the file back from a backup; the actions beside it are intact."
_OTHER = "Nothing was changed. Choose another directory."


def _checksum(members: dict[str, object]) -> str:
    import json

    rest = {name: value for name, value in members.items() if name != "checksum"}
    return f"{zlib.crc32(json.dumps(rest, sort_keys=True, separators=(',', ':')).encode('ascii')):08x}"
