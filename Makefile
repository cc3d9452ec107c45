# `make` alone lists what there is.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help setup study test test-slow test-lowest test-gpu bench-gpu bench check format lock dashboard

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
QUICK := data/quick
# Beside the runs of single slices: patients as wholes, on features that are computed once.
PATIENTS := head=classify learning=linear_probe unit=patient pooling=attention batch_size=8 optimizer.lr=0.01 epochs=30
# Networks that inspect TLS have an authority of their own, which pip heeds by itself.
export UV_SYSTEM_CERTS ?= true
SOURCES := $(shell find fistula conf -name '*.py' -o -name '*.yaml' -o -name '*.html' -o -name '*.css' -o -name '*.js')

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED) ## Set up .venv from requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than Python 3.11. Name a newer one: make PYTHON=python3.12 study"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip sync --python $(BIN)/python --compile-bytecode requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	@touch $@

study: $(QUICK)/cohort/ingest.json ## Synthetic cohort, sweep of 10 runs, report: under 8 minutes on 2 cores
	$(BIN)/fistula train -m cohort=$(QUICK)/cohort study=demonstration
	$(BIN)/fistula train -m cohort=$(QUICK)/cohort study=demonstration $(PATIENTS)
	$(BIN)/fistula report study=multirun/demonstration

# A change of the code makes another cohort, and other runs than those that lie in multirun/quick: begin anew.
$(QUICK)/cohort/ingest.json: $(INSTALLED) $(SOURCES)
	rm -rf $(QUICK) multirun/demonstration
	$(BIN)/fistula phantom out=$(QUICK)/phantom patients=40 controls=32
	$(BIN)/fistula ingest source=$(QUICK)/phantom labels=$(QUICK)/phantom/labels.csv out=$(QUICK)/cohort \
	  classes=[normal,fistula] spacing_mm=0.65 size=96

test: $(INSTALLED) ## The tests, about 5 minutes on 2 cores
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

test-slow: $(INSTALLED) ## The tests marked slow, two at a time, one thread each
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/pytest -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-lowest: $(INSTALLED) ## The tests on the oldest versions that pyproject.toml allows, in a separate environment
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --python .venv-lowest/bin/python --compile-bytecode --resolution lowest-direct \
	  --editable '.[cluster,dev,dicom,onnx,optuna,serve,tracking,weights]'
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 .venv-lowest/bin/pytest --numprocesses 2 --dist loadfile

test-gpu: $(INSTALLED) ## The tests that need a GPU, including slow ones
	$(BIN)/python -c 'import torch; torch.zeros(1, device="cuda"); print(torch.cuda.get_device_name())'  # else all would be skipped
	$(BIN)/pytest -m cuda

bench-gpu: $(INSTALLED) ## Images per second, scoring and runs per hour on this GPU; writes benchmarks/cards/NAME.md
	$(BIN)/python benchmarks/card.py

bench: $(INSTALLED) ## Training and a sweep against bare PyTorch loops; writes benchmarks/results.json
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/sweep.py

check: $(INSTALLED) ## Lint, format and types, as CI checks them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# MLflow's own first page is for language models: each study has an address that opens its table of runs.
dashboard: $(INSTALLED) ## Runs of logger=mlflow in a browser, on this machine only
	@test -f multirun/mlflow.db || { echo 'multirun/mlflow.db: no run was trained with logger=mlflow yet'; exit 2; }
	@$(BIN)/python -c 'import sqlite3; studies = sqlite3.connect("multirun/mlflow.db").execute("SELECT name, experiment_id FROM experiments WHERE experiment_id > 0"); \
	  print(*(f"{name}: http://127.0.0.1:5000/#/experiments/{number}?workflowType=machine_learning" for name, number in studies), sep="\n")'
	$(BIN)/mlflow ui --backend-store-uri sqlite:///multirun/mlflow.db --host 127.0.0.1 --port 5000

lock: ## Resolve requirements.lock again from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --universal --python-version 3.11 \
	  $(addprefix --extra ,cluster dev dicom onnx optuna serve tracking weights) --custom-compile-command "make lock" pyproject.toml -o requirements.lock
