# `make` alone lists the targets. PYTHON=python3.12 chooses another interpreter for the set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PLACE := $(shell cat $(READY) 2>/dev/null)
export DVC_NO_ANALYTICS := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup repro encoder figures test soak check bench mutants docs ui table doctor sync

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

# Programs in a virtual environment name its place: after a move it is made anew.
ifneq ($(PLACE),)
ifneq ($(PLACE),$(CURDIR))
.PHONY: $(READY)
CLEAR := --clear
endif
endif

setup: $(READY)  ## make the virtual environment and install into it, once

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; call make PYTHON=python3.11 or newer" >&2; exit 1; }
	@echo "setting up in $(VENV), once; some minutes, 5 GB of packages"
	$(PYTHON) -m venv $(CLEAR) $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable '.[pipeline]' --group dev
	@pwd -P > $@

repro: $(READY)  ## run the pipeline: train, measure, compare; results/report.html
	@for file in dvc.lock .dvc/tmp/rwlock; do test -s $$file || rm -f $$file; done  # emptied by a kill, they stop DVC
	dvc repro
	@# The page is no output, so where DVC took the comparison out of its cache the page is an older one's.
	@$(BIN)/python -m exemplar.report.stamp results || dvc repro --force --single-item compare
	@$(BIN)/python -m exemplar.report.ending results

encoder: $(READY)  ## train the encoder that ships with the package again, from CIFAR-10 (six minutes on two cores)
	runs/encoder.sh

figures: $(READY)  ## draw the paper's figures from all experiments: results/published
	$(BIN)/python -m stages.figures

test: $(READY)  ## run the tests, in two processes of one thread each: with more they would wait for one another
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

soak: $(READY)  ## kill the pipeline at KILLS random points, and what else takes minutes
	KILLS=$(or $(KILLS),200) $(BIN)/python -m pytest -m soak -n 2 -s --durations=5

check: $(READY)  ## lint and check types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## measure speed against peers and limits (half an hour, needs a C++ compiler); ROWS=rendering for a part
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks $(ROWS)

mutants: $(READY)  ## change operators and numbers, SAMPLE of them, and see whether tests notice; MODULES=exemplar/probe/knn.py
	$(BIN)/python -m pip install --quiet --group mutants
	$(BIN)/python tests/mutants.py --sample $(or $(SAMPLE),40) $(MODULES)

docs: $(READY)  ## build a site of all pages, with a search, that needs no network: build/site/index.html
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict  # --quiet would also keep quiet about links
	@echo build/site/index.html

ui: $(READY)  ## show the MLflow runs on http://127.0.0.1:PORT, 5000 unless it is named
	@$(BIN)/python -m stages.ui --port $(or $(PORT),5000)

table: $(READY)  ## list all experiments: what was changed, accuracy, spread over random seeds
	@$(BIN)/python -m exemplar table

doctor: $(READY)  ## say what this machine has, and whether what was made is whole
	@$(BIN)/python -m stages.doctor

sync: $(READY)  ## send to MLflow what it did not take while it was away
	@$(BIN)/python -m stages.sync
