# `make demo` and `make test` are all a newcomer needs: each makes its own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-full check bench clean

$(VENV)/.ready: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "antiphon needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python examples/demo.py

test: $(VENV)/.ready
	$(BIN)/python -m pytest

# What takes longer than a contributor wants to wait; `make test` has the rest.
test-full: $(VENV)/.ready
	$(BIN)/python -m pytest -m full

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The peers have a virtual environment of their own: what they depend on is not ours.
.venv-bench/.ready: benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

bench: $(VENV)/.ready .venv-bench/.ready
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .venv-bench .venv-livekit build dist *.egg-info demo-out .mypy_cache .ruff_cache .pytest_cache
