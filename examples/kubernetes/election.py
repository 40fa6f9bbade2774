"""Of three of these one is the master, and another after it: the program of election.yaml.

    python election.py [SHARD]

It asks the elector at ELECTOR, by default the one beside it at http://localhost:13131, and resigns at SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from coopy.compat.metaparticle import BASE_URI, Election


def master_fn() -> None:
    print("I am the master", flush=True)


def lost_master_fn() -> None:
    print("I lost the master", flush=True)


def main() -> None:
    election = Election(
        sys.argv[1] if len(sys.argv) > 1 else "test", master_fn, lost_master_fn, os.environ.get("ELECTOR", BASE_URI)
    )
    # In another thread: the handler runs in the midst of whatever this one does, and might wait for what it holds.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=election.shutdown).start())
    print("I stand for election", flush=True)
    election.run()


if __name__ == "__main__":
    main()
