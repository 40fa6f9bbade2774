"""What a program tells of its systems while it runs: figures for Prometheus, spans for OpenTelemetry, whether it is well.

    import coopy.metrics

    wiki = init_system(Wiki, "data")
    coopy.metrics.register(wiki)                  # prometheus_client.start_http_server(9100) shows them

Nothing here costs a system anything that was not asked for: `register` gives the proxy of that one system another class, whose methods count, and
`trace` gives its engine one whose ``call`` makes a span. Figures that the system keeps anyway are read when they are asked for.

The package prometheus_client (extra ``metrics``) is needed by `register` alone, and opentelemetry-api (extra ``tracing``) by `trace` alone. Names
and units of figures follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/), those of spans OpenTelemetry's
semantic conventions for calls (``code.function.name``).
"""

from __future__ import annotations

import importlib
import itertools
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from coopy import Objects, UsageError, opened, replaying
from coopy.control import Control, control
from coopy.spine.calling import Call
from coopy.spine.engine import Engine
from coopy.spine.methods import Method
from coopy.spine.proxy import Measure, measure

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = [
    "BUCKETS",
    "SAMPLED",
    "TIMES_MAX",
    "Collector",
    "drop_replayed",
    "figures",
    "health",
    "register",
    "sentry_event",
    "trace",
]

__coopy_inside__ = True  # See `coopy.spine.calling`.

