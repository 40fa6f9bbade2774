"""Writes format.md: the docstrings of the modules that pack bytes, from the directory inwards, and a worked example.

    python docs/internals/generate_format.py           writes it
    python docs/internals/generate_format.py --check   exits with 1 if it is not what would be written

A table in a docstring is the only place where a format is written down. It is read from the source; numbers
behind the names it uses, and the example, come from the code itself. The text that has no other
place (how the notation works, and a reader that does not need coopy) is here.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import pickletools
import re
import struct
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from coopy import migration
from coopy.disk import digests, directory, dirlock, frame, manifest, segment
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.ground import action
from coopy.ground.record import WRAP, joined
from coopy.values import codec

TARGET = ROOT / "docs" / "internals" / "format.md"

SECTIONS = {
    "The manifest": "coopy/disk/manifest.py",
    "A segment": "coopy/disk/segment.py",
    "A frame": "coopy/disk/frame.py",
    "A record, and the head of a state": "coopy/ground/action.py",
    "A record with a key": "coopy/ground/keyed.py",
    "A call": "coopy/values/codec.py",
    "What is said of classes": "coopy/ground/fields.py",
    "A snapshot": "coopy/disk/snapshots.py",
    "The table of keys": "coopy/objects/table.py",
    "What runs, and what a process has died of": "coopy/objects/poison.py",
}

INTRODUCTION = f"""
# The format of a data directory

This page is generated from the docstrings of the modules that pack the bytes; change those, then run
`python docs/internals/generate_format.py`. What a crash can leave of these files, and what opening does then,
is in [crash safety](crash-safety.md).

Numbers are little-endian; `instant` and `offset` of a record have a sign, all others none. A CRC-32 is that of zlib. In a
table an *offset* counts bytes from the beginning of what the table describes; with a minus it counts from its end, and `+` is
directly behind the row before. A letter is a size that is not fixed. *Index* is an action's place
in the history of a system: 1 is the first, and there are no gaps. Fields called zeros are kept for later
releases: written as zeros, and not looked at.

## The directory

| name | what | how many |
| --- | --- | --- |
| `{manifest.NAME}` | the manifest; what makes a directory a system's | one |
| `{dirlock.NAME}` | held by flock, as the directory itself is, while a process has it open. Its bytes: the id of that process, and in which boot of the machine the end of the journal was last known to be whole (see `coopy/disk/dirlock.py`). The rest is as good without it | at most one |
| `{directory.segment_path("", 1)}` | a segment of the journal, named by the index of its first action | one or more |
| `{directory.snapshot_path("", 0)}` | a snapshot, named by its index; 0 is the state before the first action | one or more |
| `{digests.NAME}` | what the system has said of its states, see `coopy/disk/digests.py` and `coopy/spine/agreement.py`. Nothing depends on it | at most one |
| `keys.dat` | of a directory of many objects: where the newest record of each lies. Nothing depends on it | at most one |
| `running.dat`, `deaths.json` | of a directory of many objects: which of them runs, and which has ended its process. Nothing depends on them | at most one |
| `coopy.writer`, `writer-<number>.sock` | of a directory that processes share: the pid of the one that writes and the name of its socket, and the socket. They mean nothing when it has ended; its successor removes them | at most one of each |
| `*{directory.TEMPORARY}` | one of these, not yet whole; opening removes it | |
| `{directory.ASIDE}<time>` | a directory with what an opening has taken out of the way: the torn end of a segment (`<segment>.from-<byte>`), and segments that a power cut left after one; read by nobody | |

An index in a name has 15 digits, more if it needs them. Files of other names are left alone.
"""

STATE = """
What lies in a snapshot between its header and its table of checksums: a head, as the second table of a record says
(that of the first snapshot has the time at which it was taken), a tag, `P`, `B` or `D` as in the
call of a record, and what comes after it: at its end the pickle of the domain object, protocol 5.
"""

VERSION_MARK = f"""
A call of `{migration.MARK}` is of no method: its argument is the version of the domain class that records from here on.
"""

READER = """
import pickletools, struct, zlib
from pathlib import Path

BLOCK, SEED = 32 * 1024, 0xE0FBC7B1


