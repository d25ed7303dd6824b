# Everything a newcomer needs: `make serve`, `make test`, `make demo`. Python 3.11 or later and make only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
FLIGHTS ?=
JOBS ?= 2

.PHONY: help serve demo test check suite soak migrate lock clean

help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Headrace needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Say which to use: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@ $(VENV)/.serve

serve: $(VENV)/.serve  ## Set up once, then serve on http://127.0.0.1:8000 with an SQLite file
	$(BIN)/headrace serve --host $(HOST) --port $(PORT)

migrate: $(VENV)/.serve  ## Bring the database to this release's schema
	$(BIN)/headrace migrate

demo: $(VENV)/.dev  ## Phishing and 2013's flights over HTTP, beside a bare River loop (FLIGHTS=20000 for a short one)
	$(BIN)/headrace demo $(if $(FLIGHTS),--flights $(FLIGHTS))

test: check suite  ## Set up once, then lint, check types and run the tests

check: $(VENV)/.dev  ## Lint and check types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy app learners tests

suite: $(VENV)/.dev  ## Run the tests in their short form
	$(BIN)/python -m pytest -q -n $(JOBS)

soak: $(VENV)/.dev  ## Run the tests in their full form: all kills, the million-entry log, 1,000 models
	HEADRACE_TEST_FULL=1 $(BIN)/python -m pytest -q -n $(JOBS)

lock:  ## Resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml --output-file requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra dev --extra demo --constraint requirements.lock pyproject.toml --output-file requirements-dev.lock

clean:  ## Remove what was set up; databases stay
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
