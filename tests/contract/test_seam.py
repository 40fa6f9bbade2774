"""What `coopy.ground.storage` promises, over memory, over a disk, mapped and written, and over the servers of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import Faulty
from network.servers import NODE, running, settings

from coopy import DamagedSnapshot, SystemClosed
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.snapshots import DiskSnapshots
from coopy.ground import action
from coopy.ground.record import joined
from coopy.ground.storage import Log, MemoryLog, MemorySnapshots, SnapshotStore
from coopy.network import shipping
from coopy.network.connection import Connection
from coopy.network.shipping import ShippedSnapshots
from coopy.network.subjects import Names
from coopy.values.codec import Codec, decode_joined

SYSTEM = b"0123456789abcdef"
LOGS: dict[str, Callable[[Path], Log]] = {
    "memory": lambda path: MemoryLog(),
    "mapped": lambda path: Journal(Calls(), str(path), SYSTEM),
    "written": lambda path: Journal(Faulty(), str(path), SYSTEM),
    "buffered": lambda path: Journal(Calls(), str(path), SYSTEM, durability="buffered"),
}
STORES: dict[str, Callable[[Path], SnapshotStore]] = {
    "memory": lambda path: MemorySnapshots(),
    "disk": lambda path: DiskSnapshots(Calls(), str(path), SYSTEM),
}
encode = Codec(dict).encode_call


def record(number: Any) -> bytes:
    return action.header(1, 0, action.UNKNOWN) + encode("put", (number,), {})[0]


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    return LOGS[request.param](tmp_path)


def numbers(log: Log, after: int = 0) -> list[tuple[int, Any]]:
    found = []
    for first, records in log.read(after):
        _, names, arguments = decode_joined(records)
        index = first - (arguments[0] is not None)
        for name, args in zip(names, arguments, strict=True):
            if args is not None:
                index += 1
                found.append((index, args[0] if name else args))
    return found


def test_records_have_indexes_from_one_without_gaps_and_are_read_in_order(log: Log) -> None:
    assert (log.last, log.settled, numbers(log)) == (0, 0, [])
    assert [log.append(record(number)) for number in "abc"] == [1, 2, 3]
    assert log.last == 3
    assert numbers(log) == [(1, "a"), (2, "b"), (3, "c")]
    assert numbers(log, after=2) == [(3, "c")]
    assert numbers(log, after=3) == []


def test_a_record_that_was_waited_for_is_settled(log: Log) -> None:
    log.append(record(1))
    log.append(record(2))
    log.wait(2)
    assert log.settled == 2
    log.wait(1)


def test_an_amendment_takes_no_index_and_comes_once(log: Log) -> None:
    log.append(record(1))
    log.amend(action.amendment(1, 0, action.WITHDRAWN))
    assert log.append(record(2)) == 2
    headers = [header for _, records in log.read(0) for header in decode_joined(records)[0]]
    assert [header[action.OUTCOME] for header in headers] == [action.UNKNOWN, action.WITHDRAWN, action.UNKNOWN]
    assert numbers(log) == [(1, 1), (2, 2)]
    assert numbers(log, after=1) == [(2, 2)]


def test_many_records_of_every_size_are_read_as_they_were_appended(log: Log) -> None:
    sizes = [1, 50, 3_000, 59_000, 61_000, 300_000, 7, 1_500_000, 20]
    for size in sizes * 3:
        log.append(record("x" * size))
    found = [len(value) if isinstance(value, str) else len(Codec(dict).decode_call(value)[1][0]) for _, value in numbers(log)]
    assert found == sizes * 3
    assert len(numbers(log, after=13)) == 14
    assert [index for index, _ in numbers(log, after=13)] == list(range(14, 28))


def test_records_taken_together_have_indexes_and_are_read_as_if_they_came_one_by_one(log: Log) -> None:
    log.append_all(*joined([]))
    assert log.append(record("first")) == 1
    log.append_all(*joined([record(number) for number in range(2000)]))
    log.amend(action.amendment(1, 0, action.WITHDRAWN))
    log.append_all(*joined([record("x" * size) for size in (1, 59_000, 20, 40_000, 7)]))
    assert (log.last, log.append(record("last"))) == (2006, 2007)
    found = numbers(log)
    assert [index for index, _ in found] == list(range(1, 2008))
    assert [value for _, value in found[:2001]] == ["first", *range(2000)]
    assert numbers(log, after=2006) == [(2007, "last")]
    log.wait(2007)
    assert log.settled == 2007


def test_records_taken_together_are_read_from_any_of_them_on(log: Log) -> None:
    log.append(record("first"))
    log.append_all(*joined([record(number) for number in range(150)]))
    log.append_all(*joined([record(150)]))
    log.amend(action.amendment(1, 0, action.WITHDRAWN))
    log.append_all(*joined([record(151), record(152)]))
    everything = numbers(log)
    assert [index for index, _ in everything] == list(range(1, 155))
    for after in range(155):
        assert numbers(log, after=after) == everything[after:]


def test_a_journal_of_records_taken_together_holds_what_one_of_one_by_one_does_in_fewer_bytes(tmp_path: Path) -> None:
    sizes = [1, 50, 3_000, 20_000, 59_000, 7, 61_000, 300_000, 900_000, 5, 5, 5, 200_000, 1_500_000, 20] + 6000 * [60]
    records = [record("x" * size) for size in sizes]
    found, used = [], []
    for name in ("together", "one by one"):
        (tmp_path / name).mkdir()
        journal = Journal(Calls(), str(tmp_path / name), SYSTEM, durability="sync", segment_bytes=1 << 20)
        if name == "together":
            journal.append_all(*joined(records[:20]))
            journal.append_all(*joined(records[20:]))
        else:
            for each in records:
                journal.append(each)
        journal.wait(journal.last)
        found.append(numbers(journal))
        journal.close()
        used.append(sum(len(path.read_bytes().rstrip(b"\0")) for path in (tmp_path / name).iterdir()))
    assert found[0] == found[1]
    assert used[0] < used[1] - 6000 * 20


def test_a_closed_log_refuses_records_and_is_settled_no_more(log: Log) -> None:
    log.append(record(1))
    log.close()
    assert log.settled == -1
    with pytest.raises(SystemClosed):
        log.append(record(2))
    with pytest.raises(SystemClosed):
        log.append_all(*joined([record(2)]))
    with pytest.raises(SystemClosed):
        log.wait(log.last + 1)
    log.close()


def test_a_reader_reads_what_was_there_while_others_append(log: Log) -> None:
    for _ in range(1, 51):
        log.append(record("x" * 100_000))
    reader = log.reader()
    reading = reader.read(0)
    next(reading)
    for _ in range(51, 1001):
        log.append(record("x" * 100_000))
    assert reader.last >= 50
    assert [index for index, _ in numbers(reader)] == list(range(1, reader.last + 1))
    list(reading)
    reader.close()
    assert log.append(record(1)) == 1001


def test_what_is_forgotten_may_be_gone_and_the_rest_is_there(log: Log) -> None:
    for number in range(5):
        log.append(record(number))
    log.forget(2)
    assert [index for index, _ in numbers(log, after=2)] == [3, 4, 5]
    assert log.append(record(5)) == 6
    assert isinstance(log.where(4), str)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with running(settings(tmp_path_factory.mktemp("server"))) as supervisor:
        found = Connection([supervisor.url], "node", NODE)
        found.open(10)
        yield found
        found.close()


@pytest.fixture(params=[*STORES, "network"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    if request.param in STORES:
        return STORES[request.param](tmp_path)
    connection = request.getfixturevalue("connection")
    names = Names("".join(letter if letter.isalnum() else "_" for letter in request.node.name)[-64:])
    connection.run(shipping.make(connection, names, 1), 10)
    return ShippedSnapshots(connection, names)


def latest(store: SnapshotStore, upto: int | None = None) -> tuple[int, bytes] | None:
    found = store.latest(upto)
    return None if found is None else (found[0], bytes(found[1]))


def test_the_newest_snapshot_at_or_before_an_index_is_found(store: SnapshotStore) -> None:
    assert (latest(store), store.indexes()) == (None, [])
    for index in (0, 5, 9):
        store.write(index, lambda file: file.write(b"state %d" % index))
    assert latest(store) == (9, b"state 9")
    assert latest(store, 8) == (5, b"state 5")
    assert latest(store, 4) == (0, b"state 0")
    assert store.head(5, 3) == b"sta"
    with pytest.raises(DamagedSnapshot, match="too short"):
        store.head(5, 1000)
    store.forget(5)
    assert store.indexes() == [5, 9]
    assert latest(store, 4) is None


def test_writing_may_begin_again_and_a_failed_one_leaves_nothing(store: SnapshotStore) -> None:
    def twice(file: Any) -> None:
        file.write(b"x" * 3_000_000)
        file.restart()
        file.write(b"the ")
        file.write(b"second")

    store.write(1, twice)
    assert latest(store) == (1, b"the second")

    def failing(file: Any) -> None:
        file.write(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError):
        store.write(2, failing)
    assert (store.indexes(), latest(store)) == ([1], (1, b"the second"))


@pytest.mark.parametrize("size", [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_states_of_every_size_come_back(store: SnapshotStore, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    store.write(3, lambda file: file.write(data[:size]))
    assert latest(store) == (3, data[:size])
