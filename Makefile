# The commands of this project: `make help` lists them. A fresh machine needs python3 (with venv)
# and a C compiler; everything else is installed into .venv inside this checkout.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
# On Linux the build of PyTorch for CPUs, which is small. `make TORCH_INDEX= ...` takes the one
# with CUDA from PyPI.
ifeq ($(shell uname -s),Linux)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif
# More pytest arguments: make test PYTEST_ARGS='-k update'
PYTEST_ARGS ?=

run := $(VENV)/bin/python
# Several test processes share the cores: waiting threads sleep instead of spinning.
quiet := OMP_WAIT_POLICY=passive
sources := $(shell find include src python cmake bench -type f -not -name '*.pyc' 2>/dev/null) \
	CMakeLists.txt pyproject.toml README.md
c_files = $(shell find include src tests/c tests/fuzz bench python -name '*.[ch]' ! -name kernel_source.c)
extras := test,models,bench,demo,lint

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-c test-python test-mac fuzz fuzz-python check format bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

$(VENV)/.stamp-tools: tools/setup_venv.sh
	PYTHON='$(PYTHON)' tools/setup_venv.sh '$(VENV)' '$(TORCH)' '$(TORCH_INDEX)'
	@touch $@

$(VENV)/.stamp-package: $(VENV)/.stamp-tools $(sources)
	@echo 'Building and installing causal-conv1d-mps'
	@$(run) -m pip --disable-pip-version-check install --quiet --no-build-isolation \
		--config-settings=build-dir=build/python '.[$(extras)]'
	@touch $@

setup: $(VENV)/.stamp-package ## Create .venv, build and install the package

demo: setup ## Quick start, speed table, and a small language model trained on the spot
	$(run) -m causal_conv1d_mps demo

test: test-c test-python ## All tests

test-c: ## The C tests: a C compiler is enough (for arm64 too, under qemu where that is installed)
	PATH="$$PATH":'$(abspath $(VENV))/bin' tools/test_c.sh $(JOBS)

test-python: setup ## The Python tests
	$(quiet) $(run) -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

test-mac: setup ## On a Mac: the tests on its GPU and the benchmark table, into mac-report.md
	$(run) tools/mac_report.py --out mac-report.md -- $(PYTEST_ARGS)

fuzz: setup ## The C operations on arbitrary arguments: SECONDS=600 for each
	PATH='$(abspath $(VENV))/bin':"$$PATH" tools/fuzz.sh $(JOBS) $(or $(SECONDS),600)

fuzz-python: setup ## Random calls against an independent reference: CASES=20000 SEED=0
	$(quiet) $(run) tests/fuzz/differential.py --cases $(or $(CASES),20000) \
		--seed $(or $(SEED),0) --jobs $(JOBS) --device $(or $(DEVICE),cpu)

check: setup ## Lint, formatting, sanitizers, exported symbols, installed library
	PATH='$(abspath $(VENV))/bin':"$$PATH" tools/check.sh $(JOBS)

format: setup ## Format the sources
	$(VENV)/bin/clang-format -i $(c_files)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: setup ## Verify, then time every shape; table, JSON and chart in bench-results/
	$(run) -m bench --out bench-results

clean: ## Remove what was built (.venv stays)
	rm -rf build dist bench-results $(VENV)/.stamp-package
