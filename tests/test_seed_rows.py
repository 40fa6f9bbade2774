"""What the documentation of coopy 0.4 says, row by row, as its users would write it."""

from __future__ import annotations

import inspect
import os
import threading
import xmlrpc.client
import xmlrpc.server
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timezone
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import program
import pytest

import coopy
from coopy import PrevalentError, ReadOnlyNode, control, init_system
from coopy.base import init_persistent_system
from coopy.decorators import abort_exception, readonly, unlocked
from coopy.tests.utils import TestSystemMixin


class WikiPage:
    def __init__(self, id: str, content: str, last_modify: datetime | None = None) -> None:
        self.id = id
        self.content = content
        self.history: list[str] = []
        self.last_modify = last_modify


class Wiki:
    def __init__(self) -> None:
        self.pages: dict[str, WikiPage] = {}

    def create_page(self, page_id: str, content: str) -> WikiPage:
        page = None
        if page_id in self.pages:
            page = self.pages[page_id]
        if not page:
            page = WikiPage(page_id, content)
            self.pages[page_id] = page
        return page

    @readonly
    def get_page(self, id: str) -> WikiPage | None:
        if id in self.pages:
            return self.pages[id]
        else:
            return None

    @readonly
    def content(self, id: str) -> str:
        return self.pages[id].content


class TimedWiki(Wiki):
    _clock: Any

    def create_page(self, page_id: str, content: str) -> WikiPage:
        page = super().create_page(page_id, content)
        page.last_modify = self._clock.now()
        return page

    def stamp(self) -> tuple[datetime, datetime, date]:
        self.stamps = (self._clock.now(), self._clock.utcnow(), self._clock.today())
        return self.stamps

    def stamp_from_module(self) -> datetime:
        from coopy import clock

        self.stamped = clock.now()
        return self.stamped


