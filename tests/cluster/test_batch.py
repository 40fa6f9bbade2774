"""A batch: what is packed comes out again, what is not whole is refused, and a table says which is next."""

from __future__ import annotations

import random
import sys
import zlib
from array import array

import pytest

from coopy import DamagedLine
from coopy.ground import batch
from coopy.ground.batch import ACTIONS, BARRIER, Batch, Batches, pack, unpack
from coopy.ground.record import WRAP
from coopy.values.codec import decode_joined

RECORDS = [b"%013d" % size + b"N" * (size % 7 + 2) for size in range(5)]


def of(node: str = "a", incarnation: int = 1, number: int = 1, actions: int = 1) -> Batch:
    return unpack(pack(ACTIONS, node, incarnation, number, [RECORDS[0]] * actions), 1)


@pytest.mark.parametrize("count", [0, 1, 5, 4096])
def test_what_is_packed_comes_out_again(count: int) -> None:
    records = (RECORDS * 1000)[:count]
    found = unpack(pack(ACTIONS, "ä:5466", 2**40, 2**41, records), 7)
    assert found[:5] == (ACTIONS, "ä:5466", 2**40, 2**41, count)
    assert b"".join(WRAP + record for record in records) == found.records
    assert list(found.sizes) == [len(record) + len(WRAP) for record in records]


@pytest.mark.parametrize(
    ("records", "least", "most"),
    [
        ([b"0123456789abc" + b"N" * 400] * 9, 3000, 4200),  # Too few to be worth it.
        ([b"0123456789abc" + b"N" * 400] * 10, 30, 400),
        ([b"0123456789abc" + b"N" * 20] * 4096, 500, 5000),
        ([random.Random(1).randbytes(6000)], 6000, 6100),  # It would not be fewer.
        ([random.Random(2).randbytes(300_000)], 300_000, 300_100),
        ([b"N" * 1_000_000], 900, 6000),
        ([b"N" * 500_000, random.Random(3).randbytes(10_000), b"N" * 500_000], 1_000_000, 1_100_000),  # As the sample is.
    ],
)
def test_a_batch_of_what_is_alike_takes_less_room(records: list[bytes], least: int, most: int) -> None:
    whole = pack(ACTIONS, "node", 1, 2, records)
    assert least <= len(whole) <= most
    found = unpack(whole, 1)
    assert found.records == b"".join(WRAP + record for record in records)


@pytest.mark.parametrize("size", [0, 1, 99, 4999, 5001, 2**32 - 1])
def test_a_batch_that_says_another_size_than_it_has_is_refused(size: int) -> None:
    whole = pack(ACTIONS, "node", 1, 2, [b"N" * 4994])
    assert len(whole) < 100
    wrong = whole[4:26] + size.to_bytes(4, "little") + whole[30:]
    with pytest.raises(DamagedLine, match="does not hold as many bytes|can't be inflated"):
        unpack(zlib.crc32(wrong).to_bytes(4, "little") + wrong, 5)


def test_a_machine_that_puts_the_high_byte_first_swaps_the_sizes_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    here = pack(ACTIONS, "node", 1, 2, RECORDS)
    monkeypatch.setattr("sys.byteorder", "big" if sys.byteorder == "little" else "little")
    there = pack(ACTIONS, "node", 1, 2, RECORDS)
    assert there[34 : 34 + 4] == here[34 : 34 + 4][::-1]
    assert unpack(there, 1)[3:] == (2, len(RECORDS), array("I", [len(each) + 2 for each in RECORDS]), unpack(there, 1).records)


def test_bytes_that_can_not_be_inflated_are_refused() -> None:
    whole = pack(ACTIONS, "node", 1, 2, [b"N" * 5000])
    wrong = whole[4:34] + b"\xff" * 50
    with pytest.raises(DamagedLine, match="message 5 of the line .* inflated"):
        unpack(zlib.crc32(wrong).to_bytes(4, "little") + wrong, 5)


def test_sizes_that_are_not_there_are_refused() -> None:
    whole = pack(ACTIONS, "node", 1, 2, [b"0123456789abcNN"])
    wrong = whole[4:21] + (6).to_bytes(4, "little") + whole[25:]
    with pytest.raises(DamagedLine, match="as many actions as it says"):
        unpack(zlib.crc32(wrong).to_bytes(4, "little") + wrong, 5)


