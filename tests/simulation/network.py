"""A network of its own for a few nodes, in which links fail on request.

Each node lives in a Linux network namespace; a bridge in one more namespace joins them. Nothing of
the host's network is used or changed, and names carry a random tag, so that two networks do not
meet. All namespaces go at the end; when the process that made them is killed, a warden that waits
for the end of its pipe removes them (and, before, whatever still runs in them).

A cut is silent: the bridge's port drops what comes from a node and what goes to it, so that its
connections hang, as they do when a cable is pulled two switches away. `unplug` takes the link down,
which a node's own kernel notices. Packet loss is netem's, or, where the kernel lacks it, that of a
filter of four instructions which throws dice for each packet that leaves a node.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType

SUBNET = "10.77.0"
_WARDEN = """
import os, subprocess, sys
while os.read(0, 4096):
    pass
for name in sys.argv[1:]:
    while pids := subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
        for pid in pids:
            try:
                os.kill(int(pid), 9)
            except ProcessLookupError:
                pass
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
"""


class NetworkError(Exception):
    """A command that shapes the network failed; the text has the command and what it said."""


@functools.lru_cache(maxsize=1)
def why_not() -> str | None:
    """Why there can't be such a network here, or None if there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    missing = [command for command in ("ip", "tc", "bridge") if shutil.which(command) is None]
    if missing:
        return f"{', '.join(missing)} not found (iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Network(1):
            return None
    except NetworkError as error:
        return f"no network namespaces here: {error}"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Network:
    """Nodes 0 to count-1, each with an address of its own, all able to reach each other."""

    def __init__(self, count: int) -> None:
        tag = secrets.token_hex(3)
        self._hub = f"coopy-{tag}-hub"
        self.names = [f"coopy-{tag}-{number}" for number in range(count)]
        self.addresses = [f"{SUBNET}.{number + 1}" for number in range(count)]
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WARDEN, *self.names, self._hub],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        _run("ip", "netns", "add", self._hub)
        _run("ip", "-n", self._hub, "link", "add", "middle", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        _run("ip", "-n", self._hub, "link", "set", "middle", "up")
        for number, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
            port = f"port{number}"
            _run("ip", "netns", "add", name)
            _run("ip", "-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "-n", self._hub, "link", "set", port, "master", "middle", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")

    def inside(self, number: int, command: Sequence[str]) -> list[str]:
        """The command that runs a command as this node; the process keeps its pid."""
        return ["ip", "netns", "exec", self.names[number], *command]

    def pids(self, number: int) -> list[int]:
        """The processes that live on this node, whoever started them."""
        return [int(pid) for pid in _run("ip", "netns", "pids", self.names[number]).split()]

    def cut(self, number: int) -> None:
        """From now on nothing reaches the node and nothing leaves it; nobody is told."""
        _run("bridge", "-n", self._hub, "link", "set", "dev", f"port{number}", "state", "0")

    def mend(self, number: int) -> None:
        """Ends a cut."""
        _run("bridge", "-n", self._hub, "link", "set", "dev", f"port{number}", "state", "3")

    def unplug(self, number: int) -> None:
        """Takes the node's link down; its own kernel sees that."""
        _run("ip", "-n", self._hub, "link", "set", f"port{number}", "down")

    def plug(self, number: int) -> None:
        """Takes the node's link up again."""
        _run("ip", "-n", self._hub, "link", "set", f"port{number}", "up")

    def lose(self, share: float) -> str:
        """Loses this share (0 to 1) of the packets that leave a node; returns what does it."""
        self.lose_nothing()
        for name in self.names:
            try:
                _run("tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "netem", "loss", f"{share * 100}%")
                by = "netem"
            except NetworkError:
                # A number at random; at or above the threshold: as if this filter were not there (-1); else drop (2).
                threshold = int(share * 0xFFFFFFFF)
                code = f"4,32 0 0 4294963256,53 0 1 {threshold},6 0 0 4294967295,6 0 0 2"
                _run("tc", "-n", name, "qdisc", "add", "dev", "eth0", "clsact")
                _run("tc", "-n", name, "filter", "add", "dev", "eth0", "egress", "bpf", "da", "bytecode", code)
                by = "bpf"
        return by

    def lose_nothing(self) -> None:
        """Ends the loss of packets."""
        for name in self.names:
            for where in ("root", "clsact"):
                # Neither may be there.
                subprocess.run(["tc", "-n", name, "qdisc", "del", "dev", "eth0", where], capture_output=True, check=False)

    def close(self) -> None:
        """Ends what still runs on the nodes, and removes all of it."""
        for number, name in enumerate(self.names):
            if os.path.exists(f"/run/netns/{name}"):
                end(self, number)
        assert self._warden.stdin is not None
        self._warden.stdin.close()
        self._warden.wait()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def end(network: Network, number: int, patience_s: float = 10.0) -> None:
    """kill -9 of all that lives on a node, until nothing does.

    Raises:
        NetworkError: something still lives after patience_s.
    """
    last = time.monotonic() + patience_s
    while pids := network.pids(number):
        if time.monotonic() > last:
            raise NetworkError(f"processes {pids} on {network.names[number]} survive kill -9")
        send(pids, signal.SIGKILL)
        time.sleep(0.01)


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Sends a signal to those of the processes that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
