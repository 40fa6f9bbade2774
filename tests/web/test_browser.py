"""The inspector in a real browser, Debian's Chromium, over four directories: small, a million actions, damaged, and that of a node which runs.

Every page is opened in light and dark and on a phone's width, and looked at by axe; the slider, the tree, blame, the live tail and the filters are used
as a person uses them, and once with the keyboard alone. With COOPY_PICTURES=DIR the pages are drawn there; `make pictures` does it.

Needs playwright and axe-playwright-python (`pip install 'coopy[browser]'`), and /usr/bin/chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from web.conftest import TESTS, fill
from web.shops import Shop

from coopy import control, init_system

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not there: pip install 'coopy[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not there")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]
PAGES = ("state", "journal", "rates", "memory", "disk", "cluster", "tasks")
MANY = 1_000_000
DRAGS = 60
WAIT_MS = 60_000
"""On a busy machine pages take long; what they show does not depend on it."""


@contextmanager
def served(basedir: Path, *words: str) -> Iterator[str]:
    """Runs `coopy web`, and gives the link that it prints, when all replays have come to their end."""
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "coopy", "web", str(basedir), "--class", "web.shops:Shop", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stderr is not None
        link = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        yield link
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as found:
        browser = found.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def until(what: Callable[[], bool]) -> None:
    """Waits until something is so. The page's policy lets no text be run there, so it is asked from here."""
    end = time.monotonic() + WAIT_MS / 1000
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


class Visitor:
    """Somebody with a browser who has followed the link."""

    def __init__(self, chromium: Any, link: str) -> None:
        self.chromium = chromium
        self.base = link.partition("/?")[0]
        self.problems: list[str] = []
        context = self._context()
        self.page = context.new_page()
        self._listen(self.page)
        self.page.goto(link)
        self.page.wait_for_url("**/state")
        self.state = context.storage_state()
        until = time.monotonic() + WAIT_MS / 1000
        while not self.page.request.get(f"{self.base}/status.json").json()["ready"]:
            assert time.monotonic() < until, "the replay comes to its end"
            time.sleep(0.1)
        self.page.goto(f"{self.base}/state")
        # While it replayed, it said so: a 503, which the browser tells of.
        self.problems.clear()

    def _context(self, **how: Any) -> Any:
        context = self.chromium.new_context(**{"viewport": {"width": 1200, "height": 800}, **how})
        context.set_default_timeout(WAIT_MS)
        return context

    def another(self, **how: Any) -> Any:
        """A page in a window of another kind, let in by the same cookie."""
        context = self._context(**how)
        context.add_cookies(self.state["cookies"])
        page = context.new_page()
        self._listen(page)
        return page

    def _listen(self, page: Any) -> None:
        page.on("pageerror", lambda error: self.problems.append(f"{page.url}: {error}"))
        page.on("console", lambda said: self.problems.append(f"{page.url}: {said.text}") if said.type == "error" else None)

    def go(self, address: str) -> Any:
        self.page.goto(self.base + address)
        return self.page

    def index(self) -> int:
        return int(self.page.locator(".after").get_attribute("data-index"))

    def until_at(self, index: int) -> None:
        self.page.wait_for_selector(f'.after[data-index="{index}"]', state="attached")

    def look_at_all(self, name: str, addresses: tuple[str, ...]) -> None:
        """Opens pages in each kind of window: they fit, axe finds nothing serious, and they are drawn if that is wanted."""
        kinds: dict[str, dict[str, Any]] = {
            "": {"color_scheme": "light"},
            "-dark": {"color_scheme": "dark"},
            "-phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 780}, "has_touch": True},
        }
        found = []
        for kind, how in kinds.items():
            page = self.another(**how)
            for address in addresses:
                page.goto(self.base + address)
                page.wait_for_load_state("networkidle")
                wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                assert wide[0] <= wide[1], f"{address}{kind} is wider than the window"
                seen = axe.Axe().run(page).response["violations"]
                found += [
                    f"{address}{kind}: {each['id']}: {each['nodes'][0]['html'][:200]}"
                    for each in seen
                    if each["impact"] in ("serious", "critical")
                ]
                draw(page, name, address, kind)
            page.context.close()
        assert found == []
        assert self.problems == []


DRAWN = frozenset(
    "state state-dark state-phone journal journal-phone rates rates-dark memory disk small-action small-value small-search small-diff small-write "
    "small-tasks damaged-disk node-cluster".split()
)
"""Each page once, and some in the dark and on a phone: they are kept in the repository."""