SAMPLED = 64
"""Of so many calls of a method one is timed: the two looks at the clock are half of what a call of a microsecond costs. See docs/guides/metrics.md."""
TIMES_MAX = 65_536
"""So many times are kept until somebody asks for them; beyond that the oldest go. See docs/guides/metrics.md."""
BUCKETS = (5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds, in seconds: from a buffered call, a few microseconds, to one that waits for an election. See docs/guides/metrics.md."""


class _Counts(dict[str, "itertools.count[int]"]):
    """Of each method how often it was called. ``next`` of a count is one call of C, so that threads lose none."""

    def __init__(self) -> None:
        self._looks: dict[str, int] = {}

    def __missing__(self, name: str) -> itertools.count[int]:
        return self.setdefault(name, itertools.count())

    def calls(self) -> dict[str, int]:
        """Returns how often each method was called, of those that were. Not to be called by two threads at once."""
        found = {}
        for name, count in list(self.items()):
            # Looking is a step of the count as well.
            looks = self._looks[name] = self._looks.get(name, 0) + 1
            found[name] = next(count) - looks + 1
        return {name: number for name, number in found.items() if number}


def _count_those_of_asyncio(engine: Engine, counts: _Counts) -> None:
    """Has an engine count the calls that it takes together, which come by no method of the proxy."""
    begin_all = type(engine).begin_all

    def counted(self: Engine, calls: Sequence[Call]) -> Any:
        for each in calls:
            if type(each.what) is Method:
                next(counts[each.what.name])
        return begin_all(self, calls)

    _give_class(engine, {"begin_all": counted})


def _give_class(engine: Any, members: dict[str, Any]) -> None:
    """Gives an engine a class of its own, with some methods in the place of those it has."""
    kind = type(engine)
    engine.__class__ = type(kind.__name__, (kind,), {"__slots__": (), "__doc__": kind.__doc__, **members})


def register(system: Any, registry: Any = None) -> Any:
    """Shows a system's figures to Prometheus. Returns the collector; its ``close()`` takes them back, which closing the system does by itself.

    ``registry`` is a ``prometheus_client.CollectorRegistry``; None: the one that ``prometheus_client`` shows by default. Each figure
    has the label ``system``, the directory. ``coopy_calls_total`` counts the calls of this process by method, those of asyncio among them;
    ``coopy_call_seconds`` times one call in 64 (`SAMPLED`) of each method until its caller is answered, so its count is no count of calls;
    reads are neither counted nor timed. docs/guides/metrics.md lists all.

    >>> from prometheus_client import CollectorRegistry, generate_latest
    >>> registry = CollectorRegistry()
    >>> collector = register(wiki, registry)
    >>> b"coopy_actions_total" in generate_latest(registry)
    True

    Objects of `coopy.objects` have figures of their own, with the calls of all of them by method.

    Raises `UsageError` if prometheus_client is not installed, if ``system`` is no system of this process, or is registered already.
    """
    try:
        client = importlib.import_module("prometheus_client")
    except ImportError:
        raise UsageError(
            "coopy.metrics.register() needs the package prometheus_client, which is not installed: pip install 'coopy[metrics]'. Nothing was changed."
        ) from None
    registry = client.REGISTRY if registry is None else registry
    if isinstance(system, Objects):
        return _OfObjects(system, importlib.import_module("prometheus_client.core"), registry)
    return Collector(control(system), client, registry)


class Collector:
    """The figures of one system, as prometheus_client asks for them. `register` makes it.

    >>> collector = register(wiki)
    >>> collector.close()
    """

    def __init__(self, controls: Control, client: Any, registry: Any) -> None:
        engine = _engine_of(controls)
        if engine in _registered:
            raise UsageError(
                f"{_name(controls)} is registered already. Nothing was changed. Close the first collector, or use it."
            )
        self._controls = controls
        self._core = client.core if hasattr(client, "core") else importlib.import_module("prometheus_client.core")
        self._registry = registry
        self._system = _name(controls)
        self._inner = client.CollectorRegistry(auto_describe=False)
        calls = client.Histogram(
            "coopy_call_seconds",
            f"How long a call took until its caller was answered; one in {SAMPLED} of each method is timed.",
            ["system", "method"],
            buckets=BUCKETS,
            registry=self._inner,
        )
        syncs = client.Histogram(
            "coopy_sync_seconds", "How long a sync of the disk took.", ["system"], buckets=BUCKETS, registry=self._inner
        )
        self._counts = _Counts()
        self._calls = calls
        self._took: deque[tuple[str, float]] = deque(maxlen=TIMES_MAX)
        how = Measure(self._counts.__getitem__, SAMPLED - 1, self._took)
        measure(controls.system, how)
        _count_those_of_asyncio(engine, self._counts)
        log = engine.log
        if hasattr(log, "timed"):
            log.timed = syncs.labels(self._system).observe
        _registered.add(engine)
        registry.register(self)
        controls.before_closing(self.close)

    def close(self) -> None:
        """Shows the figures no more. The second time it does nothing."""
        engine = _engine_of(self._controls)
        if engine in _registered:
            _registered.discard(engine)
            self._registry.unregister(self)

    def describe(self) -> list[Any]:
        """Returns no description: what there is shows when it is asked for, and several systems have the same figures."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yields the families of figures, as they are now."""
        took = self._took
        for _ in range(len(took)):
            name, seconds = took.popleft()
            self._calls.labels(self._system, name).observe(seconds)
        yield from self._inner.collect()
        families = self._core
        calls = families.CounterMetricFamily("coopy_calls", "Calls of this process, by method.", labels=["system", "method"])
        for name, number in self._counts.calls().items():
            calls.add_metric([self._system, name], number)
        yield calls
        for name, kind, about, value in figures(self._controls):
            if value is not None:
                family = getattr(families, f"{kind}MetricFamily")(name, about, labels=["system"])
                family.add_metric([self._system], value)
                yield family


class _OfObjects:
    """The figures of many objects, as prometheus_client asks for them. `register` makes it."""

    def __init__(self, objects: Objects[Any], core: Any, registry: Any) -> None:
        engine = objects.engine
        if engine in _registered:
            raise UsageError(f"{objects!r} are registered already. Nothing was changed. Close the first collector, or use it.")
        self._objects = objects
        self._core = core
        self._registry = registry
        self._counts = counts = _Counts()
        run = type(engine)._do

        def counted(self: Any, kind: Any, key: bytes, method: Method, *rest: Any) -> Any:
            next(counts[method.name])
            return run(self, kind, key, method, *rest)

        _give_class(engine, {"_do": counted})
        _registered.add(engine)
        registry.register(self)

    def close(self) -> None:
        """Shows the figures no more. The second time it does nothing."""
        if self._objects.engine in _registered:
            _registered.discard(self._objects.engine)
            self._registry.unregister(self)

    def describe(self) -> list[Any]:
        """Returns no description, as `Collector.describe` does."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yields the families of figures, as they are now."""
        families, name = self._core, self._objects.name
        calls = families.CounterMetricFamily("coopy_calls", "Calls of all objects, by method.", labels=["system", "method"])
        for method, number in self._counts.calls().items():
            calls.add_metric([name, method], number)
        yield calls
        for figure, kind, about, value in self._objects.figures():
            family = getattr(families, f"{kind}MetricFamily")(figure, about, labels=["system"])
            family.add_metric([name], value)
            yield family


_registered: weakref.WeakSet[Any] = weakref.WeakSet()


def figures(system: Any) -> list[tuple[str, str, str, float | None]]:
    """Returns what a system, or its `Control`, knows of itself: name, "Counter" or "Gauge", what it means, and the value; None if it is not known.

    >>> [value for name, _, _, value in figures(wiki) if name == "coopy_actions"]
    [3]
    """
    if isinstance(system, Objects):
        return system.figures()
    controls = system if isinstance(system, Control) else control(system)
    status = {} if controls.closed else controls.status()
    engine = _engine_of(controls)
    snapshot = status.get("snapshot") or {}
    check = status.get("self_check") or {}
    keeping = getattr(controls._system, "keeping", None)
    found: list[tuple[str, str, str, float | None]] = [
        ("coopy_open", "Gauge", "1 while the system takes calls.", int(not controls.closed)),
        ("coopy_actions", "Counter", "Index of the last recorded action.", engine.log.last),
        ("coopy_durable_actions", "Counter", "Index up to which the actions are on the disk.", engine.log.synced),
        (
            "coopy_not_durable",
            "Gauge",
            "Recorded actions that are not on the disk yet.",
            max(0, engine.log.last - engine.log.synced),
        ),
        ("coopy_effects_waiting", "Gauge", "Effects of on_commit() that are not carried out yet.", len(controls.effects)),
        ("coopy_uptime_seconds", "Gauge", "How long the system has been open.", status.get("uptime")),
        ("coopy_snapshot_index", "Gauge", "Index of the newest snapshot.", snapshot.get("index")),
        ("coopy_snapshot_bytes", "Gauge", "Size of the newest snapshot.", snapshot.get("bytes")),
        ("coopy_snapshot_seconds", "Gauge", "How long the newest snapshot took to write.", snapshot.get("seconds")),
        ("coopy_snapshot_age_seconds", "Gauge", "How old the newest snapshot is.", _age_s(snapshot.get("when"))),
        ("coopy_snapshot_failed", "Gauge", "1 if the last snapshot could not be taken.", int(bool(snapshot.get("problem")))),
        ("coopy_replay_seconds", "Gauge", "How long the last start replayed.", getattr(keeping, "acted_s", None)),
        ("coopy_diverged", "Gauge", "1 if replay was found to give another state.", int(bool(status.get("divergence")))),
        ("coopy_self_check_index", "Gauge", "Index up to which the state was compared with a replay.", check.get("last")),
    ]
    return found + _of_node(status)


def _of_node(status: dict[str, Any]) -> list[tuple[str, str, str, float | None]]:
    """What only a node of a cluster knows."""
    if "leader" not in status:
        return []
    position, end = status.get("position"), status.get("commit_idx")
    lag = end - position if position is not None and end is not None else None
    return [
        ("coopy_node_ready", "Gauge", "1 if the node is ready.", int(status.get("state") == "ready")),
        (
            "coopy_node_leads",
            "Gauge",
            "1 if this node leads.",
            int(bool(status["leader"]) and status["leader"] == status.get("self")),
        ),
        ("coopy_node_has_quorum", "Gauge", "1 if most nodes can be reached.", int(bool(status.get("has_quorum")))),
        ("coopy_node_partners", "Gauge", "The other nodes.", status.get("partner_nodes_count")),
        ("coopy_node_lag", "Gauge", "Messages of the line that are not applied here yet.", lag),
        ("coopy_node_line_bytes", "Gauge", "What the servers keep of the line.", status.get("log_bytes")),
    ]


def _age_s(when: str | None) -> float | None:
    if when is None:
        return None
    return max(0.0, (datetime.now(timezone.utc) - datetime.fromisoformat(when)).total_seconds())


def _name(controls: Control) -> str:
    """The directory; of a system in memory a name that says so."""
    return controls._system.basedir


def _engine_of(controls: Control) -> Engine:
    engine = controls._system.engine
    if not isinstance(engine, Engine):
        raise UsageError(
            f"{_name(controls)} is not kept by this process: what it does is measured where it is. Nothing was changed."
        )
    return engine


def health(system: Any) -> dict[str, Any]:
    """Returns whether a system is well: ``ok``, ``problems`` (sentences), and ``index``. For a ``/healthz`` of any framework.

    >>> @app.get("/healthz")
    ... def healthz(response: Response):
    ...     said = coopy.metrics.health(wiki)
    ...     response.status_code = 200 if said["ok"] else 503
    ...     return said

    Objects of `coopy.objects` are not well while one is quarantined.
    """
    if isinstance(system, Objects):
        told = [str(error) for error in system.quarantined().values()]
        return {"ok": not told, "problems": told, "index": system.status()["last"]}
    controls = system if isinstance(system, Control) else control(system)
    problems = []
    if controls.closed:
        problems.append("the system is closed")
    else:
        status = controls.status()
        if status.get("divergence"):
            problems.append(f"replay gives another state than this one: {status['divergence']}")
        if (status.get("snapshot") or {}).get("problem"):
            problems.append(f"the last snapshot was not taken: {status['snapshot']['problem']}")
        if status.get("state", "ready") != "ready":
            problems.append(f"the node is {status['state']}: {status.get('problem') or 'see its log'}")
    return {"ok": not problems, "problems": problems, "index": controls.index}


def trace(system: Any, provider: Any = None) -> None:
    """Has each recorded call of a system make a span of OpenTelemetry, from when it is made until its caller is answered.

    ``provider`` is a tracer provider; None: the program's own. A span is called "Wiki.create_page", has the attributes ``code.function.name``,
    ``coopy.basedir`` and ``coopy.index`` (of the last action when it was answered), and says what the call raised. Replay makes none, nor
    do reads, nor calls of asyncio, which are taken together. It lasts until the system is closed. Arguments are not told.

    >>> coopy.metrics.trace(wiki)

    Raises `UsageError` if opentelemetry-api is not installed, or ``system`` is no system of this process.
    """
    try:
        api = importlib.import_module("opentelemetry.trace")
    except ImportError:
        raise UsageError(
            "coopy.metrics.trace() needs the package opentelemetry-api, which is not installed: pip install 'coopy[tracing]'. Nothing was changed."
        ) from None
    controls = control(system)
    engine = _engine_of(controls)
    tracer = api.get_tracer("coopy", tracer_provider=provider)
    plain_call = type(engine).call
    kind, basedir = type(engine.machine.domain).__qualname__, _name(controls)
    start = partial(tracer.start_as_current_span, record_exception=True, set_status_on_exception=True)

    def call(self: Engine, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        name = f"{kind}.{method.name}"
        with start(name, attributes={"code.function.name": name, "coopy.basedir": basedir}) as span:
            result = plain_call(self, method, args, kwargs, wait)
            span.set_attribute("coopy.index", self.log.last)
            return result

    _give_class(engine, {"call": call})


def drop_replayed(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drops, as a processor of structlog, what a method says while it is replayed; `coopy.LiveOnly` does so for logging.

    >>> structlog.configure(processors=[coopy.metrics.drop_replayed, structlog.dev.ConsoleRenderer()])
    """
    if replaying():
        raise importlib.import_module("structlog").DropEvent
    return event


def sentry_event(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any] | None:
    """Adds the open systems to an event of Sentry, and drops what is raised while actions are replayed: for ``before_send``.

    >>> sentry_sdk.init(before_send=coopy.metrics.sentry_event)
    """
    if replaying():
        return None
    systems = {_name(each): {"index": each.index, "durable": each.durable} for each in opened()}
    event.setdefault("contexts", {})["coopy"] = systems
    return event
