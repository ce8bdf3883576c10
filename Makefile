# `make demo` and `make test` do all set-up themselves, in .venv. PYTHON is the interpreter to make it with (3.11+).
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
NATIVE := $(wildcard processor/native/*/* kernels/native/* scheduler/native/* processor/wire/proto/*)

SHELL := /bin/bash

.PHONY: demo test lint wheels bench soak sanitize clean

demo: $(INSTALLED)
	$(BIN)/corelane demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --no-loadscope-reorder

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# An sdist and a manylinux wheel, in dist/; installing the wheel needs no compiler.
wheels: $(INSTALLED)
	$(BIN)/python -m build

bench: $(INSTALLED)
	$(BIN)/python -m bench.serving
	$(BIN)/python -m bench.loading
	$(BIN)/python -m bench.path
	$(BIN)/python -m bench.python_path
	$(BIN)/python -m bench.session_group
	$(BIN)/python -m bench.precision
	$(BIN)/python -m bench.isolation
	$(BIN)/python -m bench.scheduler_scale
	$(BIN)/python -m bench.cost_model
	$(BIN)/python -m bench.fused
	$(BIN)/python -m bench.lookups
	$(BIN)/python -m bench.memory

# Native code under sanitizers, a fuzzer and kills, for longer than the tests do. The fuzzer needs clang.
sanitize: $(INSTALLED)
	$(BIN)/python -m tests.native.programs

soak: $(INSTALLED)
	$(BIN)/python -m bench.soak
	$(BIN)/python -m bench.chaos --seconds 14400

clean:
	rm -rf .venv build dist *.egg-info processor/wire/descriptors.binpb processor/*.so kernels/*.so scheduler/*.so

# tensorflow-serving-api asks for `tensorflow`, which would replace tensorflow-cpu, and tritonclient for an older protobuf
# and ml_dtypes than ours, with which it works, too: they come without their dependencies.
$(INSTALLED): setup.py pyproject.toml $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Corelane needs Python 3.11 or newer; set PYTHON=")'
	@echo "Setting up .venv, once: about 600 MB of packages, then the native code is compiled; two to five minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@set -o pipefail; $(BIN)/pip install --disable-pip-version-check --progress-bar off --editable '.[demo,dev]' | $(PYTHON) .ci/progress
	@set -o pipefail; $(BIN)/pip install --disable-pip-version-check --progress-bar off --no-deps \
		'tensorflow-serving-api>=2.18,<2.22' 'tritonclient>=2.50,<3' | $(PYTHON) .ci/progress
	@touch $(INSTALLED)
