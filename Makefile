# Everything a developer or a curious reader types. Needs make and Python 3.11 or newer with its venv module; `e2e`, `crash`
# and `bench` need root and the Debian packages that they name when one is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run check test e2e crash power-cut bench fuzz load logins backlog clean

run: .venv/installed
	@etc/demo/start
	$(BIN)/twistd -n kms --config etc/kms.ini

# All that is checked without real peers: format, lint, types, layers.
check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The checks, then all tests that need Python alone, with their coverage.
test: check
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto
	$(BIN)/coverage combine -q
	$(BIN)/coverage report
	$(BIN)/coverage report --include='kms/domain/*,kms/policy/*,kms/config/*,kms/protocol/*' --fail-under=100

e2e: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/e2e

crash: .venv/dev
	$(BIN)/python -m pytest -s tests/crash/test_kill.py
	$(BIN)/python -m pytest -n 2 tests/crash/test_steps.py tests/crash/test_faults.py

# Power cuts at a thousand moments of a recording made by strace.
power-cut: .venv/dev
	timeout 600 $(BIN)/python -m pytest -s tests/crash/test_power_cut.py

# FUZZ is the time for each target in seconds; SESSIONS how many nonsensical sessions a real server has to stand.
FUZZ ?= 10
SESSIONS ?= 3000

fuzz: .venv/dev
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ)
	$(BIN)/python -m tests.fuzz.sessions --count $(SESSIONS)

# LOAD=--short is a fifth of the attack.
load: .venv/dev
	ulimit -n 20000 && $(BIN)/python -m tests.load $(LOAD)

# What a password guesser learns, how far he comes, and what he costs others.
logins: .venv/dev
	$(BIN)/python -m tests.load.logins

# 100,000 deferred messages: time of a restart, of the first page, memory, and how fast mail is accepted beside them.
backlog: .venv/dev
	$(BIN)/python -m tests.load.backlog $(BACKLOG)

bench: .venv/dev
	$(BIN)/python -m bench $(BENCH)

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kms needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv build dist kms.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
