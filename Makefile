# Inspector: everything a newcomer types. `make demo` and `make test` do their own set-up in .venv.
#   PYTHON=python3.12      another Python (3.10 or newer)
#   WHEELHOUSE=folder      packages from a folder instead of the network
#   PARTS=200 RATE=5       parts of the demo (without PARTS: until stopped) and parts a second
#   PORT=18831             another port for the demo's broker
#   TESTS=tests/plc        part of the tests
#   WORKERS=0              tests one after the other in one process (otherwise two at a time)
SHELL = /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?=
WHEELHOUSE ?=
PARTS ?=
RATE ?=
PORT ?=
TESTS ?=
WORKERS ?= 2
RUN = .venv/bin/python
PYTEST = $(RUN) -m pytest -n $(WORKERS) --dist worksteal
export PYTHON WHEELHOUSE

help: ## this list
	@echo "Inspector: one command shows it, one proves it."
	@awk -F ': ## ' '/^[a-z]+: ## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

demo: ## a whole inspection station on this computer: simulated PLC, virtual camera, terminal
	@sh tools/setup.sh
	@$(RUN) -m inspector demo $(if $(PARTS),--parts $(PARTS)) $(if $(RATE),--rate $(RATE)) $(if $(PORT),--port $(PORT))

test: ## style, types and every test
	@sh tools/setup.sh test
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy
	@$(PYTEST) $(TESTS) || { status=$$?; [ $$status -eq 1 ] || exit $$status; \
		echo "make test: what failed above once more, by itself; what passes now is flaky and wants mending"; \
		$(PYTEST) -n 0 --last-failed --last-failed-no-failures=none --maxfail=1 $(TESTS); }

setup: ## the set-up alone
	@sh tools/setup.sh
	@echo "setup: all there; try: make demo"

lint: ## style and types
	@sh tools/setup.sh
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

coverage: ## every test, and which lines none of them reached, as pages in htmlcov/
	@sh tools/setup.sh
	@$(PYTEST) --cov --cov-report=html --cov-report=term $(TESTS)

bench: ## trigger-to-verdict times and throughput against a bare loop
	@sh tools/setup.sh
	@$(RUN) -m tools.benchmarks.bench

chaos: ## kills one process after another and counts what the PLC saw
	@sh tools/setup.sh
	@$(RUN) -m tools.chaos

identity: ## whose picture is it? 100,000 parts in each identity mode, each fault hitting 1 % of them
	@sh tools/setup.sh
	@$(RUN) -m tools.cameras.identity --write

cycles: ## a camera's cable out and in 500 times, then kill -9 of everything
	@sh tools/setup.sh
	@$(RUN) -m tools.cameras.cycles

pace: ## two 5 MP cameras at 20 parts a second, beside a bare loop
	@sh tools/setup.sh
	@$(RUN) -m tools.cameras.pace

unpacking: ## packed pixel formats into 16 bits, beside a plain copy
	@sh tools/setup.sh
	@$(RUN) -m tools.cameras.unpacking

viky: ## another maker's GenTL producer through the same code
	@sh tools/setup.sh
	@$(RUN) -m tools.cameras.viky

tiles: ## real pictures of magnetic tiles through the whole station
	@sh tools/setup.sh
	@$(RUN) -m tools.tiles_run

repeatability: ## what averaging, flat-field correction, merging and smoothing do to measured values
	@sh tools/setup.sh
	@$(RUN) -m tools.benchmarks.repeatability

screens: ## pictures of the operator's terminal for the documentation
	@sh tools/setup.sh
	@$(RUN) -m tools.screenshots

asan: ## the virtual camera's tests under AddressSanitizer
	@sh tools/setup.sh
	@$(MAKE) -s -C tools/virtual_camera asan-test PYTHON=.venv/bin/python

faults: ## every fault of the virtual camera against a whole station
	@sh tools/setup.sh
	@$(RUN) -m tools.cameras.faults

powercuts: ## 2,000 simulated power cuts of the ledger
	@sh tools/setup.sh
	@$(RUN) -m tools.proofs.power_cuts --write

latency: ## from the trigger's message to the result's, beside a bare MQTT echo
	@sh tools/setup.sh
	@$(RUN) -m tools.proofs.latency --write

fuzz: ## 100,000 malformed payloads on every command topic of a running station
	@sh tools/setup.sh
	@$(RUN) -m tools.proofs.fuzz --write

kills: ## kill -9 of the whole station 1,000 times, two stations side by side
	@sh tools/setup.sh
	@$(RUN) -m tools.proofs.kills --write

storm: ## 30 minutes at 10 parts/s, and everything that can break breaks: books and records must be equal
	@sh tools/setup.sh
	@$(RUN) -m tools.proofs.storm

outage: ## 10 minutes without a broker and a kill -9 inside: every record must come
	@sh tools/setup.sh
	@$(RUN) -m tools.proofs.outage

fulldisk: ## a full disk under a running line, in three sizes (root: it mounts them)
	@sh tools/setup.sh
	@$(RUN) -m tools.proofs.full_disk --write

search: ## one part among 1,000,000, also while the station writes
	@sh tools/setup.sh
	@$(RUN) -m tools.proofs.search --write

wheelhouse: ## all packages and Inspector itself as files in build/wheelhouse, for a computer without network
	@sh tools/setup.sh
	@rm -rf build/wheelhouse
	@$(RUN) -m pip wheel --disable-pip-version-check --progress-bar off -q -w build/wheelhouse '.[dev]' 'setuptools>=68' wheel
	@echo "build/wheelhouse: $$(ls build/wheelhouse | wc -l) packages for $$($(RUN) --version) on $$(uname -m)"

clean: ## removes what was made, .venv too
	@$(MAKE) -s -C tools/virtual_camera clean
	@$(MAKE) -s -C tools/faulty_disk clean
	@rm -rf .venv build htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .make-* *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help demo test setup lint coverage bench chaos identity cycles pace viky tiles repeatability screens asan faults powercuts kills fulldisk search latency wheelhouse fuzz storm outage clean
