# Every target does its own set-up in .venv; a fresh machine needs Python >= 3.11 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEEP   := $(VENV)/.installed-deep

# Two threads are slower than one here (OpenMP spin barriers); parallelism is processes.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help demo docs screenshots test browser faults check audit serve bench bench-crash bench-dashboards bench-fanout bench-fetch bench-fuzz bench-growth bench-peers bench-promotion \
  bench-replicas bench-service bench-serving bench-swaps bench-training-peers bench-triggers clean

help:
	@echo "make demo    the seven steps on a simulated exchange"
	@echo "make serve   the service on http://127.0.0.1:8000"
	@echo "make test    the tests"
	@echo "make browser the dashboard in a real Chromium"
	@echo "make faults  rehearsals: kills, full disks, a database that restarts, a lying exchange"
	@echo "make docs    the documentation as a site, in site/; a dead link fails"
	@echo "make screenshots   the pictures of the dashboard in docs/images"
	@echo "make check   format, lint, types, import rules"
	@echo "make audit   known vulnerabilities of what constraints.txt pins"
	@echo "make bench   the benchmarks, each against a peer"
	@echo "make bench-promotion   how often a promotion is luck, and how soon a better model is found"
	@echo "make bench-crash       SIGKILL at every step, commit and file operation of a run"
	@echo "make bench-dashboards  what twenty open dashboards cost the API, among 200 series"
	@echo "make bench-fanout      a run over several series, side by side against one after the other"
	@echo "make bench-fetch       100,000 minutes of candles against python-binance's own way and ccxt's loop; ten symbols"
	@echo "make bench-fuzz        every operation of the API, asked rightly and wrongly, thousands of times"
	@echo "make bench-growth      what a series costs where there are 1 to 1,000 of them"
	@echo "make bench-replicas    two services on one PostgreSQL while a month goes by"
	@echo "make bench-service     the API while models train; its memory after 10,000 requests and 100 runs"
	@echo "make bench-serving     forecasts over HTTP against a constant route and a plain one around a model"
	@echo "make bench-peers       the same beside MLServer, MLflow and BentoML, each installed on its own (4 GB)"
	@echo "make bench-training-peers   training beside FreqAI and mlforecast, each installed on its own (3 GB)"
	@echo "make bench-swaps       promotions to and fro under load: no answer fails, none mixes versions"
	@echo "make bench-triggers    false alarms of the drift triggers, and how soon a break is noticed"

# The tests train the neural models too; who only runs the demo or the service need not wait for PyTorch.
$(DEEP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deep]'
	@touch $@

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,postgres]'
	@touch $@

demo: $(STAMP)
	$(BIN)/clm demo --yes

serve: $(STAMP)
	$(BIN)/clm serve

test: $(DEEP)
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not faults" --ignore tests/browser

# Apart: Playwright's tests and asyncio's cannot share a process.
browser: $(STAMP)
	$(BIN)/pytest -q tests/browser

# Material speaks up about a successor of MkDocs with every build.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

screenshots: $(STAMP)
	CLM_TEST_SCREENSHOTS=1 $(BIN)/pytest -q tests/browser/test_screenshots.py

faults: $(STAMP)
	$(BIN)/pytest -q -n 2 --dist load -m faults tests/faults

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The auditor lives apart from what it audits. Strict: a service that does not answer is no clean bill.
audit:
	@test -x $(VENV)/audit/bin/pip-audit || $(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9'
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-serving: $(STAMP)
	$(BIN)/python -m benchmarks.serving

bench-peers: $(STAMP)
	$(BIN)/python -m benchmarks.serving --peers

bench-swaps: $(STAMP)
	$(BIN)/python -m benchmarks.swaps

bench-triggers: $(STAMP)
	$(BIN)/python -m benchmarks.triggers

bench-crash: $(STAMP)
	$(BIN)/python -m benchmarks.crash

bench-dashboards: $(STAMP)
	$(BIN)/python -m benchmarks.dashboards

bench-fanout: $(STAMP)
	$(BIN)/python -m benchmarks.fanout

bench-fetch: $(STAMP)
	$(BIN)/python -m benchmarks.fetching
	$(BIN)/python -m benchmarks.fetching --sustained

bench-fuzz: $(STAMP)
	$(BIN)/python -m benchmarks.fuzz

bench-growth: $(STAMP)
	$(BIN)/python -m benchmarks.growth

bench-training-peers: $(STAMP)
	$(BIN)/python -m benchmarks.training_peers

bench-replicas: $(STAMP)
	$(BIN)/python -m benchmarks.replicas

bench-service: $(STAMP)
	$(BIN)/python -m benchmarks.service

bench-promotion: $(STAMP)
	$(BIN)/python -m benchmarks.promotion

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
