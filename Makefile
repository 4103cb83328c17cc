# Every target installs what it needs into .venv. Only Python 3.11 or newer and make must be present.
PYTHON ?= python3
RUN := .venv/bin/
PATHS ?= tests
WORKERS ?= 3
SEEDS ?= 1000
SEED ?= 1

# The tests start hundreds of Python processes; without compiled files each of them would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo dev psql test proof test-kill check lint bench simulate exhaustive mutants fuzz audit lock clean pictures

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Create or update .venv (the other targets do this first)
	@$(PYTHON) tools/bootstrap.py

demo: setup ## Run the demo: upgrades, faults and downgrades on a local cloud; exits 1 if a check fails
	@exec $(RUN)hangar demo

dev: setup ## Start the local cloud with a sample fleet until Ctrl-C (EMPTY=1: without the sample)
	@exec $(RUN)hangar dev --interrupt-ok $(if $(EMPTY),,--sample)

psql: setup ## Open psql on the database of the running local cloud (ARGS='-c "select 1"')
	@exec $(RUN)python -m ops.dev.psql $(ARGS)

test: setup ## Run the tests, several at a time; of slow ones and of many cases a few (CASES=all: all; PATHS=: all of these)
	@$(RUN)python -m tests.browser.chromium
	@# The first run compiles the tests once, and not in every worker. What fails here fails in the run below, and is shown there.
	@ls tests/__pycache__/*pytest* >/dev/null 2>&1 || $(RUN)python -m pytest --collect-only -q tests >/dev/null || true
	@exec $(RUN)python -m pytest -n $(WORKERS) $(if $(CASES)$(filter-out tests tests/ ./tests,$(PATHS)),,--sample) $(PATHS)

proof: setup ## Run all slow campaigns: seeds, matrix, kills, fuzz, planted bugs; hours (SAMPLE=1: three minutes)
	@exec $(RUN)python -m tests.proof $(if $(SAMPLE),--sample)

test-kill: setup ## Kill workers, functions, Postgres and the gateway 500 times, then check what is left (KILLS=, SEED=)
	@exec $(RUN)python -m tests.kill $(or $(KILLS),500) $(or $(SEED),1)

pictures: setup ## Take the pictures of the dashboard for the README (docs/images)
	@$(RUN)python -m tests.browser.chromium
	@exec $(RUN)python -m tests.browser.pictures

check: lint ## Lint, types, import rules, unit tests; under a minute
	@$(RUN)python -m pytest tests/unit

lint: setup ## Lint, types and import rules: what `make check` does before the unit tests
	@$(RUN)ruff check .
	@$(RUN)ruff format --check .
	@$(RUN)mypy
	@$(RUN)lint-imports --no-logo 2>/dev/null || $(RUN)lint-imports
	@! git grep -nE 'TO''DO|FIX''ME|X''XX' -- '*.py' '*.sql' '*.md' Makefile || (echo "unfinished work must not land" && exit 1)

bench: setup ## Measure sweeps, tier changes, cold starts and the dashboard as ratios in one run (QUICK=1: small sizes, under 90 s)
	@exec $(RUN)python -m bench $(if $(QUICK),--quick)

simulate: setup ## Run random small worlds on every core (SEEDS= how many, SEED= the first); docs/simulation.md
	@exec $(RUN)python -m tests.simulation.seeds $(SEEDS) $(SEED)

exhaustive: setup ## Let every call of every use case fail in every way (N= runs every N-th case)
	@exec $(RUN)python -m tests.simulation.exhaustive $(N)

mutants: setup ## Plant bugs in our own code one at a time; every one must be caught (SAMPLE= only so many, SEED=, MUTANT_SEEDS=)
	@exec $(RUN)python -m tests.mutants $(if $(SAMPLE),--sample $(SAMPLE) --seed $(SEED)) --seeds $(or $(MUTANT_SEEDS),200)

fuzz: setup ## Send 20,000 valid and invalid requests to the functions (REQUESTS= another number, SEED= the first seed)
	@exec $(RUN)python -m tests.fuzz

audit: setup ## Check requirements.lock for known vulnerabilities; exits 3 if the advisory service did not answer
	@exec $(RUN)python -m tools.audit

lock: setup ## Update requirements.lock from pyproject.toml
	@$(RUN)uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --all-extras pyproject.toml -o requirements.lock

clean: ## Remove everything that the other targets created
	@rm -rf .venv .venv.lock .hangar .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