class Todo:
    def __init__(self) -> None:
        self.tasks: list[dict[str, str]] = []

    def add_task(self, name: str, description: str) -> None:
        task = {"name": name, "description": description}
        self.tasks.append(task)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default directories are made in the current one."""
    monkeypatch.chdir(tmp_path)


def files(basedir: str, kind: str) -> list[str]:
    return sorted(name for name in os.listdir(basedir) if name.startswith(kind))


def test_row_01_init_persistent_system_takes_a_class_or_an_instance() -> None:
    with init_persistent_system(Todo()) as persistent_todo_list:
        persistent_todo_list.add_task("Some Task Name", "A Task Description")
    with init_persistent_system(Todo) as persistent_todo_list:
        assert persistent_todo_list.tasks == [{"name": "Some Task Name", "description": "A Task Description"}]
    with init_persistent_system(Todo, "elsewhere") as another:
        assert another.tasks == []
    with init_persistent_system(Todo(), basedir="elsewhere") as another:
        another.add_task("a", "b")
    assert coopy.init_persistent_system is init_persistent_system
    assert list(inspect.signature(init_persistent_system).parameters) == ["obj", "basedir"]


def test_row_02_init_system_is_imported_from_coopy() -> None:
    from coopy import init_system

    with init_system(Wiki(), "somedir") as wiki:
        wiki.create_page("My First Page", "My First Page Content")
    with init_system(Wiki(), "somedir") as wiki:
        assert wiki.pages["My First Page"].content == "My First Page Content"


def test_row_03_init_system_has_the_documented_signature() -> None:
    documented = {
        "obj": inspect.Parameter.empty,
        "basedir": None,
        "snapshot_time": 0,
        "master": False,
        "replication": False,
        "port": 5466,
        "host": "127.0.0.1",
        "password": "copynet",
    }
    parameters = inspect.signature(init_system).parameters.values()
    positional = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert positional == documented
    assert list(positional) == list(documented)


def test_row_04_a_class_an_instance_and_an_instance_with_a_path_are_accepted() -> None:
    for form in (lambda: init_system(Wiki), lambda: init_system(Wiki()), lambda: init_system(Wiki(), "path")):
        with form() as wiki:
            wiki.create_page("Home", "Welcome")
        with form() as wiki:
            assert wiki.content("Home") == "Welcome"


def test_rows_04_and_21_a_slave_receives_all_data_and_then_follows_its_master() -> None:
    port = program.free_port()
    master = init_system(Wiki, "master", master=True, port=port)
    master.create_page("Home", "Welcome")
    slave = init_system(Wiki, "slave", replication=True, port=port)
    assert slave.content("Home") == "Welcome"
    with pytest.raises(ReadOnlyNode, match="This is a slave/read-only instance."):
        slave.create_page("Away", "Goodbye")
    master.create_page("Help", "Ask")
    control(slave).sync()
    assert slave.content("Help") == "Ask"
    assert slave.take_snapshot() > 0
    slave.close()
    master.close()
    with init_system(Wiki, "master", master=True, port=port) as master:
        assert (master.content("Home"), master.content("Help"), "Away" in master.pages) == ("Welcome", "Ask", False)


def test_row_05_the_default_directory_is_the_lower_cased_class_name(tmp_path: Path) -> None:
    with init_system(TimedWiki) as wiki:
        assert wiki.basedir_abspath() == [str(tmp_path / "timedwiki")]
    assert (tmp_path / "timedwiki").is_dir()


def test_row_06_the_proxy_delegates_and_each_call_is_an_action_on_disk() -> None:
    with init_system(Wiki, "data") as wiki:
        page = wiki.create_page("Home", content="Welcome")
        assert isinstance(page, WikiPage)
        assert page.content == "Welcome"
        assert control(wiki).index == 1
        assert control(wiki).durable == 1
        # Another reader finds the call, its arguments by position and by name, and when it was.
        assert coopy.replay(Wiki, "data").content("Home") == "Welcome"
    assert files("data", "transaction_") == ["transaction_000000000000001.log"]


def test_row_07_log_files_rotate_by_size() -> None:
    with init_system(Wiki, "data", durability="buffered", segment_bytes=1) as wiki:
        for number in range(400):
            wiki.create_page(f"page {number}", "x" * 10_000)
    logs = files("data", "transaction_")
    assert len(logs) > 2
    with init_system(Wiki, "data") as wiki:
        assert len(wiki.pages) == 400


def test_row_08_a_snapshot_is_a_serialized_copy_and_older_logs_may_be_deleted() -> None:
    with init_system(Wiki, "data", durability="buffered", segment_bytes=1, keep=1) as wiki:
        for number in range(200):
            wiki.create_page(f"page {number}", "x" * 10_000)
        before = files("data", "transaction_")
        wiki.take_snapshot()
        assert files("data", "snapshot_") == ["snapshot_000000000000200.dat"]
        assert len(files("data", "transaction_")) < len(before)
        wiki.create_page("last", "y")
    with init_system(Wiki, "data") as wiki:
        assert len(wiki.pages) == 201


def test_row_09_restore_takes_the_newest_snapshot_and_runs_all_later_calls_again() -> None:
    with init_system(Wiki, "data") as wiki:
        wiki.create_page("before", "1")
        wiki.take_snapshot()
        wiki.create_page("after", "2")
    with init_system(Wiki, "data") as wiki:
        assert list(wiki.pages) == ["before", "after"]
        assert control(wiki).index == 2
    os.remove("data/snapshot_000000000000000.dat")
    with init_system(Wiki, "data") as wiki:
        assert list(wiki.pages) == ["before", "after"]


def test_row_10_attributes_are_read_through_the_proxy_after_a_restart() -> None:
    with init_system(Wiki(), "data") as wiki:
        wiki.create_page("My First Page", "My First Page Content")
    with init_system(Wiki(), "data") as wiki:
        page = wiki.pages["My First Page"]
        assert page.id == "My First Page"
        assert page.content == "My First Page Content"


def test_row_11_a_clock_is_injected_and_restore_uses_the_recorded_values() -> None:
    with init_system(TimedWiki(), "data") as wiki:
        modified = wiki.create_page("Home", "Welcome").last_modify
        now, utcnow, today = wiki.stamp()
        from_module = wiki.stamp_from_module()
    assert type(now) is datetime and now.tzinfo is None
    assert type(utcnow) is datetime and utcnow.tzinfo is None
    assert type(today) is date and today == now.date()
    offset = now - utcnow
    assert abs(offset.total_seconds()) <= 14 * 3600
    assert abs((datetime.now(timezone.utc).replace(tzinfo=None) - utcnow).total_seconds()) < 60
    assert type(from_module) is datetime
    with init_system(TimedWiki(), "data") as wiki:
        assert wiki.pages["Home"].last_modify == modified
        assert wiki.stamps == (now, utcnow, today)
        assert wiki.stamped == from_module


def test_row_12_a_method_that_calls_datetime_now_is_refused_at_the_start() -> None:
    class WrongWiki(Wiki):
        def create_page(self, page_id: str, content: str) -> WikiPage:
            page = super().create_page(page_id, content)
            page.last_modify = datetime.now()
            return page

    with pytest.raises(PrevalentError, match=r"datetime\.now\(\)"):
        init_system(WrongWiki(), "data")
    assert not os.path.exists("data"), "nothing was opened"


def test_row_13_a_readonly_method_makes_no_log_entry() -> None:
    with init_system(Wiki, "data") as wiki:
        wiki.create_page("Home", "Welcome")
        page = wiki.get_page("Home")
        assert page is not None and page.content == "Welcome"
        assert wiki.get_page("no such page") is None
        assert control(wiki).index == 1


class Turnstile:
    """Notices when two threads are inside at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.passed = 0

    def pass_through(self, depth: int) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.passed += 1
        self.inside -= 1

    @unlocked
    @readonly
    def meet(self, here: threading.Barrier) -> None:
        here.wait(timeout=10)

    @readonly
    def passed_twice_over(self, ask: Callable[[], int]) -> int:
        return ask() + self.passed


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    assert not any(thread.is_alive() for thread in threads)


