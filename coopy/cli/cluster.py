"""The commands about the nodes of a replicated system: they talk to one that runs.

A password is never an argument: whoever lists the processes of a machine sees those.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

from coopy import UsageError
from coopy.cli.command import Argument, Exit, Group, Option

if TYPE_CHECKING:
    from coopy.tools.cluster import Cluster, Door

PASSWORD = "COOPY_PASSWORD"
HERE = "127.0.0.1:5466"

At = Annotated[str, Option("--at", metavar="HOST:PORT", help=f"A node that runs; by default {HERE}.")]
Node = Annotated[str, Argument("NODE", help="HOST:PORT, as it is called in cluster=.")]
Json = Annotated[bool, Option("--json", help="Print JSON.")]
System = Annotated[str | None, Option("--system", metavar="NAME", help="Which system, if the servers have several.")]
File = Annotated[str | None, Option("--password-file", metavar="FILE", help="The nodes' password is in its first line.")]
Tls = Annotated[str | None, Option("--tls", metavar="DIR", help="The folder of authority.pem, of a cluster that speaks TLS.")]
Directory = Annotated[
    str | None,
    Option("--directory", "-d", metavar="DIR", help="Of a node of this machine: says where it is; a master's password too."),
]


def top() -> None:
    """Show and change the nodes of a replicated system.

    They ask one that runs, and take the nodes' password from COOPY_PASSWORD, from --password-file, or ask for it. Of nodes on this
    machine that were opened without one, by the same user, they know it.
    """


def status(
    at: Annotated[str, Argument("AT", help=f"HOST:PORT of any node; by default {HERE}.")] = "",
    directory: Directory = None,
    password_file: File = None,
    tls: Tls = None,
    system: System = None,
    as_json: Json = False,
    plain: Annotated[bool, Option("--plain", help="Print lines of `key: value`, sorted.")] = False,
) -> None:
    """Show how each node is, who leads, and what the servers keep.

    What is not well is said at the end, and makes the exit code 1.

    \b
    Examples:
      coopy cluster status a:5466
      coopy cluster status --directory data
    """
    from coopy.cli import text
    from coopy.tools.cluster import visiting

    if as_json and plain:
        raise UsageError("--json and --plain: print one or the other")
    door = _door(at, directory, password_file, tls)
    with visiting(door, system) as visit:
        found = visit.look()
    if as_json:
        text.print_json(found.as_dict())
    elif plain:
        for key, value in sorted(found.as_plain(str(door.at)).items()):
            print(f"{key}: {value}")
    else:
        _print(found)
    if found.problems:
        raise Exit(1)


def add(
    node: Node,
    at: At = "",
    password_file: File = None,
    tls: Tls = None,
    directory: Directory = None,
    system: System = None,
    as_json: Json = False,
) -> None:
    """Let a node join. Start it afterwards.

    Refused while a node is away or behind.

    \b
    Example:
      coopy cluster add d:5466 --at a:5466
    """
    from coopy.tools.cluster import visiting

    name = _name(node)
    with visiting(_door(at, directory, password_file, tls), system) as visit:
        members = visit.add(name)
    _tell_members(members, as_json)
    if not as_json:
        print(f"Now start {name}: init_system(..., cluster={members!r}, node={name!r}). It takes what the others have.")


def remove(
    node: Node,
    at: At = "",
    password_file: File = None,
    tls: Tls = None,
    directory: Directory = None,
    system: System = None,
    as_json: Json = False,
) -> None:
    """Take a node out, whether it runs or not.

    It stops, and does not come back by itself; its directory stays whole. Refused while another node is away or behind.

    \b
    Example:
      coopy cluster remove b:5466 --at a:5466
    """
    from coopy.tools.cluster import visiting

    name = _name(node)
    with visiting(_door(at, directory, password_file, tls), system, elsewhere=name) as visit:
        members = visit.remove(name)
    _tell_members(members, as_json)
    if not as_json:
        print(
            f"{name} has stopped, if it ran: close its process, and leave it out of cluster= of the others. Its directory is whole."
        )


def transfer(
    node: Node,
    at: At = "",
    password_file: File = None,
    tls: Tls = None,
    directory: Directory = None,
    system: System = None,
    as_json: Json = False,
) -> None:
    """Have a node lead. Calls wait for less than a second.

    \b
    Example:
      coopy cluster transfer c:5466 --at a:5466
    """
    _lead(_name(node), _door(at, directory, password_file, tls), system, as_json)


def step_down(
    at: At = "",
    password_file: File = None,
    tls: Tls = None,
    directory: Directory = None,
    system: System = None,
    as_json: Json = False,
) -> None:
    """Have another node lead than does now.

    For instance before the machine of the one that leads is started again. Calls wait for less than a second.

    \b
    Example:
      coopy cluster step-down --at a:5466
    """
    _lead(None, _door(at, directory, password_file, tls), system, as_json)


def set_version(
    where: Annotated[str, Argument("DIR|HOST:PORT", help="The directory of a node of this machine, or a node.")],
    version: Annotated[int, Argument("N", help="The code version.")],
    password_file: File = None,
    tls: Tls = None,
    system: System = None,
    as_json: Json = False,
) -> None:
    """Have all nodes run the methods of a code version from now on.

    Refused while a node does not have that version. There is no way back to an earlier one.

    \b
    Example:
      coopy cluster set-version a:5466 1
    """
    from coopy.tools.cluster import visiting

    at, directory = ("", where) if os.path.isdir(where) else (where, None)
    with visiting(_door(at, directory, password_file, tls), system) as visit:
        visit.set_version(version)
    print(json.dumps({"code_version": version}) if as_json else f"Code version {version} is enabled.")


def init(
    out: Annotated[str, Argument("OUT", help="The folder for the certificates; one made before goes on.")],
    nodes: Annotated[str, Option("--nodes", metavar="NODES", help="Addresses of the nodes: a:5466,b:5466,c:5466.")],
    as_json: Json = False,
) -> None:
    """Make certificates for tls=True.

    An authority, valid for ten years, and for each node a folder, valid for two. In a folder that has an authority
    already, it signs the new ones: for a node that joins, or in place of what will expire.

    \b
    Examples:
      coopy cluster init --nodes a:5466,b:5466,c:5466 certificates
      coopy cluster init --nodes d:5466 certificates
    """
    from coopy.cli import text
    from coopy.network.address import parse
    from coopy.network.server.certificates import AUTHORITY_KEY, make

    made = make(out, [parse(each.strip()) for each in nodes.split(",") if each.strip()])
    if as_json:
        text.print_json(made._asdict())
        return
    key = os.path.join(out, AUTHORITY_KEY)
    print(
        f"{made.authority}: {'a new authority' if made.new else 'the authority that was there'}, valid until {made.authority_until:%Y-%m-%d}"
    )
    for node, folder in made.folders.items():
        print(f"{folder}: for {node}, valid until {made.until:%Y-%m-%d}")
    print(
        f"\nCopy what is in each node's folder to the folder tls/ of its data directory, and open all nodes with tls=True. A "
        f"replica needs {made.authority} there, and nothing else.\nKeep {key} where no node runs: whoever has it "
        f"can make nodes. It makes the next certificates, which are needed before these expire."
    )


cluster = Group(
    "cluster",
    top,
    {
        "Commands": {
            "status": status,
            "add": add,
            "remove": remove,
            "transfer": transfer,
            "step-down": step_down,
            "set-version": set_version,
            "init": init,
        }
    },
)


# -- what they share


def said(password_file: str | None) -> str | None:
    """Returns the nodes' password, from a file if one is named, else from the environment; None if neither says it."""
    if password_file is None:
        return os.environ.get(PASSWORD) or None
    try:
        with open(password_file) as file:
            return file.readline().rstrip("\r\n") or None
    except ValueError:
        raise UsageError(f"--password-file {password_file!r}: its first line is no text. Nothing was done.") from None


