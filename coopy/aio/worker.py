"""The thread to which calls are queued, and the call that a task waits on.

Knows the loop and the engine, and neither the methods of a class nor how a system is opened. The ways of a call are told in
`coopy.aio`.
"""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Callable, Generator
from contextvars import Context
from functools import partial
from typing import Any, cast

from coopy import control
from coopy.errors import CoopyError, SystemClosed, UsageError, copy_of
from coopy.ground.raised import last_resort
from coopy.spine.calling import Calling, without_catching_frame
from coopy.spine.methods import Method

__coopy_inside__ = True  # See `coopy.spine.calling`.

OVERLAPPED_MIN = 16
"""So many calls at once are worth waking a second thread, that applies the next while the first waits for the disk.
With 50 tasks that is three times the calls."""


class Call:
    """A call on its way, and what its task waits on. One that has been answered is used again."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_loop",
        "_callback",
        "_context",
        "_worker",
        "cancelled",
        "what",
        "args",
        "kwargs",
        "value",
        "error",
    )

    _callback: Any
    _context: Any
    what: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: Any

    def __init__(self, worker: Worker) -> None:
        self._asyncio_future_blocking = True
        self._loop = worker.loop
        self._worker = worker
        self.cancelled: asyncio.CancelledError | None = None
        self.error: BaseException | None = None

    # -- what a task asks of a future

    def add_done_callback(self, callback: Callable[[Call], object], *, context: Context) -> None:
        self._callback = callback
        self._context = context
        # As `Worker.put`, without the call: this is the hot path.
        worker = self._worker
        worker.queue.append(self)
        if worker.asleep:
            worker.wake()

    def result(self) -> None:
        if self.cancelled is not None:
            raise self.cancelled

    def cancel(self, msg: object = None) -> bool:
        if self.cancelled is None:
            self.cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
            # If its turn has not come, there is nothing to call any more.
            self.what = None
            self._loop.call_soon(self._callback, self, context=self._context)
        return True

    def take_error(self) -> BaseException:
        """What was raised; the call is not used again."""
        error, self.error = self.error, None
        assert error is not None
        return without_catching_frame(error)

    def __repr__(self) -> str:
        name = self.what.name if isinstance(self.what, Method) else getattr(self.what, "__name__", "read")
        return f"<a call of {name}(), on a system that was opened in an event loop of its own>"


@types.coroutine
def answered(call: Call) -> Generator[Call, None, None]:
    """Gives a call to the task, which waits on it; what the task throws is raised here."""
    yield call


class Worker:
    """What calls are queued to: a thread, or two that take turns, and the way back to the loop."""

    basedir = ""
    system: Any = None
    refusal: BaseException | None = None
    """Set in the loop, once no more calls are taken."""

    def __init__(self, loop: asyncio.AbstractEventLoop, opens: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
        self.loop = loop
        self.opened: asyncio.Future[Any] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self.queue: list[Call | None] = []
        """Calls that wait; None to be noticed."""
        self.asleep = False
        """Whether a thread waits for the queue to be filled, and is to be woken."""
        self.pool: list[Call] = []
        self._bell = threading.Lock()
        self._bell.acquire()
        self._turn = threading.Lock()
        self._second: threading.Thread | None = None
        self._ending = False
        threading.Thread(target=self._work, args=(opens, self.opened), name="coopy calls", daemon=True).start()

    # -- in the loop

    async def close(self) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise UsageError(
                f"the system in {self.basedir} was opened in another event loop. Close it there; it is still open."
            )
        self.stop()
        await asyncio.shield(self._ended)
        self.pool.clear()

    def stop(self) -> None:
        """Takes no more calls. Lets the thread close the system, once it has done what waits."""
        if self.refusal is None:
            self.refusal = SystemClosed(f"the system in {self.basedir} is closed. Open it again to use it.")
        self.put(None)

    def put(self, call: Call | None) -> None:
        self.queue.append(call)
        if self.asleep:
            self.wake()

    def wake(self) -> None:
        """Wakes the thread that waits for the queue to be filled."""
        self.asleep = False
        try:
            self._bell.release()
        except RuntimeError:
            pass  # Somebody else has just woken it.

    def refuse(self) -> BaseException:
        """What to raise for a call that comes too late."""
        assert self.refusal is not None
        return copy_of(self.refusal)

    def _fail(self, cause: BaseException) -> None:
        if self.refusal is None:
            self.refusal = SystemClosed(f"the system in {self.basedir} takes no more calls: {cause}")
            self.refusal.__cause__ = cause

    def _deliver(self, batch: list[Call]) -> None:
        calls = iter(batch)
        try:
            for call in calls:
                if call.cancelled is None:
                    callback, context = call._callback, call._context
                    # A call that is used again must not keep the task and what it knows.
                    call._callback = call._context = None
                    context.run(callback, call)
        finally:
            # A task that ends the loop (SystemExit) keeps the others waiting until it runs again.
            rest = list(calls)
            if rest:
                self.loop.call_soon(self._deliver, rest)

    # -- in the threads

    def parts_of(self, system: Any) -> tuple[str, Any, Callable[[], object]]:
        """Returns the directory of what was opened, what takes its calls, and what closes it."""
        controls = control(system)
        # Not what the controls say: a system in memory has no directory, and refuses to name one.
        return controls._system.basedir, system._coopy_engine, controls.close

    def _work(self, opens: Callable[[asyncio.AbstractEventLoop], Any], opened: asyncio.Future[Any]) -> None:
        system = self._settle_with(opened, partial(self._open, opens))
        del opens, opened
        if system is None:
            return
        _, engine, close = self.parts_of(system)
        del system
        self._take_turns(engine)
        if self._second is not None:
            self._second.join()
        self._settle_with(self._ended, close)

    def _open(self, opens: Callable[[asyncio.AbstractEventLoop], Any]) -> Any:
        system = opens(self.loop)
        self.basedir, _, _ = self.parts_of(system)
        return system

    def _settle_with(self, future: asyncio.Future[Any], function: Callable[[], Any]) -> Any:
        """Gives the task that waits what a function returns, or has it raise what the function raises. Returns the same, or None."""
        try:
            value = function()
        except BaseException as error:  # Of whatever kind: the task waits for this thread.
            self._tell(_settle, future, None, error)
            del future, function  # This frame is in its traceback.
            return None
        self._tell(_settle, future, value, None)
        return value

    def _take_turns(self, engine: Calling) -> None:
        """Applies what waits and waits for the disk; while one thread waits, the other applies what has come since."""
        while True:
            with self._turn:
                if self._ending:
                    return
                batch = self._take()
                begun = engine.begin_all(batch)
                shared = len(batch) >= OVERLAPPED_MIN or bool(self.queue)
                if not shared:
                    # Waking the other would cost more than it gains.
                    self._finish(engine, begun, batch)
                elif self._second is None:
                    second = threading.Thread(target=self._take_turns, args=(engine,), name="coopy calls", daemon=True)
                    try:
                        second.start()
                    except RuntimeError:
                        pass  # One thread does the work of two, and asks again with the next batch.
                    else:
                        self._second = second
            if shared:
                self._finish(engine, begun, batch)
            # What was answered must not be kept while there is nothing to do.
            del batch, begun

    def _take(self) -> list[Call]:
        """The calls that wait; waits for one."""
        queue = self.queue
        while not queue:
            self.asleep = True
            # Whoever fills it now sees that somebody sleeps, and whoever did before is seen here.
            if not queue:
                self._bell.acquire()
            self.asleep = False
        batch = queue[:]
        del queue[: len(batch)]
        if self.refusal is not None and None in batch:
            # All that was put before it was stopped is in front of that.
            self._ending = True
            return [call for call in batch if call is not None]
        return cast("list[Call]", batch)

    def _finish(self, engine: Calling, begun: Any, batch: list[Call]) -> None:
        """Waits for the disk, and says so. If it fails, so does every call that could have been answered."""
        # Whatever the disk or a bug raises: tasks must not wait for ever.
        with last_resort(self._not_settled, batch):
            for settled in engine.settled(begun, batch):
                self._tell(self._deliver, settled)

    def _not_settled(self, failure: Exception, batch: list[Call]) -> None:
        for call in batch:
            if not isinstance(call.error, CoopyError):
                call.error = copy_of(failure)
        self._tell(self._fail, failure)
        self._tell(self._deliver, batch)

    def _tell(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
        return
    if isinstance(error, StopIteration):
        # A future can't raise it, nor can a coroutine: it means something to those who wait.
        error, cause = RuntimeError("StopIteration was raised"), error
        error.__cause__ = cause
    future.set_exception(error)
    future.exception()  # Closing is not always waited for.
