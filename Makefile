# Every target does its own set-up in .venv; a fresh machine needs Python >= 3.11 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Two threads are slower than one here (OpenMP spin barriers); parallelism is processes.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help demo test check serve bench bench-promotion clean

help:
	@echo "make demo    the seven steps on a simulated exchange"
	@echo "make serve   the service on http://127.0.0.1:8000"
	@echo "make test    the tests"
	@echo "make check   format, lint, types, import rules"
	@echo "make bench   the benchmarks, each against a peer"
	@echo "make bench-promotion   how often a promotion is luck, and how soon a better model is found"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,postgres]'
	@touch $@

demo: $(STAMP)
	$(BIN)/clm demo --yes

serve: $(STAMP)
	$(BIN)/clm serve

test: $(STAMP)
	$(BIN)/pytest -q -n 2 --dist loadgroup

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-promotion: $(STAMP)
	$(BIN)/python -m benchmarks.promotion 2000

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
