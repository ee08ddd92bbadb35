# Every target does its own set-up in .venv, and installs no more than it needs; a fresh machine needs
# Python >= 3.11 and make. Where uv is installed it does the downloading, else pip.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What is there: the product; what tests need; a browser's driver and the linters' needs; the documentation's
# tools; PyTorch, for the networks; what benchmarks compare with.
CORE    := $(VENV)/.installed
DEV     := $(VENV)/.installed-dev
BROWSER := $(VENV)/.installed-browser
DOCS    := $(VENV)/.installed-docs
DEEP    := $(VENV)/.installed-deep
MAKERS  := $(VENV)/.installed-generators
BENCH   := $(VENV)/.installed-bench

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ifneq ($(shell command -v uv 2>/dev/null),)
INSTALL := uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt
else
INSTALL := $(PIP)
endif

# Two threads are slower than one here (OpenMP spin barriers); parallelism is processes.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
# Where nothing may be kept, each of hundreds of processes compiles all of CLM again.
unexport PYTHONDONTWRITEBYTECODE

# Processes that test side by side. Beyond eight, each with a PostgreSQL of its own, memory is what is short.
# COSTS=FILE: what each test cost, and a table by folder.
PYTEST := $(BIN)/pytest -q -n logical --maxprocesses 8 $(if $(COSTS),--costs=$(COSTS))

.DEFAULT_GOAL := help
.PHONY: help demo docs screenshots test rehearse rehearse-figures browser chromium faults mutants check coverage audit serve bench figures bench-crash bench-dashboards bench-fanout bench-fetch bench-fuzz bench-growth bench-peers bench-promotion \
  bench-replicas bench-service bench-serving bench-swaps bench-training-peers bench-triggers clean

help:
	@echo "make demo    the seven steps on a simulated exchange"
	@echo "make serve   the service on http://127.0.0.1:8000"
	@echo "make test    the tests, in minutes; nothing of 1 GB, no browser"
	@echo "make rehearse   what takes longer: networks, fuzzing, replicas, a cluster, the documentation, replays"
	@echo "make rehearse-figures   the same of long figures: their way, with next to nothing to measure"
	@echo "make browser the dashboard in a real Chromium"
	@echo "make faults  rehearsals: kills, full disks, a database that restarts, a lying exchange"
	@echo "make mutants 50 ways to break the product, each of which a test must notice"
	@echo "make docs    the documentation as a site, in site/; a dead link fails"
	@echo "make screenshots   the pictures of the dashboard in docs/images"
	@echo "make check   format, lint, types, import rules"
	@echo "make coverage   branches of the code that tests, rehearsals and faults go through, child processes too"
	@echo "make audit   known vulnerabilities of what constraints.txt pins"
	@echo "make bench   the benchmarks, each against a peer"
	@echo "make figures the figures and tables that README and docs quote, made again and put in place"
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

$(CORE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	@touch $@

$(DEV): $(CORE)
	$(INSTALL) -e '.[dev,postgres]'
	@touch $@

$(BROWSER): $(DEV)
	$(INSTALL) -e '.[browser]'
	@touch $@

$(DOCS): $(CORE)
	$(INSTALL) -e '.[docs]'
	@touch $@

$(BENCH): $(DEV)
	$(INSTALL) -e '.[bench]'
	@touch $@

# By pip, always: it is pip that a machine tells where a PyTorch without CUDA is to be had.
$(DEEP): $(DEV)
	$(PIP) -e '.[deep]'
	@touch $@

demo: $(CORE)
	$(BIN)/clm demo --yes

serve: $(CORE)
	$(BIN)/clm serve

test: $(DEV)
	$(PYTEST) --dist loadfile -m "not rehearse and not faults" --ignore tests/browser

# Makers of clients from the OpenAPI document live apart: they want other versions than the product.
# openapi-generator-cli brings its jar, and needs a Java; openapi-typescript comes by npx, where there is Node.
$(MAKERS): Makefile
	@test -x $(VENV)/makers/bin/python || $(PYTHON) -m venv $(VENV)/makers
	$(VENV)/makers/bin/python -m pip install --quiet --disable-pip-version-check \
	  openapi-generator-cli==7.26.0 openapi-python-client==0.29.1 openapi-spec-validator==0.9.0 ruff==0.17.6
	@touch $@

rehearse: $(DEEP) $(DOCS) $(MAKERS)
	$(PYTEST) --dist loadfile -m rehearse --ignore tests/browser

# What puts long figures together, with next to nothing in the place of their benchmarks.
rehearse-figures: $(DEEP) $(BENCH)
	CLM_TEST_LONG_FIGURES=1 $(BIN)/pytest -q -m rehearse tests/docs/test_long_figures.py

# Apart: Playwright's tests and asyncio's cannot share a process.
browser: $(BROWSER) chromium
	$(BIN)/pytest -q $(if $(COSTS),--costs=$(COSTS)) tests/browser

# Installed where that can be done without asking; elsewhere the tests say what is missing, and skip.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	fi || echo "Chromium could not be installed; going on without"

# Material speaks up about a successor of MkDocs with every build.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

screenshots: $(BROWSER) chromium
	CLM_TEST_SCREENSHOTS=1 $(BIN)/pytest -q tests/browser/test_screenshots.py

faults: $(DEV)
	$(PYTEST) --dist load -m faults tests/faults

mutants: $(DEV)
	$(BIN)/python -m tests.mutants

check: $(BROWSER)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Child processes are measured too, the nursery's forks among them, whatever folder they work in.
coverage: export COVERAGE_FILE = $(CURDIR)/.coverage
coverage: $(DEEP) $(DOCS)
	rm -f .coverage .coverage.*
	-$(BIN)/coverage run -m pytest -q -n logical --dist loadfile --ignore tests/browser --ignore tests/faults
	-$(BIN)/coverage run -m pytest -q -n logical --dist load -m faults tests/faults
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=miss

# The auditor lives apart from what it audits. Strict: a service that does not answer is no clean bill.
audit:
	@test -x $(VENV)/audit/bin/pip-audit || $(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9'
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

bench: $(BENCH)
	$(BIN)/python -m benchmarks

# NAMES="demo search": these; else all, which takes some hours.
figures: $(BENCH)
	$(BIN)/python -m benchmarks.figures $(NAMES)

bench-serving: $(BENCH)
	$(BIN)/python -m benchmarks.serving

bench-peers: $(DEV)
	$(BIN)/python -m benchmarks.serving --peers

bench-swaps: $(DEV)
	$(BIN)/python -m benchmarks.swaps

bench-triggers: $(DEV)
	$(BIN)/python -m benchmarks.triggers

bench-crash: $(DEV)
	$(BIN)/python -m benchmarks.crash

bench-dashboards: $(DEV)
	$(BIN)/python -m benchmarks.dashboards

bench-fanout: $(DEV)
	$(BIN)/python -m benchmarks.fanout

bench-fetch: $(DEV)
	$(BIN)/python -m benchmarks.fetching
	$(BIN)/python -m benchmarks.fetching --sustained

bench-fuzz: $(DEV)
	$(BIN)/python -m benchmarks.fuzz

bench-growth: $(DEV)
	$(BIN)/python -m benchmarks.growth

bench-training-peers: $(DEV)
	$(BIN)/python -m benchmarks.training_peers

bench-replicas: $(DEV)
	$(BIN)/python -m benchmarks.replicas

bench-service: $(DEV)
	$(BIN)/python -m benchmarks.service

bench-promotion: $(DEV)
	$(BIN)/python -m benchmarks.promotion

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
