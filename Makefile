# Local and CI run the same commands: `.ci/run` is `make test`.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# A uv on PATH is used when it is there; else one from PyPI lives in .tools/, which git ignores.
UV := $(shell command -v uv 2>/dev/null || echo .tools/uv/bin/uv)
WEB_OUT := src/tallylight/web/index.html
WEB_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
CARGO := cargo
CARGO_FLAGS := --release --workspace --locked

.PHONY: help demo build test bench lint fmt python-env engine web tools test-tools lint-python lint-rust lint-web test-rust test-web test-python clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: build ## Install what is missing, build, and go on air with a test card
	exec .venv/bin/tallylight demo

build: tools web engine ## Leave .venv/bin/tallylight ready to run
	@echo "built: .venv/bin/tallylight"

test: test-tools build lint test-rust test-web test-python ## Every check and every suite

bench: build ## CPU per delivered packet, join time, memory per viewer, and the bare floor
	.venv/bin/python bench/run.py

# --- parts -----------------------------------------------------------------------------------------------------------

tools:
	@scripts/require-tools build

test-tools:
	@scripts/require-tools build test

.tools/uv/bin/uv:
	@mkdir -p .tools && echo '*' > .tools/.gitignore
	python3 -m venv .tools/uv
	.tools/uv/bin/pip install --quiet 'uv>=0.9,<1'

# Python packages without the engine, for work on the control plane alone.
python-env: $(UV) ## Python packages only, without compiling the engine
	$(UV) sync --locked --no-install-package tallylight-engine

# The wheel build and `cargo` share engine/target and the release profile, so each crate is compiled once.
engine: $(UV)
	$(UV) sync --locked

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

$(WEB_OUT): web/node_modules/.package-lock.json $(WEB_SOURCES)
	cd web && npm run build
	@touch $@

web: $(WEB_OUT)

lint: lint-python lint-rust lint-web ## ruff, mypy, rustfmt, clippy, tsc, Biome

lint-python:
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

lint-rust:
	cd engine && $(CARGO) fmt --all --check
	cd engine && $(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings

lint-web: web/node_modules/.package-lock.json
	cd web && npm run lint
	cd web && npm run check

fmt: ## Format everything
	.venv/bin/ruff check --fix-only --quiet
	.venv/bin/ruff format
	cd engine && $(CARGO) fmt --all
	cd web && npm run format

test-rust: ## The engine's own tests
	cd engine && $(CARGO) test $(CARGO_FLAGS)

test-web: web/node_modules/.package-lock.json ## The pages' unit tests
	cd web && npm test

test-python: ## Unit, contract, interop, end-to-end and fault suites
	.venv/bin/pytest

clean: ## Remove everything that was built
	rm -rf .venv .tools src/tallylight/web web/node_modules web/dist test-results
	cd engine && $(CARGO) clean
