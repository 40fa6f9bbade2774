"""As PySyncObj's example `kvstorage`: a shell with `set key value`, `get key` and `pop key`."""

import sys

from coopy.compat.pysyncobj import SyncObj, SyncObjConf, replicated


class KVStorage(SyncObj):
    def __init__(self, selfAddress, partnerAddrs):
        cfg = SyncObjConf(dynamicMembershipChange=True)
        super().__init__(selfAddress, partnerAddrs, cfg)
        self.__data = {}

    @replicated
    def set(self, key, value):
        self.__data[key] = value

    @replicated
    def pop(self, key):
        self.__data.pop(key, None)

    def get(self, key):
        return self.__data.get(key, None)


def main():
    storage = KVStorage(sys.argv[1], sys.argv[2:])
    while True:
        line = sys.stdin.readline()
        if not line:
            break
        words = line.split()
        if words[0] == "set":
            storage.set(words[1], words[2])
        elif words[0] == "get":
            print(storage.get(words[1]), flush=True)
        elif words[0] == "pop":
            print(storage.pop(words[1]), flush=True)
        elif words[0] == "leader":
            print(storage._getLeader(), flush=True)
        else:
            print("wrong command", flush=True)


if __name__ == "__main__":
    main()
