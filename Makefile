# Needs Python 3.11 or newer, git and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

UNIT := --ignore=tests/proof --ignore=tests/benchmarks -n 3 --dist worksteal
MORE := postgresql or prometheus or browser or slow
SHORT := tests/core tests/api tests/db tests/store tests/processes/test_drain.py \
	-m "not postgresql and not prometheus and not browser" -n 2 --dist worksteal

.PHONY: demo test proof bench check check-oldest check-newest format clean

demo: .venv/ready                ## see the whole thing work, on this machine alone
	$(BIN)/valossa-ingest demo

test: .venv/ready                ## run the tests, but for what make check alone has the time and the servers for
	$(BIN)/pytest $(UNIT) -m "not ($(MORE))"
	@echo 'left out: what is slow, or needs PostgreSQL, Prometheus or a browser; make check runs it'

proof: .venv/ready               ## the promise, held against faults and kills; QUICK=1: in small
	PROOF=$(if $(QUICK),quick,full) $(BIN)/pytest tests/proof -p no:randomly -n $(if $(QUICK),3,2) --dist worksteal -o timeout=3600

bench: .venv/ready               ## what is said of speed, measured on this machine
	$(BIN)/pytest tests/benchmarks -p no:randomly

check: .venv/ready               ## everything that CI holds against a change
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test PYTEST_ADDOPTS="--cov --cov-report="
	$(BIN)/pytest $(UNIT) -m "$(MORE)" --cov --cov-append --cov-report=
	$(BIN)/coverage report --include='worker/core/*' --fail-under=100
	$(BIN)/coverage report --fail-under=95
	$(MAKE) proof QUICK=1

check-oldest: .venv-oldest/ready ## a short selection, with the lowest versions that are allowed
	.venv-oldest/bin/pytest $(SHORT)

check-newest:                    ## the same, with the newest versions that are allowed today
	$(PYTHON) -m venv .venv-newest
	$(call INSTALL,.venv-newest,--upgrade --upgrade-strategy eager)
	.venv-newest/bin/pytest $(SHORT)

format: .venv/ready              ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .venv-oldest .venv-newest .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

.venv-oldest/ready: pyproject.toml tests/oldest.py
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) tests/oldest.py >.venv-oldest/lowest.txt
	$(call INSTALL,.venv-oldest,--constraint .venv-oldest/lowest.txt)
	@touch $@

define INSTALL
$(1)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2) --editable . --group dev
endef
