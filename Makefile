# `make` alone lists what there is.
BIN := .venv/bin
# Containers often set it, and then every process of ours compiles every module anew: two seconds of processor time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-celery stop lock

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

setup: ## Make .venv, and install PostgreSQL with PostGIS where missing.
	@bash scripts/bootstrap.sh

demo: setup ## Start everything on this machine and turn real rasters into catalogued COGs.
	@$(BIN)/geoetl demo

check: setup ## Lint, types, layers, dead code, unit tests: under two minutes.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache
	@bash scripts/dead_code.sh
	$(BIN)/deptry .
	$(BIN)/python -m pytest tests/unit -q

test: setup ## Run every test, in two processes (one alone: .venv/bin/python -m pytest).
	$(BIN)/python -m pytest -n 2

test-celery: setup ## Run Celery's own integration suite on our backend (see scripts/celery_suite.sh).
	@bash scripts/celery_suite.sh $(ARGS)

stop: ## Stop what `make demo` started; data stays.
	@if [ -x $(BIN)/geoetl ]; then $(BIN)/geoetl local down; fi

lock: ## Choose the newest allowed versions and write requirements.lock.
	@bash scripts/lock.sh --upgrade
