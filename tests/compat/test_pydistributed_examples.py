"""PyDistributed's examples, as programs that know its names alone.

`programs/keyvalue.py` is that of its README, which says of a queue and of the replay of events that there are: `queue_of_messages.py` and
`replay_of_events.py` do what it says. Its ping-pong is run by tests/messaging/test_bus_original.py, as there is room for one at the documented ports.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from program import run

import coopy.compat.pydistributed as pydistributed

PROGRAMS = Path(__file__).parent / "programs"


def said_by(name: str, folder: Path, *arguments: object) -> list[str]:
    """Runs a program in a folder of its own, and returns its lines."""
    return run(Path(shutil.copy(PROGRAMS / f"{name}.py", folder)), *arguments).splitlines()


def test_four_processes_set_and_get_their_keys(tmp_path: Path) -> None:
    clients = {line.split()[1] for line in said_by("keyvalue", tmp_path, 100) if line.startswith("finishing ")}
    assert len(clients) == 4 and all(re.fullmatch("[0-9a-f]{32}", each) for each in clients)
    with pydistributed.KeyValueStore(db_file_path=tmp_path / "tmp" / "keyvalue.db") as store:
        assert store.system.to_dict() == dict.fromkeys(sorted(clients), 99)


def test_two_processes_answer_the_messages_of_a_queue(tmp_path: Path) -> None:
    assert said_by("queue_of_messages", tmp_path, 12)[-1] in ("answered by 1", "answered by 2")


def test_events_are_replayed_by_the_next_run(tmp_path: Path) -> None:
    for run_of in ("write", "replay", "replay"):
        assert said_by("replay_of_events", tmp_path, run_of) == ["replayed 100 b'event 0' b'event 99' b'event 50'"]
