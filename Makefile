# Everything starts here: `make` runs the lab, `make help` lists the rest.
# A target is one line: what to do is said in Python (`lab/cli.py`) or in `scripts/`.

SHELL := /bin/sh
.DEFAULT_GOAL := lab
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
LAB := $(PYTHON) -m lab

# --- set up ---

.PHONY: setup
setup: ## install what is missing: a JDK 17, ab, Python's packages, the engines (safe to repeat)
	@scripts/bootstrap

# --- for developers ---

UV := .lab/uv/bin/uv

.PHONY: lock
lock: setup ## decide anew which versions are used: requirements.lock and lab/engines/locks (needs Maven)
	@test -x $(UV) || { $(PYTHON) -m venv .lab/uv && .lab/uv/bin/python -m pip install --quiet uv; }
	$(UV) pip compile --quiet --universal --python-version 3.10 --no-python-downloads --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate \
		--group pyproject.toml:build --group pyproject.toml:dev pyproject.toml -o requirements.lock
	$(PYTHON) -m lab.engines.lock

# --- help ---

.PHONY: help
help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z0-9%-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
