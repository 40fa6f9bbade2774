"""The campaign itself, on a stand-in for a cluster: it passes over what is right and finds what is wrong."""

from __future__ import annotations

import itertools
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from program import environment
from simulation import campaign, failover
from simulation.campaign import Run
from simulation.checker import Operation, linearizable
from simulation.cluster import NotReady, running
from simulation.faults import FAULTS
from simulation.load import keep, kept, longest_silence_s
from simulation.network import why_not

needs_network = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
STANDIN = {"backend": "simulation.standin", "timeout_s": 1.0}


def a_seed(victim: int) -> str:
    """A seed by which a fault that takes any node takes this one."""
    return next(seed for seed in map(str, itertools.count()) if random.Random(seed).choice(range(3)) == victim)


@needs_network
def test_a_fault_that_loses_nothing_is_passed_over(tmp_path: Path) -> None:
    with running(tmp_path, **STANDIN) as cluster:
        quick = FAULTS["follower-killed"]._replace(hold_s=0.5)
        result = campaign.run(cluster, quick, "1", [], warm_up_s=0.5)
    assert result.violations == []
    assert result.digests_equal
    assert len(result.victims) == 1 and result.victims != [0]
    assert {each.op for each in result.history} == {"add", "get", "read", "write", "compare_and_set"}
    assert {each.process for each in result.history} == set(range(9))


@needs_network
def test_a_loss_is_found_and_its_history_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "WARM_UP_S", 0.5)
    monkeypatch.setattr(campaign, "SETTLING_S", 0.2)
    quick = FAULTS["store-wiped"]._replace(hold_s=0.2)
    seed = next(seed for seed in map(str, itertools.count()) if random.Random(f"{seed}-store-wiped-0").choice(range(3)) == 0)
    (result,) = campaign.runs(quick, 1, seed, tmp_path, **STANDIN)
    assert result.victims == [0]
    assert any("acknowledged deposit is missing" in violation for violation in result.violations)
    assert any("is not linearizable" in violation for violation in result.violations)
    assert result.path is not None
    assert kept(result.path) == result.history
    assert linearizable(kept(result.path)) != []


@needs_network
def test_a_node_that_does_not_come_back_is_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "AGREEMENT_S", 0.5)
    monkeypatch.setattr(campaign, "ANSWER_S", 0.5)
    with running(tmp_path, **STANDIN) as cluster:
        cluster.nodes[2].freeze()
        never = FAULTS["clock-set-back"]._replace(hold_s=0.1)
        result = campaign.run(cluster, never, a_seed(1), [], warm_up_s=0.2, recovery_s=1.0)
        cluster.nodes[2].thaw()
    assert any("node 2 has served no write 1 s after" in violation for violation in result.violations)


@needs_network
def test_a_node_ends_in_order_when_told_and_says_so_when_it_can_not_start(tmp_path: Path) -> None:
    with running(tmp_path, **STANDIN) as cluster:
        node = cluster.nodes[0]
        life = node.process
        node.stop()
        assert life is not None and life.process.returncode == 0
        (node.directory / "coopy.json").write_text("not this")
        node.start()
        with pytest.raises(NotReady, match="node 0 ended; its last words:(.|\n)*coopy.json"):
            node.wait_ready()


@needs_network
def test_every_node_ends_with_its_driver_even_one_that_is_stopped(tmp_path: Path) -> None:
    source = f"""
        import sys
        from pathlib import Path
        from simulation.cluster import Cluster
        cluster = Cluster(Path({str(tmp_path)!r}), backend="simulation.standin")
        cluster.start()
        cluster.nodes[1].freeze()
        print(*(pid for node in cluster.nodes for pid in cluster.network.pids(node.number)), flush=True)
        sys.stdin.read()
    """
    here = environment(PYTHONPATH=os.pathsep.join((str(Path(__file__).parents[1]), environment()["PYTHONPATH"])))
    driver = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)], env=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert driver.stdout is not None
    ends = [os.pidfd_open(int(pid)) for pid in driver.stdout.readline().split()]
    assert len(ends) == 3
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    for end in ends:
        assert select.select([end], [], [], 30)[0]
        os.close(end)


