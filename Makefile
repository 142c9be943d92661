# Needs Python 3.11 or newer, git and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test proof bench check format clean

demo: .venv/ready                ## see the whole thing work, on this machine alone
	$(BIN)/valossa-ingest demo

test: .venv/ready                ## run the tests
	$(BIN)/pytest --ignore=tests/proof --ignore=tests/benchmarks -n 2 --dist worksteal

proof: .venv/ready               ## the promise, held against faults and kills; QUICK=1: in small
	PROOF=$(if $(QUICK),quick,full) $(BIN)/pytest tests/proof -p no:randomly -n 2 --dist worksteal -o timeout=3600

bench: .venv/ready               ## what is said of speed, measured on this machine
	$(BIN)/pytest tests/benchmarks -p no:randomly

check: .venv/ready               ## everything that CI holds against a change
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test PYTEST_ADDOPTS="--cov --cov-report=term"
	$(BIN)/coverage report --include='worker/core/*' --fail-under=100
	$(BIN)/coverage report --fail-under=95
	$(MAKE) proof QUICK=1

format: .venv/ready              ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@
