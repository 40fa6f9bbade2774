"""The consumers that replicas ask for. Runs in a node, since a replica can't ask the server (see `configuration`).

A consumer delivers under the authority of the nodes' account, to the subject its maker has named. So of what
a replica asks only these things are taken over, each checked: where to begin, which subjects, headers only or not,
flow control, and the subject to deliver to, which must be an inbox of a replica. Everything else is
the same for all: acknowledged by nobody, in memory, without a name of its own (a name could be that of a consumer that
is there already), gone a minute after the last who listened.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from coopy.network.configuration import REPLICA_INBOX, gate_subject, streams

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

REQUEST_BYTES_MAX = 16 << 10
INACTIVE_S = 60
_NS = 1_000_000_000
_WAIT_S = 5.0
_INBOX = re.compile(re.escape(REPLICA_INBOX) + r"(?:\.[A-Za-z0-9_-]+)+")
_BEGIN = {"all", "last", "new", "last_per_subject", "by_start_sequence", "by_start_time"}
_SAME = {
    "ack_policy": "none",
    "max_deliver": 1,
    "mem_storage": True,
    "num_replicas": 1,
    "replay_policy": "instant",
    "inactive_threshold": INACTIVE_S * _NS,
}


async def serve(connection: Client, subject: str) -> Subscription:
    """Answers replicas until the subscription or the connection, which is one of user "node", is closed.

    Of several nodes that serve one answers each. ``subject``: of the system, "coopy.<id>".
    """
    allowed = streams(subject)
    prefix = gate_subject(subject) + "."

    async def answer(request: Msg) -> None:
        import nats.errors

        stream = request.subject[len(prefix) :]
        try:
            config = consumer(request.data) if stream in allowed else None
            if config is None:
                reply = _refusal(403, "a replica may not have such a consumer")
            else:
                asked = json.dumps({"stream_name": stream, "config": config}).encode()
                made = await connection.request(f"$JS.API.CONSUMER.CREATE.{stream}", asked, timeout=_WAIT_S)
                reply = made.data
        except nats.errors.Error as error:
            reply = _refusal(503, f"{type(error).__name__}: {error}")
        if request.reply:
            await connection.publish(request.reply, reply)

    return await connection.subscribe(prefix + "*", queue="gate", cb=answer)


def consumer(data: bytes) -> dict[str, Any] | None:
    """The consumer that is made for a request; None if it asks for what a replica may not have."""
    if len(data) > REQUEST_BYTES_MAX:
        return None
    try:
        request = json.loads(data)
        asked = request["config"]
        begin, inbox = asked.get("deliver_policy", "all"), asked["deliver_subject"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(begin, str) or begin not in _BEGIN or not isinstance(inbox, str) or not _INBOX.fullmatch(inbox):
        return None
    made = {**_SAME, "deliver_policy": begin, "deliver_subject": inbox}
    for name, kind in _TAKEN.items():
        value = asked.get(name)
        if value is None:
            continue
        if type(value) is not kind:
            return None
        made[name] = value
    return made


_TAKEN: dict[str, type] = {
    "opt_start_seq": int,
    "opt_start_time": str,
    "filter_subject": str,
    "headers_only": bool,
    "flow_control": bool,
    "idle_heartbeat": int,
}


def _refusal(code: int, why: str) -> bytes:
    return json.dumps(
        {
            "type": "io.nats.jetstream.api.v1.consumer_create_response",
            "error": {"code": code, "err_code": 0, "description": why},
        }
    ).encode()