def name_of(call):
    for _, argument, _ in pickletools.genops(call):
        if isinstance(argument, str):
            return argument
        if isinstance(argument, bytes):
            said = 3 + int.from_bytes(argument[1:3], "little") if argument[:1] == b"F" else 0
            return name_of(argument[argument.index(0x80, said) :])  # Opaque: a pickle of its own, from PROTO on.


def actions(directory):
    last = 0
    for path in sorted(Path(directory).glob("transaction_*.log"), key=lambda path: int(path.stem[12:])):
        data, at = path.read_bytes(), 64
        while at < len(data):
            if data[at : at + 2] == b"C!":
                size, index = struct.unpack_from("<IQ", data, at + 2)
                start, sizes = at + 22, [size + 2]
            elif data[at + 5 : at + 9] == b"\\xf7Co\\xf7":
                size, index, synced, count = struct.unpack_from("<IQQI", data, at + 9)
                start, sizes = at + 33 + 4 * count, struct.unpack_from(f"<{count}I", data, at + 33)
            else:
                at = (at // BLOCK + 1) * BLOCK  # The rest of a block is zeros.
                continue
            end = start + size
            if data[end + 1 : end + 5] != zlib.crc32(data[at : end + 1], SEED).to_bytes(4, "little"):
                return  # A torn end, or damage: see crash safety.
            if size > 15:  # An amendment is no action.
                assert last in (0, index - 1), f"actions {last + 1} to {index - 1} are missing"
                for last, size in enumerate(sizes, index):
                    instant, offset, outcome_of_the_one_before = struct.unpack_from("<qiB", data, start)
                    yield last, instant, name_of(data[start + 13 : start + size - 2] + b".")
                    start += size
            at = end + 6
"""


OFFSET = r"\+|-?\d+(?:\+\w)?"
"""A number, from the end if it is negative, behind a field of that size if a letter is added; or just behind the row before."""


class Part(NamedTuple):
    """Bytes of the example, and what they are."""

    offset: int
    data: bytes
    name: str
    meaning: str


def document() -> str:
    """The whole text."""
    parts = [INTRODUCTION.strip()]
    for title, source in SECTIONS.items():
        text = docstring(ROOT / source)
        module = importlib.import_module(source.removesuffix(".py").replace("/", "."))
        parts += [f"## {title}", f"From `{source}`.", markdown(text), *meanings(text, vars(module))]
        if module is codec:
            parts.append(VERSION_MARK.strip())
    parts += ["## A state", markdown(STATE)]
    texts = [docstring(ROOT / source) for source in SECTIONS.values()]
    known = "Those that are named above. `pickletools` of the standard library explains them."
    parts += ["## Pickle opcodes", known, opcodes(texts)]
    parts += example()
    parts += [
        "## A journal read without coopy",
        "The index, the instant and the name of each action, with nothing but the standard library, and without "
        "running\nanything that is stored. Withdrawn actions are among them.",
        f"```python\n{READER.strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


# -- docstrings to Markdown


def docstring(path: Path) -> str:
    """Returns the docstring of a module, which is not imported for it, without the reason for its length."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text is not None, f"{path} has no docstring"
    return re.sub(r"\s*It has more than 500 lines because [^.]*\.", "", text, count=1)


def markdown(text: str) -> str:
    """A docstring, with its indented tables as tables."""
    paragraphs = re.split(r"\n{2,}", textwrap.dedent(text).strip("\n"))
    return "\n\n".join(table(each) if each.startswith("    ") else prose(each) for each in paragraphs)


def prose(text: str) -> str:
    return text.replace("``", "`")


def table(text: str) -> str:
    lines = textwrap.dedent(text).splitlines()
    if re.split(r"\s{2,}", lines[0].strip()) == ["offset", "size", "field"]:
        head = ["offset", "size", "field", "what it holds"]
        found = [offset_row(line) for line in lines[1:]]
    else:
        head = ["member", "what it holds"]
        found = [re.split(r"\s{2,}", line, maxsplit=1) for line in lines]
    rows: list[list[str]] = []
    for line, row in zip(lines[len(lines) - len(found) :], found, strict=True):
        if row and row[0]:
            rows.append(row)
        else:
            rows[-1][-1] += " " + line.strip()
    ruler = ["--:" if name in ("offset", "size") else "---" for name in head]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ruler, *map(escaped, rows)))


