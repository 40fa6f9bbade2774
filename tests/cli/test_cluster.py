"""`coopy cluster`, called as `coopy` calls it: beside a master of this machine, and what it makes without one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import bank
from program import environment, free_port

from coopy import code_version, control, init_system

pytest.importorskip("click", reason="the extra [cli] is not installed")

Run = tuple[int, str, str]
Coopy = Callable[..., Run]
PASSWORD = "of the one node"


class Bank(bank.Bank):
    """That of other tests, with a version that is not enabled yet."""

    _coopy_first_code_version = 0

    @code_version(1)
    def close_account(self, owner: str) -> int:
        return self.accounts.pop(owner)


class Alone:
    """A cluster of one node, in this process."""

    def __init__(self, path: Path) -> None:
        self.at = f"127.0.0.1:{free_port()}"
        self.basedir = path / "bank"
        self.bank = init_system(Bank, self.basedir, cluster=[self.at], node=self.at, password=PASSWORD, validation="off")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    found = Alone(tmp_path_factory.mktemp("alone"))
    found.bank.deposit("x")
    yield found
    control(found.bank).close()


@pytest.fixture
def coopy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Coopy:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COOPY_PASSWORD", raising=False)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))

    def run(*arguments: str, password: str | None = None) -> Run:
        from coopy.cli.app import app

        if password is not None:
            monkeypatch.setenv("COOPY_PASSWORD", password)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(["cluster", *arguments], prog_name="coopy")
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_status_says_how_each_node_is_and_what_the_servers_keep(alone: Alone, coopy: Coopy) -> None:
    code, out, err = coopy("status", alone.at, password=PASSWORD)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["bank:", "1", "node,", alone.at, "leads"]
    position, index = (str(control(alone.bank).status()[key]) for key in ("position", "last_applied"))
    assert ["*", alone.at, "ready", position, index, "leads"] in lines
    assert [line[0] for line in lines[-3:]] == ["COOPY_bank", "KV_COOPY_bank", "OBJ_COOPY_bank"]


def test_status_in_json_and_as_keys_and_values(alone: Alone, coopy: Coopy) -> None:
    code, out, _ = coopy("status", alone.at, "--json", password=PASSWORD)
    said = json.loads(out)
    assert (code, said["system"], said["leader"], said["members"], said["problems"]) == (0, "bank", alone.at, [alone.at], [])
    assert said["nodes"][0]["state"] == "ready" and said["streams"][0]["messages"] == 1
    code, out, _ = coopy("status", alone.at, "--plain", password=PASSWORD)
    lines = out.splitlines()
    assert code == 0 and lines == sorted(lines)
    found = dict(line.split(": ", 1) for line in lines)
    status = control(alone.bank).status()
    for key in (
        "self",
        "leader",
        "has_quorum",
        "partner_nodes_count",
        "readonly_nodes_count",
        "log_len",
        "last_applied",
        "commit_idx",
    ):
        assert found[key] == str(status[key]), key
    assert coopy("status", "--plain", "--json")[0] == 2


def test_a_replica_is_shown_and_a_master_is_found_by_its_directory(tmp_path: Path, coopy: Coopy) -> None:
    given: dict[str, Any] = {"port": free_port(), "password": "of replicas", "validation": "off"}
    with control(init_system(Bank, tmp_path / "master", master=True, **given)):
        with control(init_system(Bank, tmp_path / "replica", replication=True, **given)):
            code, out, err = coopy("status", "--directory", "master")
            assert (code, err) == (0, "")
            assert [line.split()[1:] for line in out.splitlines() if "(replica)" in line] == [["(replica)", "ready", "0", "0"]]
        assert json.loads(coopy("status", "--directory", "master", "--json")[1])["members"] == [f"127.0.0.1:{given['port']}"]
    code, _, err = coopy("status", "--directory", "master")
    assert (code, "nobody answers at nats://127.0.0.1" in err) == (1, True)
    assert coopy("status", "--directory", str(tmp_path))[::2] == (
        2,
        f"coopy: {tmp_path}: is not the directory of a node: it has no server/server.conf\n",
    )


def test_the_password_comes_from_a_file_or_the_environment_and_never_from_an_argument(
    alone: Alone, coopy: Coopy, tmp_path: Path
) -> None:
    code, _, err = coopy("status", alone.at)
    assert code == 2 and "COOPY_PASSWORD" in err and "--password-file" in err
    (tmp_path / "password").write_text(PASSWORD + "\n")
    assert coopy("status", alone.at, "--password-file", "password", password="another")[0] == 0
    code, _, err = coopy("status", alone.at, password="guessed")
    assert (code, err.count("\n")) == (1, 1) and "refused the password" in err
    assert coopy("status", alone.at, "--password", PASSWORD)[0] == 2
    assert coopy("status", alone.at, "--password-file", "nowhere")[::2] == (1, "coopy: nowhere: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "127.0.0.1:1"), "a node alone can't be joined while it runs"),
        (("remove", "127.0.0.1:1"), "127.0.0.1:1 is not a member"),
        (("remove", "{at}"), "is the last member"),
        (("transfer", "127.0.0.1:1"), "127.0.0.1:1 is not a member"),
        (("transfer", "{at}"), "there is nobody else to lead"),
        (("step-down",), "there is nobody else to lead"),
        (("add", "a:b"), "'b' is not a port"),
        (("step-down", "--system", "shop"), "these are: bank"),
        (("step-down", "--tls", "nowhere"), "nowhere/authority.pem is not there"),
    ],
    ids=str,
)
def test_what_can_not_be_is_refused_in_one_paragraph(alone: Alone, coopy: Coopy, arguments: tuple[str, ...], says: str) -> None:
    given = [each.format(at=alone.at) for each in arguments]
    code, out, err = coopy(*given, "--at", alone.at, password=PASSWORD)
    assert (code, out, err.count("\n")) == (2, "", 1) and says in err
    assert control(alone.bank).cluster.nodes() == [alone.at]


def test_a_code_version_is_enabled_by_the_address_of_a_node_or_by_its_directory(alone: Alone, coopy: Coopy) -> None:
    code, out, err = coopy("set-version", alone.at, "2", password=PASSWORD)
    assert (code, out, err.count("\n")) == (2, "", 1) and "the class has versions up to 1 here. Nothing was switched" in err
    assert control(alone.bank).code_version == 0
    assert coopy("set-version", alone.at, "1", password=PASSWORD) == (0, "Code version 1 is enabled.\n", "")
    assert control(alone.bank).code_version == 1
    code, out, _ = coopy("set-version", str(alone.basedir), "1", "--json", password=PASSWORD)
    assert (code, json.loads(out)) == (0, {"code_version": 1})
    assert coopy("set-version", alone.at, "0", password=PASSWORD)[0] == 2
    plain = coopy("status", alone.at, "--plain", password=PASSWORD)[1].splitlines()
    assert {"self_code_version: 1", "enabled_code_version: 1", "state: ready"} <= set(plain)


def test_several_systems_of_one_server_are_told_apart_by_name(alone: Alone, coopy: Coopy) -> None:
    from coopy.network.stream import make
    from coopy.network.subjects import Names

    connection = control(alone.bank)._system.servers._connected
    connection.run(make(connection, Names("shop"), 1))
    try:
        code, _, err = coopy("status", alone.at, password=PASSWORD)
        assert code == 2 and "say which one with --system: bank, shop" in err
        assert coopy("status", alone.at, "--system", "bank", password=PASSWORD)[0] == 0
        code, out, _ = coopy("status", alone.at, "--system", "shop", password=PASSWORD)
        assert code == 1 and "KV_COOPY_shop: no leader answers" in out
    finally:
        connection.run(connection.stream_api.delete_stream(Names("shop").stream))


def test_certificates_are_made_and_an_authority_goes_on(coopy: Coopy, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the extra [crypto] is not installed")
    code, out, err = coopy("init", "--nodes", "a.example:5466,10.0.0.2:5466,[::1]:5466", "made")
    assert (code, err) == (0, "") and "tls=True" in out
    made = tmp_path / "made"
    folders = ["10.0.0.2_5466", "__1_5466", "a.example_5466"]
    assert sorted(os.listdir(made)) == [*folders[:2], *folders[2:], "authority.key", "authority.pem"]
    for key in (made / "authority.key", *(made / folder / "node.key" for folder in folders)):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert all(sorted(os.listdir(made / each)) == ["authority.pem", "node.key", "node.pem"] for each in folders)
    authority = (made / "authority.pem").read_bytes()
    code, out, _ = coopy("init", "--nodes", "b.example", "made", "--json")
    assert code == 0 and json.loads(out)["new"] is False
    assert (made / "b.example_5466" / "authority.pem").read_bytes() == authority == (made / "authority.pem").read_bytes()
    code, _, err = coopy("init", "--nodes", "c.example,a.example", "made")
    assert code == 2 and "a.example_5466 is there already. Nothing was written" in err
    assert not (made / "c.example_5466").exists()


def test_where_cryptography_is_missing_it_is_named() -> None:
    program = "import sys; sys.modules['cryptography'] = None; from coopy.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "cluster", "init", "--nodes", "a", "nowhere"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and "pip install 'coopy[crypto]'" in done.stderr
