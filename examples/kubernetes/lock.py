"""Two of these take turns: the program of lock.yaml.

    python lock.py [SECONDS]

It asks the elector at ELECTOR, by default the one beside it at http://localhost:13131.
"""

from __future__ import annotations

import os
import sys
import time

from coopy.compat.metaparticle import BASE_URI, Lock


def main() -> None:
    lock = Lock("test", os.environ.get("ELECTOR", BASE_URI))
    lock.acquire()
    print("I have the lock!", flush=True)
    time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 30)
    lock.release()
    print("I have released it.", flush=True)


if __name__ == "__main__":
    main()
