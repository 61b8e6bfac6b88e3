# `make demo` and `make test` are all a newcomer needs: each makes its own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-full check bench soak reliability account docs clean

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

# A quarter of an hour; writes docs/soak.md.
soak: $(VENV)/.ready
	$(BIN)/python -m benchmarks.soak --write

# Every fault on the wire once; writes the table of docs/reliability.md. A stale page fails `make test`.
reliability: $(VENV)/.ready
	ANTIPHON_WRITE_RELIABILITY=1 $(BIN)/python -m pytest tests/faults/test_faults.py tests/faults/test_faults_drops.py tests/faults/test_faults_handshake.py

# 200 conversations with faults, eight minutes; writes their account into docs/reliability.md.
account: $(VENV)/.ready
	$(BIN)/python tests/faults/account.py --write

# The documentation, into build/docs/index.html; a broken link or an undocumented public name fails.
docs: $(VENV)/.ready
	$(BIN)/python -m sphinx -b html -n -W --keep-going docs build/docs

clean:
	rm -rf $(VENV) .venv-bench .venv-livekit build dist *.egg-info demo-out batch-out .mypy_cache .ruff_cache .pytest_cache
