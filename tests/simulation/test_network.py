"""The network of namespaces: what is cut is silent, what is lost is lost, and nothing stays behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import environment
from simulation.network import Network, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

ECHO = """
import socket
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind(("", 7))
print("there", flush=True)
while True:
    data, who = door.recvfrom(100)
    door.sendto(data, who)
"""
ASK = """
import socket, sys
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.settimeout(0.2)
answers = 0
for number in range(int(sys.argv[2])):
    door.sendto(b"%d" % number, (sys.argv[1], 7))
    try:
        while door.recv(100) != b"%d" % number:
            pass
        answers += 1
    except OSError:
        pass
print(answers)
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network(3) as network:
        echo = subprocess.Popen(network.inside(0, [sys.executable, "-c", ECHO]), stdout=subprocess.PIPE)
        assert echo.stdout is not None and echo.stdout.readline() == b"there\n"
        yield network
    echo.wait()
    echo.stdout.close()
    assert not any(name.startswith(network.names[0][:-1]) for name in os.listdir("/run/netns"))


def answers(network: Network, number: int, questions: int = 1) -> int:
    """How many questions of a node to node 0 are answered."""
    command = [sys.executable, "-c", ASK, network.addresses[0], str(questions)]
    return int(subprocess.check_output(network.inside(number, command), timeout=60))


@pytest.mark.parametrize("fault", ["cut", "unplug"])
def test_a_node_that_is_cut_off_hears_nobody_and_the_others_go_on(network: Network, fault: str) -> None:
    assert answers(network, 1) == 1
    getattr(network, fault)(1)
    assert answers(network, 1) == 0
    assert answers(network, 2) == 1
    getattr(network, {"cut": "mend", "unplug": "plug"}[fault])(1)
    assert answers(network, 1, 5) > 0


def test_a_cut_node_is_cut_in_both_directions(network: Network) -> None:
    network.cut(0)
    assert answers(network, 2) == 0
    network.mend(0)
    assert answers(network, 2, 5) > 0


def test_packets_are_lost_by_chance_and_then_no_more(network: Network) -> None:
    network.lose(0.3)
    # Question and answer are lost each: about half remain.
    assert 5 < answers(network, 1, 40) < 38
    network.lose_nothing()
    assert answers(network, 1, 40) == 40


def test_the_host_and_other_networks_are_not_reached(network: Network) -> None:
    with Network(2) as other:
        # The same addresses; nobody answers there.
        assert answers(other, 1) == 0
        routes = subprocess.check_output(other.inside(1, ["ip", "route"]), text=True).split("\n")
        assert [line.split()[0] for line in routes if line] == ["10.77.0.0/24"]


def test_a_network_whose_maker_is_killed_is_removed_with_all_that_runs_in_it(tmp_path: Path) -> None:
    source = """
        import subprocess, sys
        from simulation.network import Network
        network = Network(2)
        sleeper = subprocess.Popen(network.inside(1, ["sleep", "1000"]))
        print(sleeper.pid, network._warden.pid, *network.names, flush=True)
        sys.stdin.read()
    """
    script = tmp_path / "maker.py"
    script.write_text("\n".join(line[8:] for line in source.splitlines()))
    here = environment(PYTHONPATH=os.pathsep.join((str(Path(__file__).parents[1]), environment()["PYTHONPATH"])))
    maker = subprocess.Popen([sys.executable, str(script)], env=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert maker.stdout is not None and maker.stdin is not None
    sleeper, warden, *names = maker.stdout.readline().split()
    ends = [os.pidfd_open(int(pid)) for pid in (sleeper, warden)]
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    for end in ends:
        assert select.select([end], [], [], 30)[0], "both end soon"
        os.close(end)
    assert not set(os.listdir("/run/netns")) & {name.decode() for name in names}
