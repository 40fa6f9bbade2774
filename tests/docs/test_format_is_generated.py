"""docs/internals: format.md says what the code packs today, and is enough to read a journal without coopy.

The other texts there name the tests that show what they say; each of those is there.
"""

from __future__ import annotations

import importlib.util
import pickletools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import handed
import pytest

from coopy import abort_exception, control, init_system
from coopy.disk import frame
from coopy.disk.segment import BLOCK
from coopy.ground import action

INTERNALS = Path(__file__).resolve().parents[2] / "docs" / "internals"
GENERATOR = INTERNALS / "generate_format.py"
PAGE = INTERNALS / "format.md"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_format", GENERATOR)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A named tuple of the module looks its own module up.
    sys.modules[spec.name] = module
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def test_the_page_is_what_the_docstrings_say_today(tmp_path: Path) -> None:
    checked = [sys.executable, str(GENERATOR), "--check"]
    ran = subprocess.run(checked, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_page_that_is_stale_or_missing_is_noticed_and_put_right(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "format.md"
    assert generator.main(["--check"], page) == 1
    page.write_text(PAGE.read_text().replace("of the record", "of a record"))
    assert generator.main(["--check"], page) == 1
    assert "is stale: run python docs/internals/generate_format.py" in capsys.readouterr().err
    assert generator.main([], page) == 0
    assert generator.main(["--check"], page) == 0
    assert generator.main(["--chekc"], page) == 2


TABLE = """
    offset  size  field
         0     8  magic     "COOPY|"
         8     n  state     of ``n`` bytes,
                            which go on
       8+n  4 * c  table
         +     2  rest
        -4     4  checksum  CRC-32"""

ROWS = """
| offset | size | field | what it holds |
| --: | --: | --- | --- |
| 0 | 8 | magic | "COOPY\\|" |
| 8 | n | state | of `n` bytes, which go on |
| 8+n | 4 * c | table |  |
| + | 2 | rest |  |
| -4 | 4 | checksum | CRC-32 |"""

MEMBERS = """
    format  1
    note    two  words,
            and more"""

MEMBER_ROWS = """
| member | what it holds |
| --- | --- |
| format | 1 |
| note | two  words, and more |"""


PROSE = ("\nA ``name``,\nwrapped", "\nA `name`,\nwrapped")


@pytest.mark.parametrize(("text", "expected"), [(TABLE, ROWS), (MEMBERS, MEMBER_ROWS), PROSE])
def test_a_table_of_a_docstring_becomes_one_of_the_page(generator: ModuleType, text: str, expected: str) -> None:
    assert generator.markdown(f"Before.\n{text}\n\nBehind.") == f"Before.\n{expected}\n\nBehind."


def test_every_field_of_every_table_is_on_the_page(generator: ModuleType) -> None:
    page = PAGE.read_text()
    for source in generator.SECTIONS.values():
        text = generator.docstring(generator.ROOT / source)
        for offset, field in re.findall(rf"^ +({generator.OFFSET}) +[^ ]+(?: \* c)?  (\w+)", text, re.M):
            assert re.search(rf"^\| {re.escape(offset)} \| .*\| {field} \|", page, re.M), f"{source}: {field}"


def test_the_bytes_of_the_example_are_whole_frames() -> None:
    block = next(block for block in re.findall(r"^```text\n(.*?)^```", PAGE.read_text(), re.S | re.M) if "COOPYSEG" in block)
    data = bytearray()
    for line in block.splitlines():
        assert int(line[:6]) == len(data), "the offsets are those of the bytes"
        data += bytes.fromhex(line[8:43])
    assert frame.intact(bytes(data[64:]))


def test_a_state_lies_in_a_snapshot_as_the_page_says(tmp_path: Path) -> None:
    shop = init_system(Shop, tmp_path)
    shop.sell("tea")
    refused(shop.refuse)
    control(shop).take_snapshot()
    control(shop).close()
    section = PAGE.read_text().partition("## A record, and the head of a state\n")[2].partition("\n## ")[0]
    place = {field: int(offset) for offset, field in re.findall(r"^\| (\d+) \| \w+ \| (\w+) \|", section, re.M)}
    state = (tmp_path / "snapshot_000000000000002.dat").read_bytes()[64:]
    assert int.from_bytes(state[place["instant"] : place["offset"]], "little") > 1_700_000_000 * 10**9
    assert state[place["outcome"]] == action.RAISED
    assert int.from_bytes(state[place["version"] : place["size"]], "little") == 1
    end_of_head = place["besides"] + int.from_bytes(state[place["size"] : place["besides"]], "little")
    assert state[end_of_head : end_of_head + 1] in (b"P", b"B")
    opcodes = [opcode.name for opcode, _, _ in pickletools.genops(state[state.index(0x80, end_of_head) :])]
    assert (opcodes[0], opcodes[-1]) == ("PROTO", "STOP")


# -- the reader that the page shows


class Shop:
    def __init__(self) -> None:
        self.sold: list[Any] = []

    def sell(self, what: Any, count: int = 1) -> None:
        self.sold.append((what, count))

    def refuse(self) -> None:
        raise ValueError

    @abort_exception
    def withdraw(self) -> None:
        raise ValueError


class Called(handed.Called):
    domain = Shop


def refused(call: Callable[[], None]) -> None:
    with pytest.raises(ValueError):
        call()


def used(directory: Path, *, closed: bool) -> list[str]:
    """Writes actions of every kind, through several segments; returns their names."""
    names = []
    shop = init_system(Shop, directory, segment_bytes=1 << 20, durability="buffered")

    def call(name: str, *args: Any, **kwargs: Any) -> None:
        names.append(name)
        getattr(shop, name)(*args, **kwargs)

    for number in range(300):
        call("sell", "tea", number)
        call("sell", ["a list"], count=number)
        call("sell", lambda: number)
        refused(lambda: call("refuse"))
        refused(lambda: call("withdraw"))
    sells = [Called("sell", number) for number in range(200)]
    engine = shop._coopy_engine
    assert all(call.error is None for some in engine.settled(engine.begin_all(sells), sells) for call in some)
    names += len(sells) * ["sell"]
    for size in (BLOCK - 100, BLOCK + 1, 10, *[400_000] * 6, 10):
        call("sell", "x" * size)
    assert control(shop).index == len(names)
    assert len(list(directory.glob("transaction_*.log"))) >= 3
    if closed:
        control(shop).close()
    else:
        control(shop)._system.abandon()
    return names


@pytest.fixture
def actions() -> Callable[[Path], Iterator[tuple[int, int, str]]]:
    """The reader, as the page shows it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    assert len(blocks) == 1
    assert set(re.findall(r"^(?:import|from) (.*)", blocks[0], re.M)) == {"pickletools, struct, zlib", "pathlib import Path"}
    names: dict[str, Any] = {}
    exec(compile(blocks[0], str(PAGE), "exec"), names)
    found: Callable[[Path], Iterator[tuple[int, int, str]]] = names["actions"]
    return found


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
def test_the_reader_on_the_page_finds_every_action_without_coopy(
    tmp_path: Path, actions: Callable[[Path], Iterator[tuple[int, int, str]]], closed: bool
) -> None:
    names = used(tmp_path / "shop", closed=closed)
    found = list(actions(tmp_path / "shop"))
    assert len(found) == len(names)
    assert [index for index, _, _ in found] == list(range(1, len(names) + 1))
    assert [name for _, _, name in found] == names
    instants = [instant for _, instant, _ in found]
    assert instants == sorted(instants) and instants[0] > 1_700_000_000 * 10**9


def test_the_reader_on_the_page_stops_at_what_is_not_whole(
    tmp_path: Path, actions: Callable[[Path], Iterator[tuple[int, int, str]]]
) -> None:
    used(tmp_path, closed=True)
    path = min(tmp_path.glob("transaction_*.log"))
    data = bytearray(path.read_bytes())
    first = frame.whole(data, 64)
    assert first is not None
    data[64 + frame.OVERHEAD + first.size + frame.HEAD.size] ^= 1
    path.write_bytes(data)
    assert [index for index, _, _ in actions(tmp_path)] == [1]


# -- the other texts


TESTS = INTERNALS.parents[1] / "tests"
NAMING_TESTS = ["crash-safety.md", "replication.md", "track-record.md"]


@pytest.mark.parametrize("name", NAMING_TESTS)
def test_every_test_that_a_text_names_is_there(name: str) -> None:
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", (INTERNALS / name).read_text())
    assert len(named) > 10
    for file, test in named:
        path = TESTS / file
        assert path.is_file(), f"{name} names {file}"
        assert not test or re.search(rf"^def {test}\b", path.read_text(), re.M), f"{name} names {test}"
