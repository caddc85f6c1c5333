# Two commands do all the set-up on a machine with Python 3.11 or later, make and git: `make demo`, `make test`.
# DATABASE_URL and the ANALYTICS_ settings of the environment reach every target.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo ui test lint bench clean lock

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCHMARKS := aggregation sources collector row_level_security checks retention dagster_storage funnels cohorts insights insights_accuracy rule_insights
# What only two benchmarks need, half a gigabyte of it: the extra bench.
PEERS := "duckdb>=1.4" "chdb>=4"
DEMO_OPTIONS := $(if $(DATA),--data "$(DATA)") $(if $(TIME_ZONE),--time-zone "$(TIME_ZONE)") $(if $(CURRENCY),--currency "$(CURRENCY)")

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; put it on the PATH or call make PYTHON=/path/to/python"; exit 1; }
	@rm -f $(STAMP)
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "installing the locked dependencies into $(VENV) (a minute at the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

setup: $(STAMP) ## Install the locked dependencies into .venv

demo: $(STAMP) ## Sample shops, or pages of DATA=folder (TIME_ZONE=, CURRENCY=), through the whole graph
	@$(BIN)/analytics demo $(DEMO_OPTIONS)

ui: $(STAMP) ## Dagster's web interface, daemon and the collector on the same data
	@$(BIN)/analytics ui

test: $(STAMP) ## Run the tests (ARGS= goes to pytest)
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## ruff, mypy, squawk, the definitions, the dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy analytics_assets analytics_assets_tests benchmarks
	@$(BIN)/squawk --config squawk.toml sql/migrations/*.sql
	@DAGSTER_HOME= $(BIN)/dg check defs
	@$(BIN)/python -m analytics_assets_tests.audit

bench: $(STAMP) ## Aggregation, funnels, cohorts, syncing 1,000 organisations, the collector, row-level security, checks, insights and how right they are, retention, Dagster's storage, beside their peers and limits
	@$(BIN)/python -c 'import duckdb, chdb' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PEERS)
	@missed=; for one in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$one || missed="$$missed $$one"; done; \
		test -z "$$missed" || { echo "goals missed, or not measured:$$missed"; exit 1; }

lock: $(STAMP) ## Resolve requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra dev pyproject.toml --output-file requirements.lock

clean: ## Stop the embedded server; remove its data, the environment and caches
	@if [ -x $(BIN)/analytics ]; then $(BIN)/analytics stop || true; fi
	@rm -rf .analytics $(VENV) storage history schedules logs .mypy_cache .ruff_cache .pytest_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