def offset_row(line: str) -> list[str]:
    """The cells of a row that begins with an offset; none if the line goes on with the row before."""
    cells = re.split(r"\s{2,}", line.strip(), maxsplit=3)
    if not re.fullmatch(OFFSET, cells[0]):
        return []
    return cells + [""] * (4 - len(cells))


def escaped(cells: list[str]) -> list[str]:
    return [prose(cell).replace("|", "\\|") for cell in cells]


def meanings(text: str, names: dict[str, object]) -> list[str]:
    """The numbers behind the names in capitals that a docstring uses, and the names of outcomes."""
    found = []
    if "OUTCOMES" in names:
        found.append("Outcomes: " + ", ".join(f"{number} {name}" for number, name in enumerate(action.OUTCOMES)))
    for name in dict.fromkeys(re.findall(r"\b[A-Z][A-Z_]+\b", text)):
        value = names.get(name)
        if isinstance(value, int):
            found.append(f"`{name}` is {value:,}" if value % 1024 == 0 else f"`{name}` is {value:#04x}")
    return ["; ".join(found) + "."] if found else []


def opcodes(texts: list[str]) -> str:
    codes = {opcode.name: opcode.code for opcode in pickletools.opcodes}
    used = sorted({word for text in texts for word in re.findall(r"\b[A-Z][A-Z_0-9]+\b", text)} & codes.keys())
    rows = [f"| {name} | 0x{ord(codes[name]):02x} | {shown(codes[name].encode('latin-1'))} |" for name in used]
    return "\n".join(["| opcode | byte | as text |", "| --- | --- | --- |", *rows])


# -- the example


def example() -> list[str]:
    """A journal of four actions, written by the journal itself with all that is random or of today given."""
    system = bytes(range(16))
    inline = codec.Codec(dict).encode_call("sell", ("tea", 3), {})[0]
    opaque = codec.Codec(dict).encode_call("stock", ([["milk", 2]],), {})[0]
    with tempfile.TemporaryDirectory() as scratch:
        journal = Journal(Calls(), scratch, system)
        instant = 1_700_000_000_000_000_000
        journal.wait(journal.append(action.header(instant, 3600, action.UNKNOWN) + inline))
        journal.append(action.header(instant + 1_000_000_000, 3600, action.RETURNED) + opaque)
        headers = [action.header(instant + 2_000_000_000, 3600, outcome) for outcome in (action.RAISED, action.RETURNED)]
        journal.append_all(*joined([header + inline for header in headers]))
        journal.close(action.amendment(instant + 2_000_000_000, 3600, action.RETURNED))
        data = Path(directory.segment_path(scratch, 1)).read_bytes()
    lines = [
        f"{part.offset + at:6}  {row:<35}  {'' if at else part.name:<8}  {'' if at else part.meaning}".rstrip()
        for part in dissected(data)
        for at, row in rows_of(part.data)
    ]
    return [
        "## An example",
        f'A journal of `sell("tea", 3)`, which returned, and `stock([["milk", 2]])`, which raised; then `sell("tea", 3)` twice, in a\n'
        f"batch; then the system was closed. The file is `{directory.segment_path('', 1)}`; behind what is shown there are zeros. Offsets are decimal.",
        "```text\n" + "\n".join(lines) + "\n```",
        "The frames from byte 64 on touch. Between MARK and LIST they are one pickle, whose list has three objects for each\n"
        "record: bytes that end in its header, a name or None, and arguments, bytes or None.",
    ]


def rows_of(data: bytes) -> Iterator[tuple[int, str]]:
    for at in range(0, len(data), 12):
        yield at, data[at : at + 12].hex(" ")