ELSEWHERE = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) node.textContent = node.textContent.replace(/\\/\\S+\\/(?=(shop|node)\\b)/g, "/srv/");
}"""


def draw(page: Any, name: str, address: str, kind: str) -> None:
    folder = os.environ.get("COOPY_PICTURES")
    title = re.match(r"/(\w+)", address)
    assert title is not None
    picture = f"{name}{title[1]}{kind}"
    if folder and (picture in DRAWN or os.environ.get("COOPY_PICTURES_ALL")):
        Path(folder).mkdir(parents=True, exist_ok=True)
        # Where a test keeps its files is nobody's business.
        page.evaluate(ELSEWHERE)
        page.screenshot(path=str(Path(folder) / f"{picture}.png"), scale="css")


@pytest.fixture(scope="module")
def small(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    basedir = tmp_path_factory.mktemp("small") / "shop"
    fill(basedir)
    with served(basedir, "--write") as link:
        yield Visitor(chromium, link)


@pytest.fixture(scope="module")
def many(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    basedir = tmp_path_factory.mktemp("many") / "shop"
    with init_system(Shop, str(basedir), durability="buffered") as shop:
        for number in range(MANY // 2):
            shop.put(f"article {number % 5000}", 3)
            shop.sell(f"article {number * 7 % min(number + 1, 5000)}")
    with served(basedir) as link:
        yield Visitor(chromium, link)


def test_every_page_of_a_small_one_is_there_for_everybody(small: Visitor) -> None:
    more = ("/action?index=3", "/value?path=.stock['tea']", "/search?q=tea", "/diff?a=2&b=14", "/write", "/status")
    small.look_at_all("small-", (*[f"/{each}" for each in PAGES], *more))


def test_a_value_and_a_key_that_are_html_are_text(small: Visitor) -> None:
    page = small.go("/state?open=.stock%0A.notes")
    asked: list[str] = []

    def dismiss(dialog: Any) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    assert "<script>alert(1)</script>" in page.locator("#tree").inner_text()
    for address in (
        "/journal",
        "/action?index=4",
        "/action?index=5",
        "/value?path=.notes",
        "/search?q=img",
        "/memory?root=.stock",
    ):
        small.go(address)
    assert asked == [] and small.problems == []


def test_the_tree_is_used_with_the_keyboard_alone(small: Visitor) -> None:
    page = small.go("/state")
    line = page.locator("#tree .line").first
    for _ in range(40):
        if line.evaluate("each => each === document.activeElement"):
            break
        page.keyboard.press("Tab")
    assert line.evaluate("each => each === document.activeElement"), "Tab leads to the tree"
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("""[data-path=".stock['tea']"]""")
    page.keyboard.press("ArrowDown")
    focused = "document.activeElement.dataset.path"
    assert page.evaluate(focused) == ".stock['tea']"
    # The state before, and the line that was looked at keeps its focus.
    page.keyboard.press(",")
    small.until_at(13)
    page.keyboard.press(",")
    small.until_at(12)
    page.keyboard.press(".")
    small.until_at(13)
    assert page.evaluate(focused) == ".stock['tea']"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == ".stock"
    page.keyboard.press("ArrowLeft")
    until(lambda: page.locator("#tree .line").count() == 4)
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("""[data-path=".stock['tea']"]""")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/value?*")
    assert "Who set it" in page.locator("main").inner_text()
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert small.problems == []


def test_blame_leads_to_the_action_and_the_action_to_what_it_changed(small: Visitor) -> None:
    page = small.go("/state?open=.stock")
    line = page.locator("""[data-path=".stock['tea']"]""").first
    line.hover()
    line.locator("a.who").click()
    page.wait_for_url("**/value?*")
    page.locator("#changes tr").first.wait_for()
    assert [page.locator("#changes td.n a").nth(number).inner_text() for number in range(3)] == ["10", "3", "1"]
    page.locator("#changes td.n a").nth(1).click()
    page.wait_for_url("**/action?index=3")
    assert ".stock['tea']" in page.locator("table.diff").inner_text()


def test_a_path_is_copied(small: Visitor) -> None:
    page = small.another(permissions=["clipboard-read", "clipboard-write"])
    page.goto(small.base + "/state")
    page.locator("#tree .line").first.hover()
    page.locator("#tree .line").first.locator("button.copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == ".stock"


def test_a_call_from_the_form_appears_in_the_live_journal_and_a_filter_holds_for_it(small: Visitor) -> None:
    other = small.another()
    other.goto(small.base + "/journal?method=note#live")
    other.wait_for_selector("#live[aria-pressed=true]")
    page = small.go("/write")
    for method, words in (("put", "'tea'\n0"), ("note", "'seen live'")):
        page.fill("form.call input[name=method]", method)
        page.fill("form.call textarea", words)
        page.click("form.call button")
        page.locator("pre.text").wait_for()
    until(lambda: "seen live" in other.locator("#rows tr").first.inner_text())
    assert "put" not in other.locator("#rows").inner_text()
    other.select_option("select[name=outcome]", "raised")
    other.select_option("select[name=method]", "")
    other.click("form.filters button:not([type=button])")
    other.wait_for_url("**outcome=raised**")
    assert other.locator("#rows tr").count() == 1 and "fail()" in other.locator("#rows").inner_text()


def test_a_million_actions_are_dragged_over(many: Visitor) -> None:
    """Prints how long each drag took; how long it may take depends on the machine, and is asked for with COOPY_DRAG_MS=MEDIAN,WORST."""
    page = many.go("/state?open=.stock")
    took = []
    for number in range(DRAGS):
        index = (number * 617_283) % MANY
        began = time.monotonic()
        page.evaluate(
            "index => { const s = document.querySelector('#slider'); s.value = index; s.dispatchEvent(new Event('input')); }",
            index,
        )
        many.until_at(index)
        took.append((time.monotonic() - began) * 1000)
        assert page.locator("#at").input_value() == str(index)
    held = page.request.get(f"{many.base}/status.json").json()
    print(
        f"\nmedian {statistics.median(took):.0f} ms, worst {max(took):.0f} ms, of {DRAGS}; {held['bytes']:,} bytes; {held['lanes']}"
    )
    if "COOPY_DRAG_MS" in os.environ:
        median, worst = map(int, os.environ["COOPY_DRAG_MS"].split(","))
        assert statistics.median(took) < median and max(took) < worst
    # What a drag passes over is coloured.
    assert page.locator("#tree .line.changed").count() > 0
    page.check("#scale")
    before = many.index()
    page.evaluate(
        "() => { const s = document.querySelector('#slider'); s.value = (Number(s.min) + Number(s.max)) / 2; s.dispatchEvent(new Event('input')); }"
    )
    until(lambda: many.index() != before)
    assert 0 < many.index() < MANY
    assert many.problems == []


def test_every_page_of_a_million_actions_is_there(many: Visitor) -> None:
    many.look_at_all(
        "", ("/state?at=600000&vs=599990&open=.stock", *[f"/{each}" for each in PAGES[1:5]], "/journal?method=sell")
    )
    page = many.go("/journal?method=sell&argument=article 4999")
    until(lambda: "article 4999" in page.locator("#rows").inner_text())
    page = many.go("/value?path=.stock['article 3']")
    page.locator("#changes td.n a").first.wait_for()


def test_a_damaged_one_shows_what_is_whole_and_where_the_rest_is(chromium: Any, tmp_path: Path) -> None:
    basedir = tmp_path / "shop"
    with init_system(Shop, str(basedir), keep=9) as shop:
        for number in range(3000):
            shop.put(f"article {number % 40}", 1)
            if number % 600 == 300:
                control(shop).take_snapshot()
    path = basedir / "transaction_000000000000001.log"
    data = bytearray(path.read_bytes())
    data[len(data) // 800 : len(data) // 800 + 9] = b"\xff" * 9
    path.write_bytes(data)
    with served(basedir) as link:
        visitor = Visitor(chromium, link)
        visitor.look_at_all("damaged-", ("/disk", "/journal"))
        assert visitor.page.request.get(f"{visitor.base}/disk.json").json()["damages"]
        page = visitor.go("/disk")
        assert page.locator(".wound, rect.damaged").count() > 0
        for each in PAGES:
            assert visitor.go(f"/{each}").locator("h1").count() == 1


def test_the_directory_of_a_node_shows_its_cluster(chromium: Any, tmp_path: Path) -> None:
    pytest.importorskip("nats")
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with init_system(Shop, str(tmp_path / "node"), master=True, port=port) as shop:
        for number in range(50):
            shop.put(f"article {number}", number)
        with served(tmp_path / "node") as link:
            visitor = Visitor(chromium, link)
            visitor.look_at_all("node-", ("/cluster", "/state", "/journal"))
            page = visitor.go("/cluster")
            assert "leads" in page.locator("main").inner_text() and f":{port}" in page.locator("main").inner_text()
            page = visitor.go("/journal#live")
            shop.put("seen live", 1)
            until(lambda: "seen live" in page.locator("#rows tr").first.inner_text())
            page = visitor.go("/state?open=.stock")
            assert "seen live" in page.locator("#tree").inner_text()
