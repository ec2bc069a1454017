# Everything runs in .venv, which make sets up by itself; nothing is installed system-wide.

PYTHON ?= python3
CONSTRAINTS ?= constraints/cpu.txt
ARGS ?=
JOBS ?= 2

BIN := .venv/bin
# The name holds the place of this checkout, so that a moved or copied .venv is installed again.
STAMP := .venv/installed-$(shell pwd | cksum | cut -d ' ' -f 1)

# Golden arrays and real data are tested against where they are found, or where you say they are.
ifeq ($(origin IMSEG_GOLDEN),undefined)
ifneq ($(wildcard ../shared/golden/.),)
export IMSEG_GOLDEN := $(abspath ../shared/golden)
endif
endif
ifeq ($(origin IMSEG_DATA),undefined)
ifneq ($(wildcard ../shared/data/.),)
export IMSEG_DATA := $(abspath ../shared/data)
endif
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-rest test-cluster test-all lint types golden faults docs bench clean

# Each process of the tests takes a stretch of the list, so that most finished runs which tests share
# are made in one of them only.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12   the Python to use, 3.11 or later (when .venv is made)"
	@echo "  CONSTRAINTS=        install without constraints/cpu.txt: the torch you have, or one for your GPU"
	@echo "  ARGS='...'          handed on: make demo ARGS=--quick, make test ARGS='-k consensus'"
	@echo "  JOBS=2              processes that run tests side by side"

demo: $(STAMP) ## Train two approaches on the embedded demo data, into demo/
	$(BIN)/imseg demo --out demo $(ARGS)

test: lint types ## Check style, types and imports, then run the fast tests: under 5 minutes on two cores
	$(PYTEST) $(ARGS)

test-rest: $(STAMP) ## Run what "make test" leaves out, and its laws with more examples
	$(PYTEST) -m "(rest or slow or browser or hypothesis) and not gpu and not cluster" --hypothesis-profile full $(ARGS)

test-cluster: $(STAMP) ## Train on a Ray cluster of three nodes here, and lose some: in one process
	$(BIN)/python -m pytest tests/engine/workers/test_ray_tasks.py -m cluster $(ARGS)

test-all: lint types ## Run everything at once, tests on a GPU too where there is one
	$(PYTEST) -m "not cluster" --hypothesis-profile full $(ARGS)
	$(MAKE) test-cluster

lint: $(STAMP) ## Check style, format and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP) ## Check the types
	$(BIN)/python -m mypy

golden: $(STAMP) ## Compare with the golden arrays in the folder IMSEG_GOLDEN
	$(BIN)/python -m pytest tests/golden $(ARGS)

faults: $(STAMP) ## Kill a run at every write and at random moments, fill its disk, flip bytes: an hour
	$(BIN)/python -m tests.faults.campaign $(ARGS)

docs: $(STAMP) ## Build the documentation into site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

bench: $(STAMP) ## Measure speed and memory against the naive way, in a few minutes
	$(BIN)/python benchmarks/bench.py $(ARGS)

clean: ## Remove .venv and all caches; results (demo/, runs/) stay
	rm -rf .venv build dist site src/*.egg-info
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@command -v $(PYTHON) > /dev/null || { \
	  echo "imseg needs Python 3.11 or later, and there is no $(PYTHON)." >&2; \
	  echo "  Try: make demo PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "imseg needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "  Try: make demo PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up .venv (once, a few minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  $(if $(strip $(CONSTRAINTS)),-c $(CONSTRAINTS)) -e '.[dev]'
	@rm -f .venv/installed-*
	@touch $@