def _door(at: str, directory: str | None, password_file: str | None, tls: str | None) -> Door:
    """Where to ask, and with what. Asks for the password last of all."""
    from coopy.network.address import parse
    from coopy.network.server.configuration import tls_of
    from coopy.tools.cluster import Door, beside, this_users

    where, password, certificates = parse(at or HERE), None, None
    if directory is not None:
        found, password, certificates = beside(directory)
        where = where if at else found
    if tls is not None:
        certificates = tls_of(tls, serves=False)
    if password_file is not None:
        password = said(password_file)
    password = password or said(None) or (this_users(where) if certificates is None else None)
    return Door(where, password or _asked_for(str(where)), certificates)


def _asked_for(where: str) -> str:
    if sys.stdin.isatty():
        import getpass

        # getpass asks at the terminal itself: what is printed may go to a file.
        found = getpass.getpass(f"Password of the nodes at {where}: ")
        if found:
            return found
    raise UsageError(
        f"the password of the nodes is needed. Nothing was done. Put it into {PASSWORD}, or into a file for --password-file; for "
        f"a master on this machine, name its directory with --directory."
    )


def _name(node: str) -> str:
    from coopy.network.address import parse

    return str(parse(node))


def _lead(node: str | None, door: Door, system: str | None, as_json: bool) -> None:
    from coopy.tools.cluster import visiting

    with visiting(door, system) as visit:
        leader = visit.lead(node)
    print(json.dumps({"leader": leader}) if as_json else f"{leader} leads.")


def _tell_members(members: list[str], as_json: bool) -> None:
    print(json.dumps({"members": members}) if as_json else f"The members are {', '.join(members)}.")


def _print(found: Cluster) -> None:
    from coopy.cli import text

    paint = text.Painter()
    count = "nobody knows how many nodes" if found.members is None else text.count(len(found.members), "node")
    leads = "nobody leads" if found.leader is None else f"{found.leader} leads"
    print(paint("strong", f"{found.system}: {count}, {leads}"))
    rows: list[tuple[str, ...]] = [("  node", "state", "position", "index", "server")]
    for each in found.nodes:
        mark = "*" if each.leads else " "
        kind = "" if each.member else " (replica)" if each.replica else " (no member)"
        numbers = ("-" if number is None else f"{number:,}" for number in (each.position, each.index))
        lag = f", {each.lag:,} behind" if each.lag else ""
        rows.append((f"{mark} {each.name}{kind}", each.state, *numbers, f"{each.server}{lag}"))
    rows_of_streams: list[tuple[str, ...]] = [("  stream", "leader", "servers", "messages", "size")]
    for stream in found.streams:
        leader = stream.leader or "-"
        rows_of_streams.append(
            (f"  {stream.name}", leader, str(stream.replicas), f"{stream.messages:,}", text.size(stream.bytes))
        )
    for line in (*text.table(rows, frozenset({2, 3})), "", *text.table(rows_of_streams, frozenset({2, 3, 4}))):
        print(line)
    if found.problems:
        print()
    for problem in found.problems:
        print(paint("bad", problem))
