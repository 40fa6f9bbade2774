"""A connection to the process that writes, of which the other side is played."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from coopy.replication import parcels
from coopy.replication.caller import Channel, Lost
from coopy.replication.local import Listening
from coopy.replication.parcels import Parcel, Splitter, pack

ONE = bytes(range(8))


def test_news_that_come_with_the_welcome_are_received_after_it(tmp_path: Path) -> None:
    """A worker that begins while others write is welcomed and told news at the same moment."""
    listening = Listening(str(tmp_path))
    listening.socket.setblocking(True)

    def welcome() -> None:
        connection = listening.socket.accept()[0]
        with connection:
            Splitter().split(connection.recv(1000))
            connection.sendall(b"".join(pack(*each) for each in SENT))

    other = threading.Thread(target=welcome)
    other.start()
    with Channel(str(tmp_path), listening.name, ONE, b"NN", 10) as channel:
        assert (channel.welcome.kind, channel.welcome.position) == (parcels.WELCOME, 5)
        heard: list[Parcel] = []
        with contextlib.suppress(Lost):
            heard = channel.receive()
        assert [(each.kind, each.position) for each in heard] == [(parcels.NEWS, 6), (parcels.NEWS, 7)]
    other.join()
    listening.close()


SENT = [(parcels.WELCOME, 0, 5, b"NN"), (parcels.NEWS, 0, 6, b"NN"), (parcels.NEWS, 0, 7, b"NN")]
