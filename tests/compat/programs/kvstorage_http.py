"""As PySyncObj's example `kvstorage_http`: each node serves GET and POST of JSON, and keeps a dump."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from coopy.compat.pysyncobj import SyncObj, SyncObjConf, replicated


class KVStorage(SyncObj):
    def __init__(self, selfAddress, partnerAddrs, dumpFile):
        conf = SyncObjConf(fullDumpFile=dumpFile)
        super().__init__(selfAddress, partnerAddrs, conf)
        self.__data = {}

    @replicated
    def set(self, key, value):
        self.__data[key] = value

    @replicated
    def pop(self, key):
        self.__data.pop(key, None)

    def get(self, key):
        return self.__data.get(key, None)


_g_kvstorage = None


class KVRequestHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        value = _g_kvstorage.get(self.path)
        if value is None:
            self.send_response(404)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-type", "text/plain")
        self.end_headers()
        self.wfile.write(value.encode("utf-8"))

    def do_POST(self):
        value = self.rfile.read(int(self.headers.get("content-length"))).decode("utf-8")
        _g_kvstorage.set(self.path, value, sync=True)
        self.send_response(201)
        self.end_headers()
        self.wfile.write(json.dumps(_g_kvstorage.isReady()).encode("utf-8"))

    def log_message(self, *args):
        pass


def main():
    httpPort, dumpFile, selfAddr, partners = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
    global _g_kvstorage
    _g_kvstorage = KVStorage(selfAddr, partners, dumpFile)
    httpServer = HTTPServer(("127.0.0.1", httpPort), KVRequestHandler)
    print("serving", flush=True)
    httpServer.serve_forever()


if __name__ == "__main__":
    main()