def test_row_14_every_call_takes_a_re_entrant_lock() -> None:
    with init_system(Turnstile, "data", durability="buffered") as gate:
        in_threads(8, lambda number: [gate.pass_through(n) for n in range(200)] and None)
        assert gate.passed == 1600
        assert gate.most == 1
        # Re-entrant: a method that holds the lock may call the system again.
        assert gate.passed_twice_over(lambda: gate.passed) == 3200


def test_row_14_an_unlocked_method_takes_no_lock() -> None:
    with init_system(Turnstile, "data", durability="buffered") as gate:
        both = threading.Barrier(2)
        in_threads(2, lambda number: gate.meet(both))  # With a lock the two would never meet.


class Shop:
    def __init__(self) -> None:
        self.attempts: list[str] = []

    @abort_exception
    def sell(self, item: str) -> None:
        if not item:
            raise ValueError("nothing to sell")
        self.attempts.append(item)

    def try_to_sell(self, item: str) -> None:
        self.attempts.append(item)
        raise ValueError("sold out")


def test_row_15_a_raising_call_is_logged_unless_abort_exception_says_not() -> None:
    with init_system(Shop, "data") as shop:
        with pytest.raises(ValueError, match="sold out"):
            shop.try_to_sell("tea")
        with pytest.raises(ValueError, match="nothing to sell"):
            shop.sell("")
        shop.sell("milk")
        assert shop.attempts == ["tea", "milk"]
    with init_system(Shop, "data") as shop:
        assert shop.attempts == ["tea", "milk"]
    # Not executed on restore: a method that now has no way to raise still leaves no trace.
    sell = Shop.sell
    try:
        Shop.sell = lambda self, item: self.attempts.append(item)  # type: ignore[method-assign, assignment]
        Shop.sell = abort_exception(Shop.sell)  # type: ignore[method-assign]
        assert coopy.replay(Shop, "data").attempts == ["tea", "milk"]
    finally:
        Shop.sell = sell  # type: ignore[method-assign]


def test_row_16_take_snapshot_keeps_one_state_of_a_domain_in_use() -> None:
    with init_system(Turnstile, "data", durability="buffered") as gate:
        started, stop = threading.Event(), threading.Event()

        def write(number: int) -> None:
            while not stop.is_set():
                gate.pass_through(number)
                started.set()

        def snapshot() -> None:
            assert started.wait(10)
            for _ in range(5):
                gate.take_snapshot()
            stop.set()

        in_threads(3, lambda number: snapshot() if number == 0 else write(number))
    for name in files("data", "snapshot_"):
        index = int(name[9:24])
        state = coopy.replay(Turnstile, "data", index)
        # Taken between two calls: nobody inside, and as many passed as actions were recorded.
        assert (state.inside, state.passed) == (0, index)


def test_row_17_basedir_abspath_lists_the_absolute_base_directories(tmp_path: Path) -> None:
    with init_system(Wiki) as wiki:
        assert wiki.basedir_abspath() == [str(tmp_path / "wiki")]
    with init_system(Wiki, "a/../b") as wiki:
        assert wiki.basedir_abspath() == [str(tmp_path / "b")]


