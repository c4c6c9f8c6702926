# The commands of the course. Each makes .venv first, if it is missing or older than the
# requirements; nothing else has to be installed than Python 3.11 or newer.
#
#     make lab       open JupyterLab at the table of contents
#     make course    execute every tutorial, fresh and worked, and print how it went
#     make test      all checks that a change has to pass
#     make help      the rest

VENV ?= .venv
PY := $(VENV)/bin/python

# The first that works and is new enough; choose another with `make lab PYTHON=/path/to/python3.12`.
PYTHON ?=
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11 python)

# One BLAS thread per process: two on small matrices are slower than one on a busy machine.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

STAGES := stage-lint stage-types stage-words stage-check stage-tests stage-doctests stage-notebooks

.PHONY: help lab course test build check clean mutations $(STAGES)
.DEFAULT_GOAL := help

help:
	@echo "make lab       open JupyterLab at the table of contents"
	@echo "make course    execute every tutorial, fresh and worked, and print how it went"
	@echo "make test      run all checks (make -k test goes on after a failing stage)"
	@echo "make build     write the notebooks that do not match their source"
	@echo "make check     find drift between sources and notebooks; seconds, no kernel"
	@echo "make mutations see whether the tests notice changes of the package; a quarter of an hour"
	@echo "make clean     remove .venv and caches"

lab: $(VENV)/.learner
	@$(PY) -m course lab

course: $(VENV)/.learner
	@$(PY) -m course run

build: $(VENV)/.learner
	@$(PY) -m course build

check: $(VENV)/.learner
	@$(PY) -m course check

test: $(STAGES)
	@echo "== all $(words $(STAGES)) stages passed: $(STAGES:stage-%=%)"

# Stages run in this order, the quick ones first. `make stage-tests` runs one alone.
stage-lint: $(VENV)/.test
	@echo "== lint: ruff over package, tool, tests, sources and worked notebooks"
	@$(PY) -m ruff check .

stage-types: $(VENV)/.test
	@echo "== types: mypy --strict"
	@$(PY) -m mypy

stage-words: $(VENV)/.test
	@echo "== words: codespell"
	@$(PY) -m codespell_lib bolearn course docs sources tests $(wildcard *.md part_*/*.md)

stage-check: $(VENV)/.test
	@echo "== check: notebooks against their sources"
	@$(PY) -m course check

stage-tests: $(VENV)/.test
	@echo "== tests: package and tool"
	@$(PY) -m pytest -q -n 2 --dist worksteal tests

stage-doctests: $(VENV)/.test
	@echo "== doctests: the examples in the package's docstrings"
	@$(PY) -m pytest -q -n 2 --dist worksteal --doctest-modules bolearn

stage-notebooks: $(VENV)/.test
	@echo "== notebooks: fresh ones run with nothing attempted"
	@$(PY) -m course fresh
	@echo "== notebooks: worked ones run and print what they store"
	@$(PY) -m pytest -q -n 2 --dist loadfile -p course.nbval_plugin --nbval --nbval-current-env \
	    --nbval-cell-timeout=300 $(wildcard part_*/worked)

# Not part of `make test`: it tries every mutation of tests/mutations.toml.
mutations: $(VENV)/.test
	@$(PY) tests/mutate.py

# Stamps, so that an environment is made once and brought up to date when requirements change.
$(VENV)/.learner: requirements.txt constraints.txt pyproject.toml
	@$(call make-venv)
	@echo "== installing what a learner needs into $(VENV)"
	@$(PY) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.test: requirements-test.txt requirements-bridge.txt $(VENV)/.learner
	@echo "== installing what the tests need into $(VENV)"
	@$(PY) -m pip install --disable-pip-version-check -r requirements-test.txt
	@touch $@

define make-venv
if $(PY) -c "" 2>/dev/null; then exit 0; fi; \
for python in $(CANDIDATES); do \
    if $$python -c "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))" \
            2>/dev/null; then \
        echo "== making $(VENV) with $$($$python --version)"; \
        exec $$python -m venv --clear $(VENV); \
    fi; \
done; \
echo "No usable Python among: $(CANDIDATES)." >&2; \
echo "The course needs Python 3.11 or newer with its venv module. Install one from python.org," >&2; \
echo "or with your system's packages (Debian, Ubuntu: apt install python3 python3-venv); if it" >&2; \
echo "is installed where this cannot see it, name it: make lab PYTHON=/path/to/python3.12" >&2; \
exit 1
endef

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +
