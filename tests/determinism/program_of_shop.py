"""A program that uses the shop of `domain` as a system. Needs nothing but coopy."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contextlib

from determinism.domain import Shop

from coopy import control, init_system, replay


def main(verb: str, directory: str) -> None:
    if verb == "replay":
        print(replay(Shop, directory).state())
        return
    with init_system(Shop, directory, deterministic=True if verb == "write" else None) as shop:  # type: ignore[attr-defined]
        if verb == "write":
            random.random()
            shop.sell("tea")
            shop.look()
            control(shop).take_snapshot()
            shop.sell("milk")
            random.seed(4)
            with contextlib.suppress(ValueError):
                shop.fail()
            list(shop.each())
            shop.look()
        print(shop.state())


if __name__ == "__main__":
    main(*sys.argv[1:])
