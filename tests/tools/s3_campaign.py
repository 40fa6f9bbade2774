"""A backup in an object store, followed while everything is killed: what comes back is what was there.

    python tests/tools/s3_campaign.py [--seconds N] [--seed N]

One process writes to a system, notes the digest of its state now and then, takes snapshots and prunes; `coopy backup --follow` keeps a backup up to date;
a server of PyPI speaks S3. Each of the three is killed with -9 at random moments, and started again. At the end the backup is brought up to date, and at ten
random moments of those noted, the last among them, a directory is made of the backup. Its state must have the digest that was noted.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import s3

import coopy
from coopy import control, init_system
from coopy.tools.fetching import fetch

MOMENTS = 10
KEYS = 500  # The state does not grow for ever.
PAUSE_S = 0.02
"""Of the writer, between twenty calls: some 500 calls a second."""
DIGESTS, SNAPSHOTS, PRUNES = 0.2, 0.004, 0.002
"""How often of such times a digest is noted, a snapshot is taken, and the past is pruned."""
KEEP = 20
"""Snapshots that stay: the past of 100 s or so, longer than any of the kills takes the backup away."""
EVERY = "0.2s"


class Shelf:
    """The domain."""

    def __init__(self) -> None:
        self.things: dict[int, Any] = {}
        self.number = 0

    def put(self, thing: Any) -> None:
        self.number += 1
        self.things[self.number % KEYS] = (self.number, thing)


def writes(directory: str, noted: str, seed: int) -> None:
    """The process that writes, until it is killed."""
    chance = random.Random(seed)
    from s3_campaign import Shelf as shelf  # By the name of its module, not of this program.

    system = init_system(shelf, directory, durability="buffered", segment_bytes=1 << 20)
    controls = control(system)
    with open(noted, "a", buffering=1) as notes:
        while True:
            for _ in range(20):
                system.put(chance.randbytes(chance.randrange(400)))
            if chance.random() < DIGESTS:
                notes.write("{} {}\n".format(*controls.state_digest()))
            if chance.random() < SNAPSHOTS:
                controls.take_snapshot()
            if chance.random() < PRUNES:
                controls.prune(keep=KEEP)
            time.sleep(PAUSE_S)


class Campaign:
    """The three processes."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.data, self.noted = folder / "data", folder / "noted"
        self.url = f"s3://{s3.BUCKET}/shelf"
        self.noted.touch()
        self.server = s3.Server(folder / "objects")
        self.environment = {**os.environ, **self.server.environment, "PYTHONPATH": os.pathsep.join(sys.path[:2])}
        self.said = open(folder / "said", "a+b")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills = dict.fromkeys(("writer", "backup", "server"), 0)
        self.start("writer")
        while len(self.moments()) < 2:
            time.sleep(0.05)
        self.start("backup")
        while not any(name.startswith("shelf/catalogs/") for name in self.server.objects()):
            time.sleep(0.05)

    def start(self, which: str) -> None:
        if which == "server":
            self.server.start()
            return
        words = ["-m", "coopy", "-q", "backup", str(self.data), self.url, "--follow", "--every", EVERY]
        if which == "writer":
            words = [__file__, "--write", str(self.data), str(self.noted), "--seed", str(self.chance.randrange(10**6))]
        self.processes[which] = subprocess.Popen(
            [sys.executable, *words], env=self.environment, stdout=self.said, stderr=self.said
        )

    def kill(self, which: str) -> None:
        if which == "server":
            self.server.kill()
        elif which in self.processes:
            self.processes[which].kill()
            self.processes.pop(which).wait()

    def moments(self) -> list[tuple[int, str]]:
        """The digests that were noted."""
        lines = self.noted.read_text().split("\n")[:-1]
        return [(int(index), digest) for index, digest in (line.split() for line in lines)]

    def round(self, pause_s: float) -> None:
        """Kills one or two of them, at some moment, and starts them again a moment later."""
        time.sleep(self.chance.uniform(0, pause_s))
        gone = self.chance.sample(list(self.kills), self.chance.choice((1, 1, 2)))
        for each in gone:
            self.kill(each)
            self.kills[each] += 1
        time.sleep(self.chance.uniform(0, pause_s / 2))
        for each in gone:
            self.start(each)
        process = self.processes["backup"]
        if process.poll() is not None:
            # It found no server when it began; whoever supervises it starts it again.
            self.kill("backup")
            self.start("backup")

    def finish(self, moments: int) -> list[int]:
        """Brings the backup up to date, and compares; returns the indexes."""
        for each in ("writer", "backup"):
            self.kill(each)
        words = [sys.executable, "-m", "coopy", "-q", "backup", str(self.data), self.url]
        subprocess.run(words, env=self.environment, check=True, stdout=self.said)
        noted = self.moments()
        chosen = sorted({*self.chance.sample(noted, min(moments - 1, len(noted))), noted[-1]})
        os.environ.update(self.server.environment)
        for index, digest in chosen:
            dest = self.data.with_name(f"back-{index}")
            done = fetch(self.url, str(dest), until=index)
            assert done.index == index, f"action {index} was wanted, and {done.index} came back"
            with control(init_system(Shelf, dest, validation="off")) as controls:
                found = controls.state_digest()
            assert found == (index, digest), f"after action {index} the digest was {digest}, and is {found}"
        dest = self.data.with_name("back-all")
        fetch(self.url, str(dest))
        from coopy.tools.contents import contents

        assert contents(str(dest)).last == contents(str(self.data)).last
        return [index for index, _ in chosen]

    def close(self) -> None:
        for each in ("writer", "backup", "server"):
            self.kill(each)
        self.said.close()


def main() -> None:
    """Runs the campaign."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        writes(*asked.write, asked.seed)
    print(f"seed {asked.seed}, {asked.seconds:g} s, coopy {coopy.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), asked.seed)
        try:
            until = time.monotonic() + asked.seconds
            while time.monotonic() < until:
                campaign.round(5)
            indexes = campaign.finish(MOMENTS)
            kills = ", ".join(f"{number} of the {each}" for each, number in campaign.kills.items())
            print(f"kills: {kills}; the digests are equal after the actions {', '.join(map(str, indexes))}")
        except BaseException:
            campaign.said.seek(0)
            sys.stderr.write(campaign.said.read()[-5000:].decode(errors="replace"))
            raise
        finally:
            campaign.close()


if __name__ == "__main__":
    main()
