# The few commands of this house. They need Python 3.11 or newer; `make setup` makes everything else.
PYTHON ?= python3.13 python3.12 python3.11 python3
UV ?= uv
ARGS ?=
SEEDS ?= 1000
MESSAGES ?= 10000000
MINUTES ?= 30

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
DETECTION_PEERS := river frouros alibi-detect evidently nannyml
PACKAGES := $(wildcard */__init__.py)

.PHONY: help setup test test-long simulate chaos soak fuzz demo bench bench-store bench-all calibrate check lock
check test test-long simulate chaos soak fuzz: export NO_COLOR = 1

help:
	@echo "make setup   make .venv and install exactly what requirements-dev.lock names"
	@echo "make demo    run everything on this machine: events, drift, late labels, live metrics"
	@echo "make test    run the tests; ARGS go to pytest: make test ARGS='tests/unit -k panes'"
	@echo "make check   what a change must pass besides tests: format, lint, types, import contracts, documentation"
	@echo "make calibrate  count false alarms of all window statistics: docs/benchmarks/calibration.md; ARGS='--windows 400'"
	@echo "make bench   measure how fast it is beside other ways to do it; ARGS: --quick, --json, --rows, --out DIR"
	@echo "make bench-store  measure sizes and query times of a month of results; ARGS: --models, --days, --json, --out FILE"
	@echo "make bench-all  measure all that is committed again, an hour on a quiet machine: docs/benchmarks, capacity's constants"
	@echo "make bench-detection  compare detectors with peers: false alarms, changes found, delay; ARGS: --quick, --tools, --out"
	@echo "make test-long  compare live workers with a replay on all 208,892 rows, not on 60,000; 200 deployments and 2,000 histories with late labels"
	@echo "make simulate SEEDS=1000  play histories of crashes, lost answers and rebalances, each against a careful reader's"
	@echo "make fuzz MESSAGES=10000000  send mutated messages, files, configurations and requests through every door"
	@echo "make chaos   kill, stop, cut and fill up what real workers need, fault by fault; ARGS: --faults NAME,NAME --quick --out FILE"
	@echo "make soak MINUTES=30  faults at random on steady traffic: nothing grows, all as in a replay; ARGS: --rate, --seed, --out DIR"
	@echo "make lock    resolve the lock files again; newer versions only with ARGS=--upgrade"

setup: .venv/installed.stamp
	@:

test: setup
	@$(BIN)/python -m pytest $(ARGS)

demo: setup
	@$(BIN)/driftline demo $(ARGS)

# Benchmarks compare with programs whose pins conflict with ours; without them their rows say so.
bench: setup
	@$(MAKE) --no-print-directory .venv-peers/installed.stamp || echo "the peers could not be installed: their rows will say so" >&2
	@$(BIN)/python -m benchmarks $(ARGS)

bench-store: setup
	@$(BIN)/python -m benchmarks.store $(ARGS)

bench-all: setup
	@$(MAKE) --no-print-directory bench ARGS="--out docs/benchmarks"
	@$(MAKE) --no-print-directory bench ARGS="--micro --out docs/benchmarks"
	@$(MAKE) --no-print-directory bench-store ARGS="--out docs/benchmarks"

# Each peer has an environment of its own, because their pins conflict; without it, its rows say so.
.PHONY: bench-detection
bench-detection: setup
	@for peer in $(DETECTION_PEERS); do \
		$(MAKE) --no-print-directory .venv-detection/$$peer/installed.stamp || \
			echo "$$peer could not be installed: its rows will say so" >&2; \
	done
	@$(BIN)/python -m benchmarks.detection $(ARGS)

.venv-detection/%/installed.stamp: benchmarks/detection/peers/%.lock | .venv/bin/python
	@echo "installing $* to compare with (a minute or two)"
	@$(BIN)/python -m venv --clear .venv-detection/$*
	@.venv-detection/$*/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r $<
	@touch $@

check: setup
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/docs
	@$(BIN)/python -m pytest -q --collect-only tests >.venv/collected.txt || { cat .venv/collected.txt; exit 1; }

test-long: setup
	@DRIFTLINE_TEST_ROWS=208892 DRIFTLINE_TEST_SEEDS=200 $(BIN)/python -m pytest tests/acceptance/test_live_equals_replay.py \
		tests/unit/labels_join/test_lagging_class.py tests/unit/labels_join/test_correction.py $(ARGS)

.venv-peers/installed.stamp: benchmarks/peers/requirements.lock | .venv/bin/python
	@echo "installing what benchmarks compare with (a minute or two)"
	@$(BIN)/python -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r $<
	@touch $@

calibrate: setup
	@$(BIN)/python -m benchmarks.calibration $(ARGS)

simulate: setup
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

# Atheris is there for few platforms; where it is not, chance alone chooses what to mutate.
fuzz: setup
	@$(MAKE) --no-print-directory .cache/atheris/installed.stamp || echo "Atheris could not be installed" >&2
	@PYTHONPATH=$(CURDIR)/.cache/atheris $(BIN)/python -m tests.fuzz --guided --messages $(MESSAGES) $(ARGS)

.cache/atheris/installed.stamp: tests/fuzz/requirements.lock | .venv/bin/python
	@$(PIP) install --upgrade --target $(@D) --require-hashes --no-deps --only-binary :all: -r $<
	@touch $@

chaos: setup
	@$(BIN)/python -m tests.chaos $(ARGS)

soak: setup
	@$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES) $(ARGS)

lock:
	@$(COMPILE) $(ARGS) pyproject.toml --output-file requirements.lock
	@$(COMPILE) $(ARGS) pyproject.toml --extra dev --output-file requirements-dev.lock
	@$(COMPILE) $(ARGS) benchmarks/peers/requirements.in --output-file benchmarks/peers/requirements.lock
	@$(COMPILE) $(ARGS) tests/fuzz/requirements.in --output-file tests/fuzz/requirements.lock
	@for peer in $(DETECTION_PEERS); do $(COMPILE) $(ARGS) benchmarks/detection/peers/$$peer.in \
		--output-file benchmarks/detection/peers/$$peer.lock || exit 1; done

.venv/bin/python:
	@for python in $(PYTHON); do \
		if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			exec $$python -m venv --clear .venv; \
		fi; \
	done; \
	echo "Driftline needs Python 3.11 or newer with its venv module; tried: $(PYTHON) (on Debian: apt-get install python3-venv)" >&2; \
	exit 1

.venv/locked.stamp: requirements-dev.lock | .venv/bin/python
	@echo "installing what requirements-dev.lock names (a minute or two)"
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

# An editable install lists the packages it found, so a new package means installing again.
.venv/installed.stamp: .venv/locked.stamp pyproject.toml requirements.lock $(PACKAGES)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
