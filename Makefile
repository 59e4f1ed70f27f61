# Two commands: `make demo` and `make test`. Both make the environment in .venv where it is missing.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# One more than cores: many tests wait for processes that they started.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')
SCREENSHOTS := $(abspath build/screenshots)

.PHONY: demo test test-faults test-slurm test-browser check format bench methods findings clean

demo: $(READY)
	$(BIN)/harness search demo --out runs/demo
	$(BIN)/harness report runs/demo --to runs/demo/report.html

test: $(READY)
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal -m "(not fault or sample) and not browser and not slurm" --cov --cov-report term:skip-covered

test-faults: $(READY)
	$(BIN)/pytest --numprocesses auto -m fault tests/faults

# Needs the local cluster: sudo slurm/local_cluster/cluster install, then start.
test-slurm: $(READY)
	$(BIN)/pytest --numprocesses 0 -m slurm tests/slurm

test-browser: $(READY)
	HARNESS_SCREENSHOTS=$(SCREENSHOTS) $(BIN)/pytest -m browser tests/browser
	@echo "screenshots: $(SCREENSHOTS)"

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs harness analysis search_spaces slurm tests benchmarks

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m benchmarks --json benchmarks/results

methods: $(READY)
	$(BIN)/harness search methods --out runs/methods
	$(BIN)/python -m analysis.methods runs/methods

# The page, tables and figures of docs/findings from the rows that are stored there.
findings: $(READY)
	$(BIN)/python -m analysis.findings docs/findings

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $$($(PYTHON) --version) is too old, 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -qq --editable '.[dev,lion,optuna,searchers]'
	@touch $@

clean:
	rm -rf .venv runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage
