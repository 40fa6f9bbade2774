"""A server that speaks S3, on loopback: localbucket, a package of PyPI, which keeps objects as files, so that they outlive a kill.

    python tests/s3.py DIRECTORY PORT

It lacks one request that object stores get to remove objects, DeleteObjects; that is added here. A port of 0 is any; the first line printed is the one.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUCKET = "bucket"
_XMLNS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Server:
    """The server as a process, which can be killed and started again at its port with what it had."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / BUCKET).mkdir(parents=True)
        self.port = 0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.directory), str(self.port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def objects(self) -> dict[str, Path]:
        """The files of the objects in the bucket, by name."""
        found = (path for path in (self.directory / BUCKET).rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.directory / BUCKET)): path for path in found}


@contextmanager
def server(directory: Path) -> Iterator[Server]:
    """A server that is killed at the end."""
    made = Server(directory)
    try:
        yield made
    finally:
        made.kill()


def main() -> None:
    """Serves until it is killed."""
    from localbucket import S3Handler

    class Handler(S3Handler):  # type: ignore[misc]
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _post_request(self, bucket: str, key: str) -> None:
            if "delete" not in self.query or key:
                super()._post_request(bucket, key)
                return
            root = ET.fromstring(self._read_body())
            answer = ET.Element("DeleteResult", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
            for each in root.iter():
                if each.tag.removeprefix(_XMLNS) == "Key":
                    self._object_path(bucket, each.text or "").unlink(missing_ok=True)
                    ET.SubElement(ET.SubElement(answer, "Deleted"), "Key").text = each.text
            self._send_xml(answer)

    Handler.data_root = Path(sys.argv[1])
    Handler.protocol_version = "HTTP/1.1"
    # An answer is one packet: the second of two waits for the acknowledgement of the first, 40 ms.
    Handler.wbufsize = 1 << 20
    served = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
    print(served.server_port, flush=True)
    served.serve_forever()


if __name__ == "__main__":
    main()
