"""What a system tells of itself: Prometheus' own parser reads it, spans go to OpenTelemetry's exporter in memory."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import coopy
import coopy.metrics
from coopy import aio, control, init_system, readonly
from coopy.errors import UsageError
from coopy.testing import memory_system

DOCS = Path(__file__).resolve().parents[1] / "docs"
prometheus = pytest.importorskip("prometheus_client", reason="the extra [metrics] is not installed")


class Wiki:
    def __init__(self) -> None:
        self.pages: dict[str, str] = {}

    def create(self, name: str, text: str = "") -> int:
        if name in self.pages:
            raise KeyError(name)
        self.pages[name] = text
        return len(self.pages)

    def rename(self, old: str, new: str) -> None:
        self.pages[new] = self.pages.pop(old)

    @readonly
    def count(self) -> int:
        return len(self.pages)


Read = Callable[[], dict[tuple[str, ...], float]]


@pytest.fixture
def registry() -> Any:
    return prometheus.CollectorRegistry()


@pytest.fixture
def read(registry: Any) -> Read:
    """Reads what Prometheus would: name, and the labels but the directory, to value."""

    def read() -> dict[tuple[str, ...], float]:
        from prometheus_client.parser import text_string_to_metric_families

        text = prometheus.generate_latest(registry).decode()
        return {
            (sample.name, *(value for key, value in sample.labels.items() if key not in ("system", "le"))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("le") in (None, "+Inf")
        }

    return read


@pytest.fixture
def wiki(tmp_path: Path, registry: Any) -> Iterator[Any]:
    with init_system(Wiki, tmp_path / "data") as wiki:
        coopy.metrics.register(wiki, registry)
        yield wiki


def test_calls_are_counted_each_and_one_in_sixty_four_is_timed(wiki: Any, read: Read) -> None:
    for number in range(130):
        wiki.create(f"page {number}")
    for _ in range(3):
        assert read()["coopy_calls_total", "create"] == 130
    assert read()["coopy_call_seconds_count", "create"] == 3
    assert 0 < read()["coopy_call_seconds_sum", "create"] < 10
    wiki.rename("page 1", "page one")
    assert read()["coopy_calls_total", "create"] == 130 and read()["coopy_calls_total", "rename"] == 1


def test_a_call_that_raises_counts_and_raises_as_ever(wiki: Any, read: Read) -> None:
    frames = []
    for each in (wiki, memory_system(Wiki)):
        each.create("Home")
        with pytest.raises(KeyError) as raised:
            each.create("Home")
        frames.append([frame.name for frame in raised.traceback])
    assert frames[0] == frames[1]
    assert read()["coopy_calls_total", "create"] == 2


def test_reads_are_not_counted(wiki: Any, read: Read) -> None:
    assert wiki.count() == 0 and len(wiki.pages) == 0
    assert not [name for name, *_ in read() if name == "coopy_calls_total"]


def test_what_threads_call_is_counted_without_loss(wiki: Any, read: Read) -> None:
    def work(thread: int) -> None:
        for number in range(50):
            wiki.create(f"{thread}-{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read()["coopy_calls_total", "create"] == 400


def test_calls_of_asyncio_are_counted(tmp_path: Path, registry: Any, read: Read) -> None:
    async def main() -> None:
        async with aio.open(Wiki, tmp_path / "data") as wiki:
            coopy.metrics.register(aio.system_of(wiki), registry)
            await asyncio.gather(*(wiki.create(f"page {number}") for number in range(100)))
            assert read()["coopy_calls_total", "create"] == 100

    asyncio.run(main())


def test_what_the_system_knows_of_itself_is_shown(wiki: Any, read: Read) -> None:
    wiki.create("Home")
    control(wiki).take_snapshot()
    wiki.create("News")
    found = {name: value for (name, *rest), value in read().items() if not rest}
    assert found["coopy_open"] == 1 and found["coopy_actions_total"] == found["coopy_durable_actions_total"] == 2
    assert found["coopy_not_durable"] == found["coopy_effects_waiting"] == found["coopy_diverged"] == 0
    assert (
        found["coopy_snapshot_index"] == 1 and found["coopy_snapshot_bytes"] > 0 and found["coopy_snapshot_age_seconds"] < 3600
    )
    assert found["coopy_sync_seconds_count"] >= 2 and found["coopy_snapshot_failed"] == 0


def test_a_closed_system_is_shown_no_more_and_may_be_registered_when_it_is_open_again(
    tmp_path: Path, registry: Any, read: Read
) -> None:
    for _ in range(2):
        with init_system(Wiki, tmp_path / "data") as wiki:
            collector = coopy.metrics.register(wiki, registry)
            with pytest.raises(UsageError, match="registered already"):
                coopy.metrics.register(wiki, registry)
            assert read()["coopy_open",] == 1
        assert read() == {}
        collector.close()


def test_two_systems_stand_beside_each_other(tmp_path: Path, registry: Any) -> None:
    with init_system(Wiki, tmp_path / "a") as one, init_system(Wiki, tmp_path / "b") as other:
        for system in (one, other):
            coopy.metrics.register(system, registry)
        one.create("Home")
        text = prometheus.generate_latest(registry).decode()
        assert f'coopy_actions_total{{system="{tmp_path / "a"}"}} 1.0' in text
        assert f'coopy_actions_total{{system="{tmp_path / "b"}"}} 0.0' in text


def test_a_system_in_memory_has_figures_too(registry: Any, read: Read) -> None:
    wiki = memory_system(Wiki)
    coopy.metrics.register(wiki, registry)
    wiki.create("Home")
    assert read()["coopy_calls_total", "create"] == 1 and read()["coopy_open",] == 1


@pytest.mark.parametrize("wrong", [Wiki(), None, "wiki", {}])
def test_what_is_no_system_is_refused(wrong: object, registry: Any) -> None:
    with pytest.raises(UsageError):
        coopy.metrics.register(wrong, registry)


def test_without_its_package_it_says_what_to_install(wiki: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for package, function, extra in (
        ("prometheus_client", coopy.metrics.register, "metrics"),
        ("opentelemetry.trace", coopy.metrics.trace, "tracing"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UsageError, match=rf"coopy\[{extra}\]"):
            function(wiki)


def test_health_says_what_is_wrong(tmp_path: Path) -> None:
    with init_system(Wiki, tmp_path / "data") as wiki:
        assert coopy.metrics.health(wiki) == {"ok": True, "problems": [], "index": 0}
    assert coopy.metrics.health(wiki)["problems"] == ["the system is closed"]


def test_health_tells_of_a_snapshot_that_failed(tmp_path: Path) -> None:
    with init_system(Wiki, tmp_path / "data") as wiki:
        system = control(wiki)._system
        system.keeping._newest["problem"] = "No space left on device"
        said = coopy.metrics.health(wiki)
        assert not said["ok"] and "No space left" in said["problems"][0]


# -- spans


@pytest.fixture
def spans() -> Any:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, provider


def test_a_call_is_a_span_that_says_what_it_raised_and_replay_makes_none(tmp_path: Path, spans: Any) -> None:
    exporter, provider = spans
    with init_system(Wiki, tmp_path / "data") as wiki:
        coopy.metrics.trace(wiki, provider)
        wiki.create("Home")
        with suppress(KeyError):
            wiki.create("Home")
        wiki.count()
    first, second = exporter.get_finished_spans()
    assert (first.name, first.attributes["coopy.index"], first.status.is_ok) == ("Wiki.create", 1, True)
    assert first.attributes["coopy.basedir"] == str(tmp_path / "data") and not second.status.is_ok
    assert second.events[0].attributes["exception.type"] == "KeyError"
    with init_system(Wiki, tmp_path / "data"):
        assert len(exporter.get_finished_spans()) == 2


def test_a_system_may_be_traced_and_measured(wiki: Any, read: Read, spans: Any) -> None:
    exporter, provider = spans
    coopy.metrics.trace(wiki, provider)
    wiki.create("Home")
    assert len(exporter.get_finished_spans()) == 1 and read()["coopy_calls_total", "create"] == 1


# -- replay says nothing


class Talks:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, word: str) -> None:
        self.said.append(word)
        import structlog  # coopy: ignore[CPY211]

        structlog.get_logger().info(word)


def test_structlog_hears_nothing_of_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    structlog = pytest.importorskip("structlog", reason="structlog is not installed")
    structlog.configure(
        processors=[coopy.metrics.drop_replayed, structlog.processors.KeyValueRenderer()], cache_logger_on_first_use=False
    )
    try:
        for expected in ("event='tea'\n", ""):
            with init_system(Talks, tmp_path / "data", validation="off") as talks:
                if expected:
                    talks.say("tea")
            assert capsys.readouterr().out == expected
    finally:
        structlog.reset_defaults()


def test_an_event_of_sentry_names_the_open_systems(tmp_path: Path) -> None:
    with init_system(Wiki, tmp_path / "data") as wiki:
        wiki.create("Home")
        said = coopy.metrics.sentry_event({"message": "x"}, {})
    assert said is not None and said["contexts"]["coopy"][str(tmp_path / "data")] == {"index": 1, "durable": 1}


# -- what is written down


def known_names() -> set[str]:
    """Every figure there is, of nodes too, as Prometheus calls it."""
    kinds = {"Counter": ("_total",), "Gauge": ("",)}
    node = {"leader": "a", "self": "a"}
    wiki = memory_system(Wiki)
    each = [*coopy.metrics.figures(wiki), *coopy.metrics._of_node(node)]
    names = {name + end for name, kind, _, _ in each for end in kinds[kind]} | {"coopy_calls_total"}
    return names | {
        f"{name}{end}" for name in ("coopy_call_seconds", "coopy_sync_seconds") for end in ("", "_bucket", "_sum", "_count")
    }


def test_the_dashboard_asks_for_figures_that_there_are() -> None:
    dashboard = json.loads((DOCS / "grafana" / "coopy.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = set(re.findall(r"coopy_\w+", " ".join(asked)))
    assert len(names) >= 10 and names <= known_names()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) == len(asked) - 4


def test_the_guide_names_every_figure() -> None:
    text = (DOCS / "guides" / "metrics.md").read_text()
    rows = re.findall(r"^\| (`coopy_.*?) \|", text, re.M)
    told = set()
    for row in rows:
        names = re.findall(r"`(\w+)", row)
        told |= {name if name.startswith("coopy_") else names[0].rpartition("_")[0] + name for name in names}
    assert told == known_names() - {
        f"{name}{end}" for name in ("coopy_call_seconds", "coopy_sync_seconds") for end in ("_bucket", "_sum", "_count")
    }
