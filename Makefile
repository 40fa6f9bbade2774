# Everything here works on a fresh machine with make and Python 3.10 or newer.

.DEFAULT_GOAL := help
.PHONY: help demo test test-all crash bench coverage typecheck clean

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then echo $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= 200

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):[^#]*## /  make \1|/' | column -t -s '|' 2>/dev/null \
		|| grep -E '^[a-z-]+:.*## ' Makefile

# The virtual environment is made again when what it should hold has changed.
$(VENV)/.installed: pyproject.toml requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.10 or newer was found. Install one, or run: make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "venv could not be made. On Debian: apt install python3-venv"; exit 1; }
	@echo "installing coopy and what its tests need into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

demo: $(VENV)/.installed  ## the main job: write, kill -9 while writing, open again, find everything
	@$(BIN)/python examples/demo.py

test: $(VENV)/.installed  ## all tests, with 20 kills
	@$(BIN)/python -m pytest

test-all:  ## the tests under each Python from 3.10 to 3.13 that is found
	@for v in 3.10 3.11 3.12 3.13; do \
		p=$$(command -v python$$v || ls -d $$HOME/.pyenv/versions/$$v.*/bin/python 2>/dev/null | tail -n 1); \
		if [ -n "$$p" ] && $$p -c '' 2>/dev/null; then \
			echo "== Python $$v"; $(MAKE) --no-print-directory test PYTHON=$$p VENV=.venv-$$v || exit 1; \
		else echo "== Python $$v: not found"; fi; done

crash: $(VENV)/.installed  ## 200 kills at random moments (RUNS=...)
	@COOPY_CRASH_RUNS=$(RUNS) $(BIN)/python -m pytest -s --timeout 3600 tests/crash

bench: $(VENV)/.installed  ## the speed, each figure against the raw limit measured beside it
	@$(BIN)/python -m benchmarks --peers

coverage: $(VENV)/.installed  ## the tests with coverage; a report in htmlcov/
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run -m pytest
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage html -q
	@$(BIN)/python -m coverage report --fail-under 95

typecheck: $(VENV)/.installed  ## mypy --strict
	@$(BIN)/python -m mypy --strict coopy

clean:  ## removes what the other targets made
	rm -rf .venv .venv-3.* .bench-venvs build dist *.egg-info htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache
