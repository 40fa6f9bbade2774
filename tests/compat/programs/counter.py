"""As PySyncObj's example `counter`: nodes that count together, and print what callbacks are told."""

import sys
import time
from functools import partial

from coopy.compat.pysyncobj import SyncObj, replicated


class TestObj(SyncObj):
    def __init__(self, selfNodeAddr, otherNodeAddrs):
        super().__init__(selfNodeAddr, otherNodeAddrs)
        self.__counter = 0

    @replicated
    def incCounter(self):
        self.__counter += 1
        return self.__counter

    @replicated
    def addValue(self, value, cn):
        self.__counter += value
        return self.__counter, cn

    def getCounter(self):
        return self.__counter


def onAdd(result, error, number):
    # In one piece: another thread prints too.
    sys.stdout.write(f"added {number} {result} {error}\n")
    sys.stdout.flush()


def main():
    port, rounds = int(sys.argv[1]), int(sys.argv[-1])
    partners = [f"localhost:{int(each)}" for each in sys.argv[2:-1]]
    counter = TestObj(f"localhost:{port}", partners)
    number, before = 0, -1
    while True:
        time.sleep(0.02)
        if counter.getCounter() != before:
            before = counter.getCounter()
            sys.stdout.write(f"counter {before}\n")
            sys.stdout.flush()
        if counter._getLeader() is None:
            continue
        if number < rounds:
            counter.addValue(10, number, callback=partial(onAdd, number=number))
            number += 1


if __name__ == "__main__":
    main()
