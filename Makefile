# `make course` and `make test` work in a fresh clone; the README has the plain pip lines for machines without make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Threads of torch that wait must sleep: beside another busy process, spinning ones cost ten times.
# Between two small products they should not fall asleep, which costs twice: they spin for some ten microseconds.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 10000

.PHONY: course test lab venv clean

course: venv
	$(BIN)/r3lab course --site runs/site

test: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy r3lab
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lab: venv
	$(BIN)/jupyter lab notebooks

venv: $(STAMP)

# Only when pyproject.toml is newer than the last finished set-up.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "r3lab needs Python 3.10 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache
