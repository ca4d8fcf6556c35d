# `make` lists the targets. Nothing here needs more than Python 3.11 or 3.12, and pip.

SHELL := bash
PYTHON ?= python3
BIN := .venv/bin

# The budget of `make run`, sized for a CPU, and a new name each time, as a taken one is refused.
# Anything after it wins: make run ARGS="--seed=1".
RUN_ARGS ?= --config experiments/brax_ant.yaml --name $(shell date +%Y%m%d-%H%M%S)

# A file runs in one process, which builds its fixtures and compiles its programs once; in the
# order of tests/conftest.py, and not in that of the number of tests.
IN_PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run test test-wide test-exact test-slow test-gpu acceptance bench notebooks check format docs docs-serve lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

run: .venv/.installed ## train brax/ant with ternary_nes; ARGS="--seed=1" is appended
	$(BIN)/python -m ternevo.run --env brax/ant --strategy ternary_nes $(RUN_ARGS) $(ARGS)

test: .venv/.installed ## run the tests; ARGS="-k ternary" is appended
	$(BIN)/python -m pytest $(IN_PARALLEL) $(ARGS)

test-wide: .venv/.installed ## run the tests marked wide: more names of what a default test shows for one
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "wide and not slow and not gpu" $(ARGS)

test-exact: .venv/.installed ## run the tests of equal bits as XLA optimises for users
	XLA_FLAGS= $(BIN)/python -m pytest $(IN_PARALLEL) -m "exact and not slow and not gpu" $(ARGS)

test-slow: .venv/.installed ## run the tests marked slow; those of equal bits as XLA optimises for users
	$(BIN)/python -m pytest -m "slow and not exact" $(ARGS) || [ $$? -eq 5 ] # 5: there are none
	XLA_FLAGS= $(BIN)/python -m pytest -m "slow and exact" $(ARGS) || [ $$? -eq 5 ]

test-gpu: .venv/.installed ## run the tests marked gpu (needs jax for the accelerator)
	$(BIN)/python -m pytest -m gpu $(ARGS) || [ $$? -eq 5 ]

acceptance: .venv/.installed ## run what experiments/acceptance.py lacks, for hours, and write docs/systems.md; ARGS=A-RS for some
	$(BIN)/python experiments/acceptance.py $(ARGS)
	$(BIN)/python experiments/systems.py

bench: .venv/.installed ## time ternevo beside evosax, ten minutes on CPU; ARGS="--suite gpu" is appended
	$(BIN)/python -m ternevo.bench $(ARGS)

notebooks: .venv/.installed ## execute the notebooks, for minutes each, and store their outputs; ARGS=00_quickstart
	$(BIN)/python notebooks/execute.py $(ARGS)

check: .venv/.installed ## lint, check the format and the types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: .venv/.installed ## sort imports, fix what can be fixed, format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs docs-serve: export NO_MKDOCS_2_WARNING = 1

docs: .venv/.installed ## build the documentation into site/; a warning is an error
	$(BIN)/mkdocs build --strict

docs-serve: .venv/.installed ## show the documentation on localhost:8000, and build it anew as it changes
	$(BIN)/mkdocs serve

# The stamp is written last and removed first: a half-made .venv is made afresh by the next `make`,
# and a whole one is brought up to date in seconds when one of the two files has changed.
.venv/.installed: pyproject.toml constraints.txt setup.py $(wildcard ternevo/deploy/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' || { \
	  echo "ternevo needs Python 3.11 or 3.12, and $(PYTHON) is not:" \
	    "$$($(PYTHON) --version 2>&1)" >&2; \
	  echo "Name one that is: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@if [ -e $@ ]; then rm $@; else $(PYTHON) -m venv --clear .venv; fi
	@echo "Installing the packages of constraints.txt, a dot for each (about a minute, and 1.6 GB of disk)"
	@set -o pipefail; \
	$(BIN)/python -m pip install --progress-bar off --require-hashes -r constraints.txt \
	  | while read -r word _; do [ "$$word" != Collecting ] || printf .; done && echo
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock: ## choose versions anew and write constraints.txt (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --fork-strategy fewest --generate-hashes --upgrade --quiet --output-file constraints.txt

clean: ## remove the virtual environment and caches, and keep runs/
	rm -rf .venv build dist site *.egg-info ternevo/deploy/*.so .pytest_cache .hypothesis .ruff_cache MUJOCO_LOG.TXT
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
