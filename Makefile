# Needs make (GNU make 3.81 will do) and Python 3.11 or 3.12. `make` alone lists what there is.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell bin/find-python)

.PHONY: help run cluster cluster-down settings test check format bench chaos soak audit screenshots lock clean

help:
	@echo "make run          start everything: http://localhost:8501"
	@echo "make cluster      Redis, feed, and the job on a Flink cluster of two TaskManagers, in the background"
	@echo "make cluster-down end it"
	@echo "make settings     put the settings into README.md and .env.example"
	@echo "make test         check, then all tests (real Redis, real Flink, real browser)"
	@echo "make check        format, lint and types, without changing a file"
	@echo "make format       put the format right"
	@echo "make bench        measure what the README states, and print it as a table"
	@echo "make chaos        kill every process 20 times and hold the candles against golden ones (SEED=7 KILLS=20)"
	@echo "make soak         an hour under load, and whether it takes more and more (MINUTES=60)"
	@echo "make screenshots  take the README's pictures again"
	@echo "make audit        ask PyPI for known holes in what we install"
	@echo "make lock         freeze what the requirements resolve to into constraints.txt"
	@echo "make clean        remove the virtual environment, caches and the state folder"

run: $(VENV)/run.stamp
	@trap 'asked=yes' INT; FEED="$${FEED:-auto}" $(BIN)/streamlit run app.py || [ "$$asked" ] # Ctrl-C is no error

# A state folder of its own: its streams are split into other shards than those of make run.
cluster cluster-down: export STATE_DIR := .candlecast-cluster
cluster cluster-down: export SHARDS ?= 4
cluster cluster-down: export PARALLELISM ?= 2

cluster: $(VENV)/run.stamp
	@$(BIN)/python -m pipeline cluster up

cluster-down: $(VENV)/run.stamp
	@$(BIN)/python -m pipeline cluster down

settings: $(VENV)/run.stamp
	@$(BIN)/python -m pipeline settings --write

# Most tests wait for processes; files stay whole, for their tests share servers and clusters, and keep
# the order of tests/conftest.py.
test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev.stamp
	$(BIN)/python -m bench

SEED ?= 7
KILLS ?= 20
MINUTES ?= 60

chaos: $(VENV)/dev.stamp
	$(BIN)/python -m chaos --seed $(SEED) --kills $(KILLS)
	$(BIN)/python -m chaos outages --seed $(SEED)

soak: $(VENV)/dev.stamp
	$(BIN)/python -m chaos soak --minutes $(MINUTES)

screenshots: $(VENV)/dev.stamp
	$(BIN)/python -m tests.browser.screenshots

# The stamps are written last: an install that was cut off is done again.
$(VENV)/run.stamp: requirements.txt constraints.txt
	@bin/make-venv "$(PYTHON)" $(VENV)
	@echo "Installing requirements.txt into $(VENV): 1.1 GB, one to five minutes, this once."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo "Installing requirements-dev.txt into $(VENV)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

audit: $(VENV)/run.stamp
	@$(BIN)/python bin/audit

lock:
	bin/lock "$(PYTHON)"

clean:
	rm -rf $(VENV) .candlecast .candlecast-cluster .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
