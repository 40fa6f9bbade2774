"""PySyncObj's admin tool and its `TcpUtility`, which ask a node that runs.

    python -m coopy.compat.pysyncobj_admin -conn a:4321 -pass PASSWORD -status

What they do `coopy cluster` does as well, without the password on the command line.
"""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

import coopy
from coopy.compat.pysyncobj_conf import _RAFT_STATE
from coopy.compat.pysyncobj_opening import PASSWORD_VARIABLE
from coopy.network.address import Address, parse
from coopy.tools.cluster import Door, Visit, this_users, visiting

TIMEOUT_S = 900.0
"""PySyncObj's default. No command takes that long here; the nodes say sooner that they can't."""
_log = logging.getLogger("coopy.compat.pysyncobj")


class UtilityException(Exception):
    """A node could not be asked."""


class TcpUtility:
    """Asks nodes. ``password`` is theirs; None: that of `COOPY_PASSWORD`, or of this user on this machine.

    TcpUtility("secret").executeCommand("a:4321", ["add", "d:4321"])  # 'SUCCESS ADD d:4321'
    """

    def __init__(self, password: str | None = None, timeout: float = TIMEOUT_S) -> None:
        self._password = password

    def executeCommand(self, node: Any, command: Sequence[Any]) -> Any:
        """Has a node carry out ``['status']``, ``['add', address]``, ``['remove', address]``, ``['set_version', n]`` or ``['transfer', address]``.

        Returns a dict for the status, and for the others 'SUCCESS' or 'FAIL' and the command; the log says why it has failed.
        Raises `UtilityException`: 'invalid address to connect', 'invalid command', "can't connected".
        """
        verb, arguments = command[0], list(command[1:])
        try:
            at = parse(str(node))
        except coopy.UsageError as error:
            raise UtilityException("invalid address to connect") from error
        if verb not in _VERBS:
            raise UtilityException("invalid command")
        try:
            password = self._password or os.environ.get(PASSWORD_VARIABLE) or this_users(at)
            if password is None:
                raise coopy.AuthenticationFailed(f"{at}: the nodes have a password")
            with visiting(Door(at, password)) as visit:
                if verb == "status":
                    return _status(visit, at)
                return " ".join(map(str, [_tried(visit, at, verb, arguments), verb.upper(), *arguments]))
        except (coopy.ClusterError, coopy.UsageError) as error:
            _log.warning("%s: %s", at, error)
            raise UtilityException("can't connected") from error


def _tried(visit: Visit, at: Address, verb: str, arguments: list[Any]) -> str:
    try:
        if verb == "remove" and str(parse(str(arguments[0]))) == str(at):
            raise coopy.UsageError(f"{at}: a node does not take itself out: ask another one")
        _VERBS[verb](visit, *arguments)
    except (coopy.ClusterError, coopy.UsageError) as error:
        _log.warning("%s: %s was refused: %s", at, verb, error)
        return "FAIL"
    return "SUCCESS"


def _add(visit: Visit, node: Any) -> None:
    name = str(parse(str(node)))
    if name in visit.membership.nodes():
        raise coopy.UsageError(f"{name} is a member already")
    visit.add(name)


_VERBS: dict[str, Any] = {
    "status": None,
    "add": _add,
    "remove": lambda visit, node: visit.remove(str(parse(str(node)))),
    "set_version": lambda visit, version: visit.set_version(version),
    "transfer": lambda visit, node="": visit.lead(str(parse(str(node))) if node else None),
}


def _status(visit: Visit, at: Address) -> dict[str, Any]:
    """Returns what a node's `SyncObj.getStatus` says, as far as it can be seen from outside."""
    found = visit.look()
    said = {key: value for key, value in found.as_plain(str(at)).items() if not key.startswith(("position_", "state_"))}
    own = next((each for each in found.nodes if each.name == str(at)), None)
    leads = own is not None and own.leads
    others = [each for each in found.nodes if each.member and each.name != str(at) and each.position is not None]
    known = {each.name: each.position or 0 for each in others} if leads else {}
    said.pop("log_bytes")
    return {
        **said,
        "version": coopy.__version__,
        "revision": "deprecated",
        "state": _RAFT_STATE.LEADER if leads else _RAFT_STATE.FOLLOWER,
        "last_applied": 0 if own is None else own.position,
        "leader_commit_idx": said["commit_idx"],
        "raft_term": None,
        "next_node_idx_count": len(known),
        **{f"next_node_idx_server_{name}": position + 1 for name, position in known.items()},
        "match_idx_count": len(known),
        **{f"match_idx_server_{name}": position for name, position in known.items()},
    }


def executeAdminCommand(args: Sequence[str]) -> str:
    """Carries out a command line of syncobj_admin, and returns what it prints: ``key: value`` lines, a result, or an error."""
    parser = ArgumentParser(prog="syncobj_admin")
    parser.add_argument("-conn", dest="connection", help="address to connect to")
    parser.add_argument("-pass", dest="password", help="the nodes' password")
    parser.add_argument("-status", action="store_true", help="print how the node is")
    parser.add_argument("-add", help="let a node join")
    parser.add_argument("-remove", help="take a node out")
    parser.add_argument("-set_version", dest="version", type=int, help="enable a code version")
    parser.add_argument("-transfer", nargs="?", const="", help="have another node lead")
    given = parser.parse_args(args)
    for name, value in (
        ("to connect", given.connection or ""),
        ("to command add", given.add),
        ("to command remove", given.remove),
    ):
        if value is not None and not _is_address(value):
            return f"invalid address {name}"
    command: list[Any] = []
    if given.status:
        command = ["status"]
    elif given.add:
        command = ["add", given.add]
    elif given.remove:
        command = ["remove", given.remove]
    elif given.version is not None:
        command = ["set_version", given.version]
    elif given.transfer is not None:
        command = ["transfer", given.transfer]
    else:
        return "invalid command"
    try:
        found = TcpUtility(given.password).executeCommand(given.connection, command)
    except UtilityException as error:
        return str(error)
    return "\n".join(f"{key}: {value}" for key, value in sorted(found.items())) if isinstance(found, dict) else str(found)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 1 << 16


def main() -> None:
    """The program."""
    print(executeAdminCommand(sys.argv[1:]))


if __name__ == "__main__":
    main()
