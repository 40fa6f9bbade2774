"""One fault on a real cluster; `make simulate` runs all of them, many times.

COOPY_SIMULATION_SEED is the seed of callers and victims.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from simulation import campaign
from simulation.checker import Operation
from simulation.cluster import Cluster, running
from simulation.faults import FAULTS, Fault
from simulation.network import why_not

pytest.importorskip("nats", reason="clusters need coopy[cluster]")
pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.timeout(300),
]

SEED = os.environ.get("COOPY_SIMULATION_SEED", f"{random.SystemRandom().randrange(1 << 32):x}")
CHOSEN = [FAULTS["leader-killed"]]
"""That after which another leader has to be found; the cluster in one process has the others many times."""
# Shorter than in a campaign, but long enough that another leader can be found meanwhile.
HOLDS_S = {"leader-killed": 6.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, list[Operation]]]:
    """A cluster for all the faults, and the deposits made in it so far."""
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster, []


@pytest.mark.parametrize("fault", CHOSEN, ids=lambda fault: fault.name)
def test_nothing_acknowledged_is_lost_doubled_or_out_of_order(
    fault: Fault, place: tuple[Cluster, list[Operation]], capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, asked = place
    shorter = fault._replace(hold_s=HOLDS_S.get(fault.name, fault.hold_s))
    result = campaign.run(cluster, shorter, f"{SEED}-{fault.name}", asked, warm_up_s=0.5)
    with capsys.disabled():
        print(
            f"\nsimulation: {fault.name}, COOPY_SIMULATION_SEED={SEED}: {len(result.history)} operations, "
            f"{result.unknown} unknown, {result.silence_s:.1f} s without service"
        )
    assert result.violations == []
    assert result.digests_equal
    assert result.acknowledged > 0
