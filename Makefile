# One entry point for every task. `make` alone prints them. Needs Python >= 3.11 and pip, and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv)
JOBS   ?= 4
SEED   ?=
HARNESS  ?= ../shared/bench
SESSIONS ?= small,large,idle
RUNS     ?= 1
WORK     ?=
MINUTES  ?= 10
POINT    ?=
ONLY     ?=
AFTER    ?=
UNTIL    ?=
SITES    ?=
FILES    ?= 1000000
KEEP     ?=
SCALE    ?= 1
CASES    ?= 5000
POSTGRES ?=
CHANGES  ?= 200
LOAD     ?=
COSTS    ?=
MUTANTS  ?=
TOTAL    ?=
PROGRAM  ?=
WEB      := $(shell find web -type f -not -path '*/node_modules/*' -not -path '*/__pycache__/*' -not -name '.building')
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Set where images are built; each program that a test starts would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

ifeq ($(UV),)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
else
INSTALL := VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --constraint constraints.txt
endif

.DEFAULT_GOAL := help
.PHONY: help run test checks collected lint format types walls unit web web-check api-types shots web-figures sim sim-night mutants bench bench-tree bench-cluster micro load capacity fanout kill soak chaos races fuzz litmus crashpoints powercut acceptance sharing collisions damage clean

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

run: $(VENV)/.run-stamp ## Run Satchel on this machine: a server, and ~/Satchel as its first device
	@$(BIN)/satchel up

test: $(VENV)/.dev-stamp ## Check everything: lint, types, walls, all tests
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target checks
	@$(MAKE) --no-print-directory unit

# Each keeps one core busy, so two run at a time.
checks: types web-check collected lint walls ## Check lint, types, walls and that all tests can be collected

collected: $(VENV)/.dev-stamp ## Collect all tests, which compiles them once and not in each worker
	@told=$$($(BIN)/python -m pytest --collect-only 2>&1) || { echo "$$told"; exit 1; }

lint: $(VENV)/.dev-stamp ## Check style and format
	@$(BIN)/ruff check src tests bench
	@$(BIN)/ruff format --quiet --check --diff src tests bench

format: $(VENV)/.dev-stamp ## Put every file into the common format
	@$(BIN)/ruff check --quiet --fix src tests bench; $(BIN)/ruff format src tests bench

types: $(VENV)/.dev-stamp ## Check types, strictly
	@$(BIN)/mypy

walls: $(VENV)/.dev-stamp ## Check that no room imports what it must not
	@$(BIN)/lint-imports

unit: $(VENV)/.dev-stamp ## Run all tests (JOBS=4 at a time: many of them wait for something)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

web: $(VENV)/.dev-stamp ## Build the web app into the package, unless it is as its sources are
	@$(BIN)/python web/build_web.py

web-check: $(VENV)/.dev-stamp ## Check the web app's types, strictly
	@$(BIN)/python web/build_web.py --check

api-types: $(VENV)/.dev-stamp ## Write the web app's types of REST anew, from the service's own description
	@$(BIN)/python -m tests.support.api_types

shots: $(VENV)/.dev-stamp ## Take pictures of all pages of the web app, into WORK or build/shots
	@$(BIN)/python -m tests.browser.shots $(or $(WORK),build/shots)

web-figures: $(VENV)/.dev-stamp ## What the web app costs a browser beside a bare page: start, frames of a long folder, memory (MINUTES=10)
	@$(BIN)/python -m bench.web_figures --minutes $(MINUTES)

sim: $(VENV)/.dev-stamp ## Run the simulation, a million operations; SEED=4711 repeats one run and shrinks it
	@$(if $(SEED),$(BIN)/satchel sim replay $(SEED) --minimise,$(BIN)/python -m tests.simulation.planner_run --cases 200000)
	@$(if $(SEED),,$(BIN)/python -m tests.simulation)
	@$(if $(SEED),,$(BIN)/python -m tests.simulation --mounts --total 200000)

sim-night: $(VENV)/.dev-stamp ## Thirty million operations; stopped and started again, it goes on where it was
	@$(BIN)/python -m tests.simulation --total 30000000 --from 1000001 --ledger build/sim-night.ledger

mutants: $(VENV)/.dev-stamp ## Plant thirty bugs, one by one; each must be found by the simulation (MOUNTS=1: those of shared folders)
	@$(BIN)/python -m tests.simulation.mutants $(if $(MOUNTS),--mounts)

bench: $(VENV)/.dev-stamp ## Satchel beside the installed peers in network namespaces (root; SESSIONS=small,large,idle RUNS=1 WORK=folder)
	@$(BIN)/python -m bench.peers --harness $(HARNESS) --sessions $(SESSIONS) --runs $(RUNS) $(if $(WORK),--work $(WORK))

bench-tree: $(VENV)/.dev-stamp ## What a folder of a million files costs a device (FILES=1000000 WORK=folder; KEEP=folder: for another run)
	@$(BIN)/python -m bench.large_tree --files $(FILES) $(if $(WORK),--work $(WORK)) $(if $(KEEP),--keep $(KEEP))

