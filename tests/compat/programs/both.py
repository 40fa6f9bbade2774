"""What a program can see of PySyncObj: the same calls of the library that is named, and what came of them, as JSON."""

import importlib
import json
import sys
import time

library, port = sys.argv[1], int(sys.argv[2])
m = importlib.import_module(library)
b = m.batteries if library.startswith("coopy") else importlib.import_module(f"{library}.batteries")

told = []
counter, mapping, items, members = b.ReplCounter(), b.ReplDict(), b.ReplList(), b.ReplSet()
jobs, ranked = b.ReplQueue(2), b.ReplPriorityQueue(2)
conf = m.SyncObjConf(
    dynamicMembershipChange=True,
    onReady=lambda: told.append("ready"),
    onCodeVersionChanged=lambda before, after: told.append(["code", before, after]),
)


class Adder(m.SyncObj):
    def __init__(self):
        consumers = [counter, mapping, items, members, jobs, ranked]
        super().__init__(f"localhost:{port}", [], conf, consumers=consumers)
        self.__sum = 0

    @m.replicated
    def add(self, x, y=2):
        self.__sum += x * y
        return self.__sum

    @m.replicated(ver=1)
    def add(self, x, y=2):
        self.__sum -= x * y
        return self.__sum

    @m.replicated_sync
    def answer(self):
        return "answer"


def until(what):
    while not what():
        time.sleep(0.01)


def telling(name, ask):
    """Calls with a callback, and waits for it."""
    number = len(told)
    ask(lambda *args: told.append([name, *args]))
    until(lambda: any(each[0] == name for each in told[number:] if isinstance(each, list)))


def raised(ask):
    try:
        ask()
    except Exception as error:
        return type(error).__name__


adder = Adder()
until(adder.isReady)
found = {
    "options": {name: str(value) for name, value in vars(m.SyncObjConf()).items()},
    "reasons": {name: value for name, value in vars(m.FAIL_REASON).items() if name.isupper()},
    "states": {name: value for name, value in vars(m.SERIALIZER_STATE).items() if name.isupper()},
    "calls": [
        adder.add(1),
        adder.add(2, sync=True),
        adder.add(x=3, y=4, sync=True, timeout=5),
        adder.answer(),
        adder.answer(sync=False),
    ],
}
telling("add", lambda callback: adder.add(1, callback=callback))
telling("set", lambda callback: adder.setCodeVersion(1, callback=callback))
telling("remove", lambda callback: adder.removeNodeFromCluster(f"localhost:{port}", callback=callback))
telling("transfer", lambda callback: adder.transferLeadership(callback=callback))
found["told"] = told
found["version 1"] = adder.add(5, sync=True)
found["raised"] = [raised(lambda: adder.setCodeVersion(9)), raised(lambda: adder.setCodeVersion(0)), raised(adder.doTick)]
found["batteries"] = [
    *(counter.set(4, sync=True), counter.add(2, sync=True), counter.sub(1, sync=True), counter.inc(sync=True), counter.get()),
    *(mapping.set("a", [1], sync=True), mapping.setdefault("a", 3, sync=True), mapping.pop("z", sync=True), mapping["a"]),
    *(list(mapping.keys()), list(mapping.items()), "a" in mapping, len(mapping), mapping.get("z", 7), mapping.rawData()),
    *(items.reset([3, 1], sync=True), items.append(2, sync=True), items.pop(0, sync=True), items.sort(sync=True)),
    *(items.rawData(), items[0], len(items), items.index(2), items.count(2), items.get(1)),
    *(members.add(1, sync=True), members.discard(7, sync=True), list(members.rawData()), 1 in members, len(members)),
    *(jobs.put(1, sync=True), jobs.put(2, sync=True), jobs.put(3, sync=True), jobs.full(), jobs.get(sync=True), jobs.qsize()),
    *(ranked.put((2, 1), sync=True), ranked.put((1, 2), sync=True), ranked.put((0, 0), sync=True), ranked.empty()),
    *(ranked.get(sync=True), ranked.get(sync=True), ranked.get("nothing", sync=True)),
]
status = adder.getStatus()
found["keys"] = sorted(status)
found["status"] = {
    key: str(status[key]).replace(str(port), "PORT")
    for key in "self leader state has_quorum partner_nodes_count readonly_nodes_count self_code_version enabled_code_version".split()
}
found["node"] = [
    repr(adder.selfNode).replace(str(port), "PORT"),
    adder.selfNode.host,
    sorted(adder.otherNodes),
    adder.hasQuorum,
]
print(json.dumps(found, indent=1, sort_keys=True))
adder.destroy()
