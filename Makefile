# Everything here needs only Python 3.11 or newer with venv, and make.
# The first that is there and new enough; a shim of a version manager may be there and not run.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/pytest
PROMTOOL ?= promtool

.DEFAULT_GOAL := help
.PHONY: help run test check chaos test-redis test-karrio test-karrio-full test-shipbob bench bench-full check-ops docs lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(STAMP)  ## start everything on this machine and send the sample webhook
	@exec $(BIN)/rewardpost dev

test: $(STAMP)  ## run all tests that need nothing but this machine
	$(PYTEST) -rs --ignore=tests/chaos --ignore=tests/kill_points

check: $(STAMP)  ## formatting, lint, types, import rules, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/codespell

chaos: $(STAMP)  ## run the long tests, in which processes are killed
	$(PYTEST) tests/chaos tests/kill_points --timeout 600

test-redis: $(STAMP)  ## run the integration tests against redis-server, where it is installed
	@command -v redis-server > /dev/null || { echo "expected redis-server on the PATH" >&2; exit 1; }
	TEST_REDIS_SERVER="$$(command -v redis-server)" $(PYTEST) -rs tests/integration

test-karrio: $(STAMP)  ## run what needs a Karrio server, which is made in .cache/karrio
	$(BIN)/python -m tests.karrio_server
	$(PYTEST) -rs tests/karrio tests/conformance tests/integration/test_karrio_provider.py -k karrio --timeout 1200

test-karrio-full: $(STAMP)  ## the same with five seeds of faults
	$(BIN)/python -m tests.karrio_server
	KARRIO_SEEDS=1,2,3,4,5 $(PYTEST) -rs tests/karrio tests/conformance -k karrio --timeout 1200

test-shipbob: $(STAMP)  ## check shipbob against its document (SHIPBOB_OPENAPI) and its sandbox (SHIPBOB_SANDBOX_TOKEN, …)
	$(BIN)/python -m tests.shipbob.prepare
	$(PYTEST) -rs -s tests/shipbob --timeout 900

check-ops:  ## check Prometheus' rules and try each alert, where promtool is installed (Debian: prometheus)
	@command -v $(PROMTOOL) > /dev/null || { echo "expected promtool on the PATH; name it with make PROMTOOL=…" >&2; exit 1; }
	$(PROMTOOL) check config ops/prometheus.yml
	$(PROMTOOL) check rules ops/alerts.yml
	$(PROMTOOL) test rules ops/alerts_test.yml

bench: $(STAMP)  ## measure door and workers against other queues, in a few minutes
	@$(BIN)/python -m bench

bench-full: $(STAMP)  ## the same with more rounds
	@$(BIN)/python -m bench --full

$(STAMP): requirements-dev.lock pyproject.toml
	@python="$(PYTHON)"; "$${python:-false}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "expected Python 3.11 or newer; name it with make PYTHON=…" >&2; exit 1; }
	@echo "making the environment in .venv"
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

docs: $(STAMP)  ## write docs/configuration.md out of the settings
	$(BIN)/python -m cli.configuration > docs/configuration.md

lock:  ## pin what pyproject.toml asks for
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv .venv
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--all-extras --output-file requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--output-file tests/karrio/requirements.lock tests/karrio/requirements.in

clean:  ## remove the environment and what tools have cached
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .grimp_cache .hypothesis build dist