class TestRow18And19(TestSystemMixin):
    __test__ = True

    def test_row_18_mock_clock_injects_a_clock_that_always_returns_the_date(self) -> None:
        wiki = TimedWiki()
        mocked_date = datetime(2012, 3, 4, 5, 6, 7)
        self.mock_clock(wiki, mocked_date)
        assert wiki.create_page("Home", "Welcome").last_modify == mocked_date
        assert wiki.create_page("Next", "Welcome").last_modify == mocked_date
        assert wiki.stamp() == (mocked_date, mocked_date, date(2012, 3, 4))

    def test_row_19_enable_clock_injects_a_real_clock_on_the_plain_instance(self) -> None:
        wiki = TimedWiki()
        self.enable_clock(wiki)
        before = datetime.now()
        modified = wiki.create_page("Home", "Welcome").last_modify
        assert modified is not None and before <= modified <= datetime.now()


# -- row 20: a server process holds the system, clients talk to it


CLIENTS, PAGES = 4, 25


@contextmanager
def serving(serve: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(10)
        assert not thread.is_alive()


def assert_every_page_is_there(basedir: str) -> None:
    with init_system(Wiki, basedir) as wiki:
        expected = {f"{client}/{page}" for client in range(CLIENTS) for page in range(PAGES)}
        assert set(wiki.pages) == expected
        assert control(wiki).index == len(expected)


class Facade:
    """What crosses the wire must be of the wire's types."""

    def __init__(self, wiki: Wiki) -> None:
        self._wiki = wiki

    def create_page(self, page_id: str, content: str) -> str:
        return self._wiki.create_page(page_id, content).id

    def content(self, page_id: str) -> str:
        return self._wiki.content(page_id)


def test_row_20_an_xmlrpc_server_delegates_to_the_proxy() -> None:
    from socketserver import ThreadingMixIn

    class Server(ThreadingMixIn, xmlrpc.server.SimpleXMLRPCServer):
        daemon_threads = True

    with init_system(Wiki(), "data") as wiki:
        server = Server(("127.0.0.1", 0), logRequests=False)
        server.register_instance(Facade(wiki))
        port = server.server_address[1]

        def client(number: int) -> None:
            with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}") as remote:
                for page in range(PAGES):
                    assert remote.create_page(f"{number}/{page}", "text") == f"{number}/{page}"
                assert remote.content(f"{number}/0") == "text"

        with serving(lambda: server.serve_forever(0.01), server.shutdown):
            in_threads(CLIENTS, client)
        server.server_close()
    assert_every_page_is_there("data")


def test_row_20_a_pyro_object_delegates_to_the_proxy() -> None:
    server_side = pytest.importorskip("Pyro5.server")
    client_side = pytest.importorskip("Pyro5.client")
    exposed = server_side.expose(Facade)
    with init_system(Wiki(), "data") as wiki:
        daemon = server_side.Daemon(host="127.0.0.1", port=0)
        uri = daemon.register(exposed(wiki), "wiki")

        def client(number: int) -> None:
            with client_side.Proxy(uri) as remote:
                for page in range(PAGES):
                    assert remote.create_page(f"{number}/{page}", "text") == f"{number}/{page}"
                assert remote.content(f"{number}/0") == "text"

        with serving(daemon.requestLoop, daemon.shutdown):
            in_threads(CLIENTS, client)
        daemon.close()
    assert_every_page_is_there("data")


def test_row_20_any_server_delegates_to_the_proxy_itself() -> None:
    """The whole of Pyro's delegateTo: a name and arguments in, a value out."""
    with init_system(Wiki(), "data") as wiki, Listener(("127.0.0.1", 0), authkey=b"row 20") as listener:

        def serve_one(connection: Any) -> None:
            with connection:
                while (request := connection.recv()) is not None:
                    name, args = request
                    connection.send(getattr(wiki, name)(*args))

        def serve() -> None:
            threads = [threading.Thread(target=serve_one, args=(listener.accept(),)) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)

        def client(number: int) -> None:
            with Client(listener.address, authkey=b"row 20") as remote:
                for page in range(PAGES):
                    remote.send(("create_page", (f"{number}/{page}", "text")))
                    assert remote.recv().id == f"{number}/{page}"
                remote.send(None)

        with serving(serve, lambda: None):
            in_threads(CLIENTS, client)
    assert_every_page_is_there("data")