def test_the_records_of_a_batch_are_decoded_at_once() -> None:
    headers, _, _ = decode_joined(of(actions=3).records)
    assert headers == [RECORDS[0][:13]] * 3


def test_a_barrier_has_no_actions() -> None:
    found = unpack(pack(BARRIER, "a", 3, 9), 1)
    assert (found[:5], list(found.sizes), bytes(found.records)) == ((BARRIER, "a", 3, 9, 0), [], b"")


def test_every_byte_is_looked_after() -> None:
    whole = pack(ACTIONS, "node", 1, 2, RECORDS)
    for place in range(len(whole)):
        with pytest.raises(DamagedLine, match="message 12 of the line is not what was sent"):
            unpack(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :], 12)


def test_a_message_that_was_cut_is_refused_wherever_it_was() -> None:
    whole = pack(ACTIONS, "node", 1, 2, RECORDS)
    for size in range(len(whole)):
        with pytest.raises(DamagedLine):
            unpack(whole[:size], 1)


@pytest.mark.parametrize(
    ("incarnation", "number", "step"),
    [
        (4, 8, batch.NEW),
        (4, 7, batch.OLD),
        (4, 1, batch.OLD),
        (4, 9, batch.PASSED),  # The one before it is missing.
        (5, 1, batch.NEW),  # The node has begun anew.
        (9, 1, batch.NEW),
        (5, 2, batch.PASSED),
        (5, 7, batch.PASSED),
        (5, 8, batch.PASSED),
        (3, 1, batch.FOLLOWED),
        (3, 8, batch.FOLLOWED),
    ],
)
def test_a_batch_is_new_or_old_or_passed_over_or_of_a_process_that_another_has_followed(
    incarnation: int, number: int, step: int
) -> None:
    table = Batches().begun(1, 1, "a", 4, 7, 1).begun(2, 2, "b", 1, 1, 1)
    assert table.step(3, of("a", incarnation, number)) == step
    assert [table.step(sequence, of("a", incarnation, number)) for sequence in (1, 2)] == [batch.OLD, batch.REST]


def test_the_first_batch_of_a_node_has_the_number_one() -> None:
    assert [Batches().step(1, of("new", 1, number)) for number in (1, 2)] == [batch.NEW, batch.PASSED]


def test_a_table_counts_what_is_left_of_the_newest_batch() -> None:
    table = Batches().begun(first=11, sequence=3, node="a", incarnation=1, number=1, count=4)
    assert [table.left(applied) for applied in (10, 11, 13, 14, 20)] == [4, 3, 1, 0, 0]
    assert [table.done(applied) for applied in (10, 11, 13, 14, 20)] == [0, 1, 3, 4, 4]
    assert table.begun(15, 4, "a", 1, 2, 0).left(14) == 0


def test_a_table_is_not_changed_by_the_one_after_it() -> None:
    before = Batches().begun(1, 1, "a", 1, 1, 1)
    before.begun(2, 2, "a", 1, 2, 1)
    assert before.writers == {"a": (1, 1)}
    assert Batches().writers == {}


def test_a_withdrawal_is_known_by_its_action_alone() -> None:
    data = batch.withdrawal("a", 7, 12)
    assert batch.unpack(data, 1)[:5] == (batch.WITHDRAWAL, "a", 7, 12, 0)
    assert batch.withdraws(data, 7, 12)
    assert not batch.withdraws(data, 7, 13)
    assert not batch.withdraws(data, 8, 12)
    assert not batch.withdraws(batch.pack(batch.ACTIONS, "a", 7, 12, []), 7, 12)
    assert not batch.withdraws(batch.pack(batch.BARRIER, "a", 7, 12), 7, 12)
    assert not batch.withdraws(b"", 7, 12)


def test_what_is_known_to_be_withdrawn_is_bounded_and_goes_with_what_comes_after() -> None:
    found = Batches().met(4, 2, 3).begun(5, 3, "b", 1, 1, 2)
    assert (found.withdrawn, found.sequence) == ((3,), 3)
    assert found.without(3, 9).withdrawn == (3, 9)
    assert len(found.without(*range(5000)).withdrawn) == batch.WITHDRAWN_MAX
    assert Batches(*tuple(found)) == found
    assert Batches(1, 2, 3, {}).withdrawn == ()
