"""As PySyncObj's example `lock`: locks of ones own on a SyncObj, which a thread prolongs, and a shell with acquire, release and check."""

import sys
import threading
import time
import weakref

from coopy.compat.pysyncobj import SyncObj, replicated


class LockImpl(SyncObj):
    def __init__(self, selfAddress, partnerAddrs, autoUnlockTime):
        super().__init__(selfAddress, partnerAddrs)
        self.__locks = {}
        self.__autoUnlockTime = autoUnlockTime

    @replicated
    def acquire(self, lockPath, clientID, currentTime):
        existing = self.__locks.get(lockPath, None)
        if existing is not None and currentTime - existing[1] > self.__autoUnlockTime:
            existing = None
        if existing is None or existing[0] == clientID:
            self.__locks[lockPath] = (clientID, currentTime)
            return True
        return False

    @replicated
    def ping(self, clientID, currentTime):
        for lockPath in list(self.__locks):
            holder, since = self.__locks[lockPath]
            if currentTime - since > self.__autoUnlockTime:
                del self.__locks[lockPath]
            elif holder == clientID:
                self.__locks[lockPath] = (clientID, currentTime)

    @replicated
    def release(self, lockPath, clientID):
        existing = self.__locks.get(lockPath, None)
        if existing is not None and existing[0] == clientID:
            del self.__locks[lockPath]

    def isAcquired(self, lockPath, clientID, currentTime):
        existing = self.__locks.get(lockPath, None)
        return existing is not None and existing[0] == clientID and currentTime - existing[1] < self.__autoUnlockTime


class Lock:
    def __init__(self, selfAddress, partnerAddrs, autoUnlockTime):
        self.__lockImpl = LockImpl(selfAddress, partnerAddrs, autoUnlockTime)
        self.__selfID = selfAddress
        self.__autoUnlockTime = autoUnlockTime
        self.__mainThread = threading.current_thread()
        self.__initialised = threading.Event()
        self.__thread = threading.Thread(target=Lock._autoAcquireThread, args=(weakref.proxy(self),))
        self.__thread.start()
        while not self.__initialised.is_set():
            pass

    def _autoAcquireThread(self):
        self.__initialised.set()
        try:
            while self.__mainThread.is_alive():
                time.sleep(float(self.__autoUnlockTime) / 4.0)
                if self.__lockImpl._getLeader() is not None:
                    self.__lockImpl.ping(self.__selfID, time.time())
        except ReferenceError:
            pass

    def tryAcquireLock(self, path):
        return self.__lockImpl.acquire(path, self.__selfID, time.time(), sync=True)

    def isAcquired(self, path):
        return self.__lockImpl.isAcquired(path, self.__selfID, time.time())

    def release(self, path):
        self.__lockImpl.release(path, self.__selfID, sync=True)

    def printStatus(self):
        self.__lockImpl._printStatus()


def main():
    lock = Lock(sys.argv[1], sys.argv[2:], 10.0)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "acquire":
            print("acquired" if lock.tryAcquireLock(words[1]) else "failed", flush=True)
        elif words[0] == "release":
            lock.release(words[1])
            print("released", flush=True)
        elif words[0] == "check":
            print("acquired" if lock.isAcquired(words[1]) else "not acquired", flush=True)
        else:
            lock.printStatus()


if __name__ == "__main__":
    main()
