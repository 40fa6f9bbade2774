"""Calls the system that pyro_server.py serves.

python examples/pyro_client.py [address]
"""

from __future__ import annotations

import sys

try:
    import Pyro5.api
except ImportError:
    sys.exit("This example needs Pyro5. Install it with: pip install Pyro5")

ADDRESS = "PYRO:wiki@127.0.0.1:5460"


def main(address: str) -> None:
    with Pyro5.api.Proxy(address) as wiki:
        print(f"pages: {wiki.create_page('Home', 'Welcome')}")
        print(f"Home: {wiki.page('Home')}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ADDRESS)