bench-cluster: $(VENV)/.dev-stamp ## From a change on one device to the other: embedded server, then two gateways on all stores (CHANGES=200)
	@$(BIN)/python -m bench.cluster_latency --changes $(CHANGES)

micro: $(VENV)/.dev-stamp ## What the pure parts cost, beside the operation that limits them
	@$(BIN)/python -m bench

load: $(VENV)/.dev-stamp ## What the service does on a core, embedded and on real stores, beside the bare limits (LOAD="--short --stack full" WORK=folder)
	@$(BIN)/python -m bench.load $(LOAD) $(if $(WORK),--work $(WORK))

capacity: $(VENV)/.dev-stamp ## What 500 million accounts take, from measured unit costs (COSTS=build/load.json: those of the last `make load`)
	@$(BIN)/python -m bench.capacity $(if $(COSTS),--costs $(COSTS))

fanout: $(VENV)/.dev-stamp ## What a change costs on its way to its devices with a thousand gateways: a simulation
	@$(BIN)/python -m bench.fanout

kill: $(VENV)/.dev-stamp ## Kill real processes a hundred times; nothing acknowledged may be lost
	@$(BIN)/python -m tests.e2e.kill_run --kills 100 $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.dev-stamp ## Real programs at work on three devices of two people, disturbed (MINUTES=10 SEED=n)
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

chaos: $(VENV)/.dev-stamp ## Faults under load on real PostgreSQL, S3, Valkey and Kafka, two hours (SCALE=0.05 is a look; ONLY=name SEED=n)
	@$(BIN)/python -m tests.chaos --scale $(SCALE) $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED))

races: $(VENV)/.dev-stamp ## A hundred thousand saves by another program while its file is replaced, on the disk of WORK
	@$(BIN)/python -m tests.races $(if $(WORK),--work $(WORK))

crashpoints: $(VENV)/.dev-stamp ## Stop each scenario at each writing call, in five ways (MINUTES=10 ONLY=name POINT=point; goes on where it ended)
	@$(BIN)/python -m tests.crash.crashpoints --minutes $(MINUTES) --only '$(ONLY)' --point '$(POINT)'

powercut: $(VENV)/.dev-stamp ## Cut the power around each fsync of each scenario (root, /dev/fuse; MINUTES=10 ONLY=name; SITES=1: leave out each fsync once)
	@$(BIN)/python -m tests.crash.powercut --minutes $(MINUTES) --only '$(ONLY)' $(if $(SITES),--sites)

fuzz: $(VENV)/.dev-stamp ## Ask REST what its description allows, and what it does not: no 5xx, nothing undescribed (CASES=5000 a route ONLY=part of a route AFTER=, UNTIL='METHOD /path': a part of them SEED=n POSTGRES=1)
	@$(BIN)/python -m tests.fuzz --cases $(CASES) $(if $(ONLY),--only '$(ONLY)') $(if $(AFTER),--after '$(AFTER)') $(if $(UNTIL),--until '$(UNTIL)') $(if $(SEED),--seed $(SEED)) $(if $(POSTGRES),--postgres)

litmus: $(VENV)/.dev-stamp ## Run the WebDAV conformance suite, 104 tests (PROGRAM=litmus; Debian: apt-get install litmus)
	@$(BIN)/python -m tests.e2e.litmus_run $(if $(PROGRAM),--program $(PROGRAM))

collisions: $(VENV)/.dev-stamp ## Garbage without grace against commits, a million interleavings (SEED=n tells one; MUTANTS=1 plants bugs; TOTAL=10000)
	@$(BIN)/python -m tests.store.collisions --ledger build/collisions.ledger $(if $(SEED),--seed $(SEED)) $(if $(MUTANTS),--mutants) $(if $(TOTAL),--total $(TOTAL))

damage: $(VENV)/.dev-stamp ## Break one thing in a small store, a thousand times: told, never served, healed (SEED=n tells one; TOTAL=200)
	@$(BIN)/python -m tests.store.damage --ledger build/damage.ledger $(if $(SEED),--seed $(SEED)) $(if $(TOTAL),--total $(TOTAL))

acceptance: $(VENV)/.dev-stamp ## Two devices, a server, the full sizes: 10,000 files, 1 GiB and its edits (WORK=folder on tmpfs)
	@$(BIN)/python -m bench.acceptance $(if $(WORK),--work $(WORK))

sharing: $(VENV)/.dev-stamp ## A folder of 10,000 files shared between two people with three devices (WORK=folder on tmpfs)
	@$(BIN)/python -m bench.sharing $(if $(WORK),--work $(WORK))

clean: ## Remove the environment and all caches; no data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The stamps make a second start take no time: they are newer than what they were made from.
$(VENV)/.run-stamp: pyproject.toml constraints.txt $(WEB) | $(VENV)/.made
	@echo "Installing Satchel into $(VENV) (once)"
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev-stamp: pyproject.toml constraints.txt tests/browser/package-lock.json | $(VENV)/.made
	@echo "Installing Satchel and its tools into $(VENV) (once)"
	@$(INSTALL) --editable '.[dev,cluster]'
	@$(BIN)/python -m tests.support.browser
	@touch $@ $(VENV)/.run-stamp

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Satchel needs Python 3.11 or newer; name one: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@