def dissected(data: bytes) -> Iterator[Part]:
    """The header of a segment and its frames, field by field, by the tables above."""
    head = segment.HEADER.unpack_from(data)
    names = ["magic", "version", "system", "first", "zeros", "checksum"]
    said = [shown(head[0]), str(head[1]), "", f"action {head[3]}", "", "CRC-32 of bytes 0 to 59"]
    yield from fields(data, 0, [8, 4, 16, 8, 24, 4], names, said)
    at = segment.HEADER.size
    while (found := frame.whole(data, at)) is not None:
        end = at + found.length
        synced = f"actions up to {found.synced} are on disk" if found.synced else "nothing is known to be on disk"
        if found.first < found.index:
            count, begin = found.index - found.first + 1, at + frame.MANY_HEAD.size
            names = ["constant", "fields", "mark", "size", "index", "synced", "count"]
            said = [
                "BINBYTES",
                "bytes follow",
                "",
                f"records of {found.size} bytes",
                f"action {found.first}",
                synced,
                str(count),
            ]
            said[1] = f"{struct.unpack_from('<I', data, at + 1)[0]} bytes follow"
            yield from fields(data, at, [1, 4, 4, 4, 8, 8, 4], names, said)
            listed = struct.unpack_from(f"<{count}I", data, begin)
            yield from fields(data, begin, count * [4], count * ["sizes"], [f"{size} bytes" for size in listed])
        else:
            belongs = f"amendment of action {found.index}" if found.is_amendment else f"action {found.index}"
            names = ["constant", "constant", "size", "index", "synced"]
            said = ["SHORT_BINBYTES", "33 bytes follow", f"a record of {found.size} bytes", belongs, synced]
            yield from fields(data, at, [1, 1, 4, 8, 8], names, said)
        place = at + found.begin
        for number, record in enumerate(found.records(data, at)):
            if number:
                yield from fields(data, place, [1, 1], ["constant", "constant"], ["SHORT_BINBYTES", "13 bytes follow"])
                place += len(WRAP)
            instant, offset, outcome = action.HEADER.unpack_from(record)
            names = ["instant", "offset", "outcome"]
            before = "of this action" if found.is_amendment else "of the one before"
            said = [f"{instant} ns", f"{offset} s", f"{before}: {action.OUTCOMES[outcome]}"]
            yield from fields(data, place, [8, 4, 1], names, said)
            yield from call_parts(data, place + action.HEADER.size, place + len(record))
            place += len(record)
        said = ["BININT", f"CRC-32 of bytes {at} to {end - 6}, begun with SEED", "POP"]
        yield from fields(data, end - 6, [1, 4, 1], ["constant", "checksum", "constant"], said)
        at = end


def fields(data: bytes, at: int, sizes: list[int], names: list[str], said: list[str]) -> Iterator[Part]:
    for size, name, meaning in zip(sizes, names, said, strict=True):
        yield Part(at, data[at : at + size], name, meaning)
        at += size


def call_parts(data: bytes, at: int, end: int) -> Iterator[Part]:
    """The opcodes of a call, each with its argument."""
    found = list(pickletools.genops(data[at:end] + b"."))
    for (opcode, argument, place), (_, _, following) in itertools.pairwise(found):
        assert place is not None and following is not None
        name = "call" if place == 0 else ""
        if isinstance(argument, bytes):
            head = struct.calcsize("<cI")
            yield Part(at + place, data[at + place : at + place + head], name, f"{opcode.name}, {len(argument)} bytes follow")
            yield Part(at + place + head, argument[:1], "", f"tag {shown(argument[:1])}: pickle")
            yield Part(at + place + head + 1, argument[1:], "", "a pickle of its own, of ('stock', ([['milk', 2]],))")
        else:
            meaning = opcode.name if argument is None else f"{opcode.name} {argument!r}"
            yield Part(at + place, data[at + place : at + following], name, meaning)


def shown(data: bytes) -> str:
    return "`" + data.decode("ascii") + "`" if data.isascii() and data.decode("ascii").isprintable() else ""


def main(arguments: list[str], target: Path = TARGET) -> int:
    """Writes the page, or with --check says whether it is stale; the exit code."""
    text = document()
    if arguments == ["--check"]:
        if target.exists() and target.read_text(encoding="utf-8") == text:
            return 0
        print(f"{target} is stale: run python docs/internals/generate_format.py", file=sys.stderr)
        return 1
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
