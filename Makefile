# Everything runs from a virtual environment in .venv, made from lock files with hashes.
# `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CSV ?=
ARGS ?=
EXAMPLES ?= 1000
SEEDS ?= 1 2 3
SEED ?= 7
# Tests wait now and then, for a clock or a started process: more of them than cores keep the cores busy.
TESTERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )))
PACKAGES := $(wildcard libs/*) $(wildcard services/*)
CODE := libs services tests
TYPED := libs/polaris_common/src libs/polaris_sim/src libs/polaris_cli/src \
	services/gateway/src services/notifier/src services/sync-worker/src services/billing-bridge/src tests

.DEFAULT_GOAL := help
.PHONY: help demo replay replay-chaos test test-browser test-worker chaos fuzz bench ci lint types contracts format openapi lock up down clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Run everything with simulated cars; Ctrl-C stops it (ARGS=--headless, ARGS=--fresh)
	@exec $(BIN)/polaris demo $(ARGS)

replay: $(VENV)/.demo ## Charge every row of a CSV and prove that the books balance (CSV=file, ARGS="--chaos 1")
	@test -n "$(CSV)" || { echo "Say which file: make replay CSV=sessions.csv" >&2; exit 2; }
	@exec $(BIN)/polaris replay "$(CSV)" $(ARGS)

replay-chaos: $(VENV)/.demo ## The same with services killed at random, once for each seed (CSV=file, SEEDS="1 2 3")
	@test -n "$(CSV)" || { echo "Say which file: make replay-chaos CSV=sessions.csv" >&2; exit 2; }
	@failed=0; for seed in $(SEEDS); do \
		said=$$($(BIN)/polaris replay "$(CSV)" --chaos $$seed $(ARGS)) && verdict=balanced || { \
			verdict="failed (status $$?)"; failed=1; }; \
		echo "seed $$seed: $$verdict $$(echo "$$said" | tail -n 1)"; done; exit $$failed

test: $(VENV)/.dev ## Run all tests; starts its own PostgreSQL and Redis
	@# Tests and services are loaded dozens of times: their bytecode is kept, whatever the shell says.
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses $(TESTERS) --dist worksteal $(ARGS)

test-browser: $(VENV)/.dev ## Sign in with a real Chromium; as root it installs Debian's when there is none
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && apt-get --version >/dev/null 2>&1 && \
		apt-get update --quiet --quiet && \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends chromium; } || \
		{ echo "The browser tests need chromium on the PATH; install Debian's package chromium." >&2; exit 2; }
	$(BIN)/pytest tests/browser $(ARGS)

test-worker: ## Check and test the e-mail Worker (needs Node.js 20 and npm)
	@command -v npm >/dev/null || { echo "The e-mail Worker's tests need Node.js with npm on the PATH." >&2; exit 2; }
	cd deploy/email-worker && npm ci --omit=optional --no-audit --no-fund && npm test

chaos: $(VENV)/.dev ## Look for a sequence of events that breaks the books or a promise, another one each time (EXAMPLES=1000)
	CHAOS_EXAMPLES=$(EXAMPLES) $(BIN)/pytest --numprocesses auto tests/chaos $(ARGS)

fuzz: $(VENV)/.dev ## Random and made-up requests by everybody, against every route (EXAMPLES=10000 SEED=7)
	FUZZ_EXAMPLES=$(EXAMPLES) FUZZ_SEED=$(SEED) $(BIN)/pytest tests/integration/gateway/test_random_input.py \
		tests/integration/gateway/test_openapi.py $(ARGS)

bench: $(VENV)/.dev ## Measure the whole; prints one JSON document (ARGS="--quick", ARGS="first_sync taps")
	@exec $(BIN)/python -m tests.bench $(ARGS)

ci: lint types contracts test ## Everything a change must pass

lint: $(VENV)/.dev ## Style
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(VENV)/.dev ## Types, strictly
	$(BIN)/mypy $(TYPED)

contracts: $(VENV)/.dev ## Who may import whom
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Put the code into shape
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

openapi: $(VENV)/.demo ## Write docs/reference/openapi from the routes
	$(BIN)/python -m gateway.docs docs/reference/openapi

up: ## Start the production stack (needs Docker and .env)
	docker compose up --build --detach --wait

down: ## Stop the production stack; data stays
	docker compose down

lock: $(VENV)/.dev ## Make the lock files again from requirements/*.in (needs uv)
	cd requirements && for set in runtime demo dev; do \
		constraint=$$(case $$set in demo) echo "-c runtime.lock";; dev) echo "-c demo.lock";; esac); \
		uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
			$$constraint $$set.in -o $$set.lock || exit 1; done

clean: ## Remove the virtual environment and all demo data
	rm -rf $(VENV) .polaris

# What the demo needs, then what tests need besides; each made again when its lock file changes.
$(VENV)/.demo: requirements/demo.lock $(PACKAGES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Polaris Express needs Python 3.11 or newer; say which: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing (once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e ./%)
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements/dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@