def write(process: int, at_s: float, known: bool = True, op: str = "write") -> Operation:
    at_ns = int(at_s * 1e9)
    return Operation(process, op, ("k", 1), at_ns - 1000, at_ns if known else None)


@pytest.mark.parametrize(
    ("history", "victims", "silence_s"),
    [
        ([write(0, 1), write(1, 2), write(0, 5)], [], 3.0),
        ([write(0, 1), write(1, 4), write(0, 5)], [1], 4.0),
        ([write(0, 1), write(3, 2), write(0, 5)], [1], 3.0),
        ([write(0, 1), write(0, 2), write(0, 4, known=False), write(0, 5)], [], 3.0),
        ([write(0, 1), write(0, 2), write(0, 4, op="read"), write(0, 5)], [], 3.0),
        ([write(0, 1), write(0, 2), write(0, 9, op="read")], [], 7.0),
        ([write(0, 1), write(1, 4), write(2, 5)], [0, 1, 2], 3.0),
    ],
    ids=["all", "not on the victim", "another caller of the node", "not the unknown", "not reads", "to the end", "all struck"],
)
def test_the_time_without_service_is_that_of_writes_on_nodes_that_were_spared(
    history: list[Operation], victims: list[int], silence_s: float
) -> None:
    assert longest_silence_s(history, 3, victims) == pytest.approx(silence_s, abs=1e-5)


def test_the_row_of_a_fault_adds_its_runs_up() -> None:
    first = Run("x", "1", [0], [write(0, 1), write(0, 2, known=False)], [], True, 1.0)
    second = Run("x", "2", [0], [write(0, 1)], ["lost"], False, 5.0)
    third = Run("x", "3", [0], [], [], True, 1.5)
    cells = campaign.row([first, second, third])
    assert cells == ("x", "3", "3", "2", "1", "1", "1.5", "5.0", "2/3")
    lines = campaign.table([cells]).splitlines()
    assert len(lines) == 2 and len(lines[0]) == len(lines[1])


@pytest.mark.parametrize(("violations", "status"), [([], 0), (["lost"], 1)])
def test_the_exit_status_says_whether_anything_was_violated(
    violations: list[str], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "campaign"
    home.mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(home))
    monkeypatch.setattr(campaign, "why_not", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(campaign, "runs", lambda *_, **__: [Run("x", "1", violations=violations)])
    assert campaign.main(["--fault", "leader-killed", "--seed", "5"]) == status
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["x", "1"]
    # What was violated is there to be looked at; otherwise nothing stays behind.
    assert home.exists() == bool(violations)


def test_where_there_can_be_no_network_the_campaign_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "why_not", lambda: "network namespaces need root")
    assert campaign.main([]) == 2
    assert "network namespaces need root" in capsys.readouterr().err


def test_a_kept_history_reads_as_it_was(tmp_path: Path) -> None:
    history = [Operation(1, "compare_and_set", ("k", None, 3), 5, 6, True), Operation(2, "read", ("k",), 7, None)]
    keep(tmp_path / "history.jsonl", history, fault="x")
    assert kept(tmp_path / "history.jsonl") == history


def test_the_row_of_what_is_lost_says_median_95_percent_and_worst() -> None:
    pauses = [Run("leader-killed", str(number), silence_s=number / 10) for number in range(1, 21)]
    row = failover.Result(failover.KINDS["killed"], pauses, kicks=21, load=[3.4, 12.0]).row()
    assert row == ("killed", "20", "0", "0", "1.05", "1.90", "2.00", "21", "3 to 12")
    assert len(row) == len(failover.HEADS)
