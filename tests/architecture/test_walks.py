"""One call, one restart and one clustered call can be read without climbing, and the walks that say so are true."""

from __future__ import annotations

import pytest
from architecture import walks


@pytest.mark.parametrize("walk", walks.WALKS)
def test_each_step_of_a_walk_is_one_that_the_imports_bear_out(walk: str) -> None:
    assert walks.unknown_steps(walk) == []


@pytest.mark.parametrize("walk", walks.WALKS)
def test_a_walk_does_not_climb_more_than_it_may(walk: str) -> None:
    assert walks.climbs(walk) <= walks.CLIMBS_MAX[walk]


def test_a_step_into_a_higher_row_is_a_climb_and_a_second_beginning_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, count in (
        ("spine.engine\n  disk.journal\n    ground.storage\n  spine.machine", 0),
        ("disk.journal\n  spine.engine", 1),
        ("replication.follower\n  network.stream\nreplication.follower\n  network.stream\n    spine.machine", 2),
    ):
        monkeypatch.setitem(walks.WALKS, "made up", text)
        assert walks.climbs("made up") == count, text
    assert walks.unknown_steps("made up") == [walks.Step("coopy.network.stream", "coopy.spine.machine")]
