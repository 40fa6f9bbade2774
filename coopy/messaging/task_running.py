"""One call of a task, in whatever thread, child process or event loop: finding its function, calling it, and saying what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from coopy import EncodingError
from coopy.messaging.task_calls import attempted, found, name_of, packed, packed_error, unpacked_call
from coopy.messaging.task_errors import DeadlinePassed, TaskCancelled
from coopy.messaging.task_policy import Defined, Policy
from coopy.messaging.task_records import BACK, CRASHED, FAILED, FINISHED, STOPPED, Claim
from coopy.messaging.task_run import TaskRun, running

Said = tuple[Any, ...]
"""What a worker says of a task: a `coopy.messaging.task_records.Outcome`, without the defaults at its end."""
_POLICY = Policy()


def resolved(defined: Mapping[str, Defined], name: str) -> tuple[Callable[..., Any], Policy]:
    """Returns the function of a task, and what is said of it. Raises LookupError, and what importing its module raises."""
    thing = defined.get(name) or found(name)
    return (thing.function, thing.policy) if isinstance(thing, Defined) else (thing, _POLICY)


def reference(defined: Mapping[str, Defined], name: str) -> str:
    """Returns the name by which another process finds the function of a task."""
    thing = defined.get(name)
    return name if thing is None else name_of(thing.function)


def ended(claim: Claim, run: TaskRun, defined: Mapping[str, Defined], name: str) -> Said:
    """Calls the function of a task in this thread, and returns what came of it."""
    policies: list[Policy] = []

    def called() -> bytes | None:
        function, policy = resolved(defined, name)
        policies.append(policy)
        args, kwargs = unpacked_call(claim.payload)
        value = function(*args, **kwargs)
        if isinstance(value, Coroutine):
            value = asyncio.run(value)
        return None if value is None else packed(value)

    token = running(run)
    try:
        value, error = attempted(called)
    finally:
        token.var.reset(token)
    return said(claim, run, policies[0] if policies else _POLICY, value, error)


async def ended_in_loop(claim: Claim, run: TaskRun, defined: Mapping[str, Defined]) -> Said:
    """Calls the function of a task in this event loop, or in a thread if it is none of asyncio, and returns what came of it."""
    running(run)
    there, problem = attempted(resolved, defined, claim.name)
    if problem is not None:
        return said(claim, run, _POLICY, None, problem)
    function, policy = there
    inner = asyncio.ensure_future(_called_in_loop(function, claim))
    is_to_end = False
    try:
        await asyncio.wait([inner])
    except asyncio.CancelledError:
        is_to_end = inner.cancel()
        await asyncio.wait([inner])
    if inner.cancelled():
        return cancelled(claim, run) if is_to_end else said(claim, run, policy, None, asyncio.CancelledError())
    value, error = (None, inner.exception()) if inner.exception() is not None else inner.result()
    return said(claim, run, policy, value, error)


async def _called_in_loop(function: Callable[..., Any], claim: Claim) -> tuple[bytes | None, BaseException | None]:
    args, kwargs = unpacked_call(claim.payload)
    try:
        if asyncio.iscoroutinefunction(function):
            value = await function(*args, **kwargs)
        else:
            # A future can't have each exception, as StopIteration, but it can be told of each.
            value, error = await asyncio.to_thread(attempted, function, *args, **kwargs)
            if error is not None:
                return None, error
    except SystemExit as error:  # It would end the loop, and so all other tasks.
        return None, error
    return None if value is None else packed(value), None


def said(claim: Claim, run: TaskRun, policy: Policy, value: bytes | None, error: BaseException | None) -> Said:
    """Returns what is said of a task that has ended."""
    if error is None:
        return (claim.id, claim.token, FINISHED, value) if value is not None else (claim.id, claim.token, FINISHED)
    if isinstance(error, TaskCancelled) and run.cancelled:
        return stopped(claim, run)
    if isinstance(error, DeadlinePassed):
        return claim.id, claim.token, FAILED, packed_error(error), -1.0
    retry_s, problem = attempted(policy.retry_after, error, claim.failures + 1)
    # A back-off of the user's that raises is no reason to try for ever.
    return claim.id, claim.token, FAILED, packed_error(problem or error), -1.0 if problem else retry_s


def failed(claim: Claim, run: TaskRun, error: BaseException) -> Said:
    """Returns what is said of a task that can't run here, as for another one that has raised, and knows of no policy."""
    return said(claim, run, _POLICY, None, error)


def without_largest(outcomes: list[Said], error: EncodingError) -> list[Said]:
    """Returns what is said of several tasks, which is too large to be recorded: of the largest one, that it has failed for that."""
    place = max(range(len(outcomes)), key=lambda place: len(packed(outcomes[place])))
    number, token, *_ = outcomes[place]
    why = EncodingError(f"what task {number} has returned or raised is too large to be recorded: {error}")
    return [*outcomes[:place], (number, token, FAILED, packed_error(why), -1.0), *outcomes[place + 1 :]]


def cancelled(claim: Claim, run: TaskRun) -> Said:
    """Returns what is said of a task of an event loop that was cancelled: either it was to stop, or its worker is, and it is another one's."""
    return stopped(claim, run) if run.cancelled else (claim.id, claim.token, BACK)


def stopped(claim: Claim, run: TaskRun) -> Said:
    """Returns what is said of a task that was asked to stop, and has."""
    left_s = run.seconds_left
    if left_s is not None and left_s <= 0:
        return claim.id, claim.token, FAILED, packed_error(DeadlinePassed(f"task {claim.id} has not ended in time")), -1.0
    return claim.id, claim.token, STOPPED


def crashed(claim: Claim, run: TaskRun, why: str) -> Said:
    """Returns what is said of a task whose process has ended; of one that was to stop, that it has."""
    return stopped(claim, run) if run.cancelled else (claim.id, claim.token, CRASHED, why)
