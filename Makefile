# Needs Python 3.11 or newer and make. Everything else goes into .venv, pinned by hash.

PORT = 8080
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED = $(PIP) --require-hashes --only-binary :all: --requirement
PROJECT = $(PIP) --no-build-isolation --no-deps --editable .
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header $(ARGS)
EVERY_PYTHON = python3.11 python3.12 python3.13 python3.14
PYTHONS = python3 python3.14 python3.13 python3.12 python3.11

.DEFAULT_GOAL := help
.PHONY: help run test lint pytest bench bench-growth capacity chaos memory soak test-pythons sbom audit-deps reference lock clean

help: ## show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.installed ## start the demo: a gateway, two agents and a key (PORT=9090: elsewhere)
	@$(BIN)/gateway demo --listen 127.0.0.1:$(PORT)

test: lint pytest ## run all checks and all tests

lint: $(VENV)/test.installed ## check style, types, and which module imports which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

pytest: $(VENV)/test.installed ## run the tests only (ARGS="-k name": some of them)
	@$(BIN)/pytest $(ARGS) || $(BIN)/python -m tests.alone $$?

bench: $(VENV)/run.installed ## measure CPU a request beside other proxies (BENCH_SECONDS=3 BENCH_ROUNDS=3)
	@$(BIN)/python -m bench.run
	@$(BIN)/python -m bench.scrub

bench-growth: $(VENV)/run.installed ## measure how it grows with keys, agents, limits and workers
	@$(BIN)/python -m bench.growth

capacity: $(VENV)/run.installed ## measure what one Redis node carries (CAPACITY_KEYS=1000000 CAPACITY_SECONDS=3)
	@$(BIN)/python -m bench.capacity

memory: $(VENV)/run.installed ## send 1 GB each way and watch the gateway's memory (BENCH_MEGABYTES=1024)
	@$(BIN)/python -m bench.memory

chaos: $(VENV)/test.installed ## break a fleet for some minutes and count what went wrong (CHAOS_SCALE=1 CHAOS_ONLY=kills)
	@$(BIN)/python -m tests.chaos

soak: $(VENV)/test.installed ## serve mixed traffic for 10 minutes, with all that changes, and look for leaks (SOAK_SECONDS=600)
	@$(BIN)/python -m tests.soak

test-pythons: ## run the tests with each Python that is here, 3.11 to 3.14 (ARGS=tests/domain: some of them)
	@for python in $(EVERY_PYTHON); do \
		$$python --version 2>/dev/null || continue; \
		$(MAKE) --no-print-directory pytest VENV=build/$$python PYTHONS=$$python || exit 1; \
	done

sbom: $(VENV)/test.installed ## write dist/sbom.json: what is installed where it runs (CycloneDX)
	@mkdir -p dist
	@$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--short-PURLs -o dist/sbom.json deploy/requirements.txt

audit-deps: $(VENV)/test.installed ## ask whether what is installed has known weaknesses; needs the network
	@$(BIN)/python deploy/audit_deps.py

reference: $(VENV)/test.installed ## write docs/reference anew, as the code says
	@$(BIN)/python -m tests.docs

lock: $(VENV)/lock.installed ## write the lock files anew (ARGS=--upgrade: with newer versions)
	$(COMPILE) --extra embedded --extra tools pyproject.toml deploy/editable.in -o deploy/requirements.txt
	$(COMPILE) --extra embedded --extra tools --extra otel --extra test pyproject.toml deploy/editable.in \
		-c deploy/requirements.txt -o deploy/requirements-dev.txt
	$(COMPILE) deploy/lock.in -o deploy/requirements-lock.txt

clean: ## remove what was installed or made; keys and revocations (.gateway) stay
	rm -rf $(VENV) build dist .*_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/run.installed: deploy/requirements.txt $(BIN)/python
	@echo "Installing into $(VENV): this happens once."
	@$(LOCKED) deploy/requirements.txt
	@$(PROJECT)
	@touch $@

$(VENV)/test.installed: deploy/requirements-dev.txt $(BIN)/python
	@echo "Installing into $(VENV), for tests: this happens once."
	@$(LOCKED) deploy/requirements-dev.txt
	@$(PROJECT)
	@touch $@

$(VENV)/lock.installed: deploy/requirements-lock.txt $(BIN)/python
	@$(LOCKED) deploy/requirements-lock.txt
	@touch $@

# Debian and Ubuntu ship Python without what makes an environment: ensurepip is the sign of it.
$(BIN)/python:
	@for python in $(PYTHONS); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		found=$$python; \
		$$python -c 'import ensurepip, venv' 2>/dev/null || continue; \
		$$python -m venv --clear $(VENV) && exit 0; \
		rm -rf $(VENV); exit 1; \
	done; \
	if [ -n "$$found" ]; then \
		echo "$$found cannot make an environment: install python3-venv (apt install python3-venv)."; \
	else \
		echo "Python 3.11 or newer is needed, and none is on PATH ($(PYTHONS))."; \
	fi >&2; exit 1
