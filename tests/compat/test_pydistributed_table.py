"""What SEEDS says of PyDistributed, row by row: each has tests that are named after it, and each name that is exported is there twice."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import coopy.compat.pydistributed as pydistributed
import coopy.messaging

TESTS = Path(__file__).resolve().parents[1]
STORE, BUS, EVENTS = "compat/test_pydistributed_rows.py", "messaging/test_bus_original.py", "messaging/test_events_seed.py"
ROWS = {
    "Publisher": (BUS, "test_publisher_"),
    "Subscriber": (BUS, "test_subscriber_"),
    "Proxy": (BUS, "test_proxy_"),
    "Hub / HubClient": (BUS, "test_hub_"),
    "MessageBusBroker": (BUS, "test_message_bus_broker_"),
    "MessageBusClient": (BUS, "test_message_bus_client_"),
    "stream_to_file(path), stream_from_file(path)": (BUS, "test_stream_"),
    "QueueBroker": (STORE, "test_row_QueueBroker_"),
    "QueueWorker": (STORE, "test_row_QueueWorker_"),
    "QueueClient": (STORE, "test_row_QueueClient_"),
    "KeyValueStore": (STORE, "test_row_KeyValueStore_"),
    "KeyValueClient": (STORE, "test_row_KeyValueClient_"),
    "EventSource": (EVENTS, "test_row_event_source_"),
    "Event": (EVENTS, "test_row_event_has_"),
    "Exceptions": (EVENTS, "test_row_exceptions_"),
    "Files": (EVENTS, "test_row_files_"),
}
DEFECTS = {
    "a callback of one or two arguments raises TypeError": (
        BUS,
        "test_message_bus_client_calls_callbacks_of_one_two_and_three_arguments",
    ),
    "the writer of stream_to_file opens the file for reading": (
        BUS,
        "test_stream_to_file_and_stream_from_file_give_back_what_was_sent",
    ),
    "the worker answers with its id": (STORE, "test_row_QueueWorker_answers_with_what_the_callback_returns"),
    "a callback that raises leaves the client waiting": (
        STORE,
        "test_row_QueueWorker_goes_on_after_a_callback_that_raises_and_the_client_is_told",
    ),
    "publish always blocks": (STORE, "test_row_QueueClient_does_not_wait_for_ever_unless_it_is_told_to_block"),
    "the store's host and ports are not used": (STORE, "test_row_KeyValueStore_uses_its_host_and_its_ports"),
    "the README reads _client_id": (STORE, "test_row_KeyValueClient_has_a_client_id_by_both_names"),
    "four action classes are not used": (STORE, "test_row_KeyValueClient_performs_each_action"),
    "with one segment only offset 0 is read": (EVENTS, "test_defect_every_event_of_a_single_file_is_read"),
    "the newest segment is never read": (EVENTS, "test_defect_the_newest_file_is_read"),
    "get_batch on an index with one entry loops for ever": (EVENTS, "test_defect_a_batch_over_an_index_with_one_entry_ends"),
    "a missing directory raises FileNotFoundError": (EVENTS, "test_defect_a_missing_directory_is_made"),
}
EXPORTS = """Publisher Proxy Subscriber Hub HubClient MessageBusBroker MessageBusClient KeyValueStore KeyValueClient QueueBroker QueueClient
    QueueWorker EventSource stream_to_file stream_from_file Event OffsetMissingInIndex CouldNotFindOffset LogSizeExceeded"""


@cache
def named_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_test_that_is_named_after_it(row: str) -> None:
    file, start = ROWS[row]
    assert any(name.startswith(start) for name in named_in(file)), f"{file}: no test begins with {start}"


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_that_was_noted_has_a_test(defect: str) -> None:
    file, name = DEFECTS[defect]
    assert name in named_in(file), f"{file}: {name}"


@pytest.mark.parametrize("name", EXPORTS.split())
def test_every_name_is_in_compat_and_in_messaging(name: str) -> None:
    assert getattr(pydistributed, name) is getattr(coopy.messaging, name)
