"""Addresses, and the configuration of a Raft server: what is given comes out on the other side, whatever is in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import nats
import nats.errors
import nats.js.errors
import pytest
from nats.js.api import StreamConfig
from network.servers import REPLICA, free_port, running, settings, until

from coopy.errors import UsageError
from coopy.network.address import Address, parse
from coopy.network.server.configuration import PASSWORD_LENGTH_MAX, TLS, Settings, text
from coopy.network.subjects import REPLICA_INBOX, Names

# -- addresses


@pytest.mark.parametrize(
    ("given", "host", "port", "written"),
    [
        ("a", "a", 5466, "a:5466"),
        ("A.Example.com:1", "a.example.com", 1, "a.example.com:1"),
        ("10.0.0.1:65535", "10.0.0.1", 65535, "10.0.0.1:65535"),
        ("my_host-1:80", "my_host-1", 80, "my_host-1:80"),
        ("[::1]:7", "::1", 7, "[::1]:7"),
        ("[::1]", "::1", 5466, "[::1]:5466"),
        ("::1", "::1", 5466, "[::1]:5466"),
        ("[2001:DB8:0::0:1]:7", "2001:db8::1", 7, "[2001:db8::1]:7"),
    ],
)
def test_an_address_is_read_and_written_the_same_way_whatever_way_it_was_given(given, host, port, written):
    address = parse(given)
    assert address == Address(host, port) and str(address) == written
    assert parse(str(address)) == address


def test_the_port_that_is_not_given_is_the_one_that_the_caller_says():
    assert parse("a", 4222).port == parse("[::1]", 4222).port == 4222


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "no host"),
        (":5466", "no host"),
        ("a:", "is not a port"),
        ("a:0", "is not a port"),
        ("a:65536", "is not a port"),
        ("a:-1", "is not a port"),
        ("a:٣", "is not a port"),
        ("a: 1", "is not a port"),
        ("a b", "not the name"),
        (" a", "not the name"),
        ("a\n", "not the name"),
        ("-a", "not the name"),
        ("a" * 254, "not the name"),
        ("ä", "not the name"),
        ("[::1", "not the name|IPv6|At"),
        ("[a]:1", "IPv6"),
        ("::1:x", "IPv6"),
        ("[::1]x", "IPv6|not"),
        ("nats://a:1", "host and port alone"),
        ("a/b", "host and port alone"),
        (None, "must be a string"),
        (5466, "must be a string"),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_wrong(given, problem):
    with pytest.raises(UsageError, match=problem):
        parse(given)


@pytest.mark.parametrize("given", ["nats://me:secret@a:1", "me:secret@a", "nats://me:sec/ret@a", "me:sec@ret@a"])
def test_a_password_in_an_address_is_not_repeated_in_the_error(given):
    with pytest.raises(UsageError) as caught:
        parse(given)
    assert "sec" not in str(caught.value) and "ret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_only_what_nobody_outside_can_reach_is_loopback(host, is_loopback):
    assert Address(host, 1).is_loopback is is_loopback


def test_a_node_whose_route_would_have_no_port_is_refused():
    assert Address("a", 64535).route == Address("a", 65535)
    with pytest.raises(UsageError, match="up to 64535"):
        Address("a", 64536).route  # noqa: B018


# -- what is refused


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"node_password": ""}, "1 to"),
        ({"replica_password": ""}, "replica_password: must have 1 to"),
        ({"node_password": "x" * (PASSWORD_LENGTH_MAX + 1)}, "1 to"),
        ({"node_password": "$2a$04$xyz is a secret"}, "bcrypt"),
        ({"node_password": "\ud800"}, "half a character"),
        ({"node_password": "same", "replica_password": "same"}, "must be another"),
        ({"subject": "shop"}, "must be 'coopy.'"),
        ({"subject": "coopy.a.b"}, "must be 'coopy.'"),
        ({"subject": "coopy.>"}, "must be 'coopy.'"),
        ({"subject": "coopy.a\n"}, "must be 'coopy.'"),
        ({"peers": (Address("a", 1), Address("b", 1))}, "must be in the list of nodes once"),
    ],
    ids=repr,
)
def test_settings_that_make_no_server_are_refused_without_telling_a_password(tmp_path, given, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        text(settings(tmp_path, **given))
    assert not any(len(str(each)) > 10 and str(each) in str(caught.value) for key, each in given.items() if "password" in key)


def test_a_node_that_is_listed_twice_is_refused(tmp_path):
    address = Address("127.0.0.1", 5466)
    with pytest.raises(UsageError, match="once"):
        text(settings(tmp_path, 5466, peers=(address, address, Address("b", 1))))


# -- what is in it comes out

PASSWORDS = [
    "plain",
    "quotes \" and ' and `",
    "back\\slash \\n \\x41 \\",
    "$HOME",
    "${HOME} $2",
    "new\nline\r\ttab\x7f and \x00 nothing",
    "}] # // comment; include 'x'",
    "ünïcödé 密码 🔑",
    "@:/?%#[]&=+ percent%20",
    "12345",
    "true",
    "2026-11-21T00:00:00Z",
    "10MB",
    " spaces ",
    "🔑" * PASSWORD_LENGTH_MAX,
]


async def logged_in(url: str, user: str, password: str, **options: object) -> bool:
    async def quiet(_: Exception) -> None:
        pass

    try:
        client = await nats.connect(
            url, user=user, password=password, allow_reconnect=False, error_cb=quiet, connect_timeout=5, **options
        )
    except nats.errors.Error:
        return False
    await client.close()
    return True


@pytest.mark.parametrize("password", PASSWORDS, ids=lambda password: ascii(password[:12]))
def test_a_password_may_hold_any_characters(tmp_path, password):
    given = settings(tmp_path / "server", node_password=password, replica_password=password[:0:-1] + "'")
    with running(given) as supervisor:
        for user, right in (("node", password), ("system", password), ("replica", given.replica_password)):
            assert asyncio.run(logged_in(supervisor.url, user, right))
            assert not asyncio.run(logged_in(supervisor.url, user, right + "x"))


def test_without_a_password_for_replicas_there_is_no_such_user(tmp_path):
    with running(settings(tmp_path / "server", replica_password=None)) as supervisor:
        assert not asyncio.run(logged_in(supervisor.url, "replica", ""))
        assert not asyncio.run(logged_in(supervisor.url, "replica", "None"))


def test_a_directory_with_an_odd_name_is_the_one_that_is_used(tmp_path):
    directory = tmp_path / 'of "$HOME" \\ñ'
    with running(settings(directory)):
        assert (directory / "store" / "jetstream").is_dir()


@pytest.mark.parametrize(("given", "written"), [(0, None), (123_456_789, "max_file_store: 123456789")])
def test_the_bound_on_the_store_is_the_server_s_own_unless_one_is_given(tmp_path, given, written):
    found = text(settings(tmp_path, store_bytes_max=given))
    assert (written in found) if written else ("max_file_store" not in found)
    assert "sync_interval: always" in found


# -- a cluster


def certified(directory: Path, *names: str) -> list[TLS]:
    """An authority, and a certificate for 127.0.0.1 signed by it for each name."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there to make certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(
        "req",
        "-x509",
        *key,
        "-keyout",
        "authority.key",
        "-out",
        "authority.pem",
        "-subj",
        "/CN=authority",
        "-days",
        "2",
        "-addext",
        "keyUsage=critical,keyCertSign",
    )
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    for name in names:
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ["-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
    return [TLS(*(str(directory / each) for each in (f"{name}.pem", f"{name}.key", "authority.pem"))) for name in names]


def cluster(directory: Path, password: str, tls: list[TLS] | list[None]) -> list[Settings]:
    peers = tuple(Address("127.0.0.1", port) for port in distinct_ports(3))
    return [
        settings(directory / str(peer.port), peer.port, peers=peers, node_password=password, tls=each)
        for peer, each in zip(peers, tls, strict=True)
    ]


def distinct_ports(number: int) -> list[int]:
    found: set[int] = set()
    while len(found) < number:
        found.add(free_port())
    return sorted(found)


async def replicated(nodes: list[Settings], **options: object) -> None:
    """Stores a message through one node that all three keep, and reads it through each."""
    urls = [("nats://" if each.tls is None else "tls://") + str(each.listen) for each in nodes]
    one = await nats.connect(urls[0], user="node", password=nodes[0].node_password, connect_timeout=5, **options)
    js = one.jetstream(timeout=2)
    wanted = StreamConfig(name="COOPY_shop", subjects=["coopy.shop.line"], num_replicas=3, allow_direct=True)
    async with asyncio.timeout(40) if sys.version_info >= (3, 11) else contextlib.nullcontext():
        # Refused until the servers have found one another and have a leader.
        while True:
            with contextlib.suppress(nats.errors.Error):
                await js.add_stream(wanted)
                break
            await asyncio.sleep(0.05)
    async with asyncio.timeout(40) if sys.version_info >= (3, 11) else contextlib.nullcontext():
        # The leader may not answer yet; under its name the message is stored once.
        while True:
            with contextlib.suppress(nats.errors.Error):
                await js.publish("coopy.shop.line", b"kept", headers={"Nats-Msg-Id": "one"})
                break
            await asyncio.sleep(0.05)
    await one.flush()
    for url in urls:
        await read_as_replica(url, **options)
    for url in urls:
        other = await nats.connect(url, user="node", password=nodes[0].node_password, connect_timeout=5, **options)
        assert (await other.jetstream().get_msg("COOPY_shop", 1)).data == b"kept"
        await other.close()
    assert one.discovered_servers == []
    await one.close()


async def read_as_replica(url: str, **options: object) -> None:
    """Whatever server it is connected to: a replica can read, and has no answer sent to where it would do harm."""
    guest = await nats.connect(
        url, user="replica", password=REPLICA, inbox_prefix=REPLICA_INBOX.encode(), connect_timeout=5, **options
    )
    js = guest.jetstream(prefix=Names("shop").replica_api)
    for target in ("coopy.shop.line", "$JS.API.STREAM.PURGE.COOPY_shop", "$JS.API.STREAM.DELETE.COOPY_shop"):
        for request in ("DIRECT.GET", "STREAM.MSG.GET"):  # The second it may not send at all.
            await guest.publish(f"coopy.shop.api.{request}.COOPY_shop", json.dumps({"seq": 9}).encode(), reply=target)
    assert (await js.get_msg("COOPY_shop", 1, direct=True)).data == b"kept"
    with pytest.raises(nats.js.errors.NotFoundError):
        await js.get_msg("COOPY_shop", 2, direct=True)
    await guest.close()


@pytest.mark.parametrize("with_tls", [False, True])
def test_three_servers_find_one_another_with_a_password_of_any_characters_and_with_certificates(tmp_path, with_tls):
    tls: list[TLS] | list[None] = certified(tmp_path, "a", "b", "c") if with_tls else [None] * 3
    nodes = cluster(tmp_path, 'a "$&@:/%20\n密\\', tls)
    options: dict[str, object] = {}
    if with_tls:
        options["tls"] = ssl.create_default_context(cafile=nodes[0].tls.authority)
    with contextlib.ExitStack() as stack:
        for node in nodes:
            stack.enter_context(running(node))
        asyncio.run(replicated(nodes, **options))
        if with_tls:
            wrong = ssl.create_default_context()
            with pytest.raises((ssl.SSLError, OSError, nats.errors.Error)):
                asyncio.run(replicated(nodes, tls=wrong, allow_reconnect=False))


def test_a_server_with_another_password_is_not_let_into_the_cluster(tmp_path, caplog):
    first, second, _ = cluster(tmp_path, "right", [None] * 3)
    stranger = settings(
        tmp_path / "stranger", second.listen.port, peers=first.peers, node_password="wrong", replica_password="other"
    )
    with running(first), running(stranger):
        until(lambda: "authorization" in caplog.text.lower())
        assert "right" not in caplog.text and "wrong" not in caplog.text


def test_a_server_that_keeps_nothing_has_no_streams_and_lets_no_publisher_wait(tmp_path):
    given = settings(tmp_path, keeps=False, replica_password=None)
    assert "jetstream" not in text(given) and "no_fast_producer_stall: true" in text(given)
    assert "no_fast_producer_stall" not in text(settings(tmp_path))
    with running(given) as server:

        async def ask():
            client = await nats.connect(server.url, user="node", password=given.node_password)
            try:
                with pytest.raises(nats.js.errors.ServiceUnavailableError):
                    await client.jetstream().account_info()
            finally:
                await client.close()

        asyncio.run(ask())
