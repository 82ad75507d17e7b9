# Everything that is needed is set up below .venv, from a bare Debian with python3, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export UV_SYSTEM_CERTS := 1
# Hundreds of programs are started by the tests, and each would compile all that it imports: half of the whole time.
unexport PYTHONDONTWRITEBYTECODE

# Two tests at a time: most wait for a process, a server or a browser. `tests/conftest.py` says which stay together.
AT_ONCE := -n 2

.PHONY: demo test check ruff mypy pyright unit slow docs bench lock clean

# The main job on real input: a first run, a second one, one that is killed half-way, and its resumption.
demo: $(VENV)/ready
	$(BIN)/python examples/demo.py

# Linter, types, the documentation, and the whole test suite with the documentation's code. What uses one core each
# is done two at a time; the tests alone, since they watch the clock.
test: $(VENV)/ready
	$(MAKE) -j 2 --output-sync=target mypy pyright $(VENV)/debian docs ruff
	$(MAKE) unit

check: ruff mypy pyright

ruff: $(VENV)/ready
	$(BIN)/ruff check beautyspot adapters tests examples docs
	$(BIN)/ruff format --check beautyspot adapters tests examples docs

mypy: $(VENV)/ready
	$(BIN)/mypy

pyright: $(VENV)/ready
	$(BIN)/pyright --warnings

unit: $(VENV)/ready $(VENV)/debian
	$(BIN)/python -m pytest $(AT_ONCE)

# Hundreds of processes that are really killed: minutes.
slow: $(VENV)/ready $(VENV)/debian
	$(BIN)/python -m pytest -m slow $(AT_ONCE)

docs: $(VENV)/ready
	$(BIN)/python -m sphinx -W -q -b html docs $(VENV)/docs

# Prints the tables of docs/benchmarks.md.
bench: $(VENV)/ready
	$(BIN)/python -m tests.benchmarks

# Debian has no ensurepip: pip installs uv from outside, and uv does the rest in seconds.
$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install -q --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# A server and a browser that the tests need and no package of PyPI carries.
$(VENV)/debian: $(VENV)/ready tests/support/debian.py
	rm -rf $@
	$(PYTHON) tests/support/debian.py $@ pgbouncer chromium-headless-shell fonts-dejavu-core
	touch $@

lock: $(VENV)/ready
	$(BIN)/uv pip compile -q pyproject.toml --group dev --generate-hashes --universal --python-version 3.11 \
		--no-emit-index-url --no-header --upgrade -o requirements.lock
	set -e; for engine in dagster prefect; do echo $$engine | $(BIN)/uv pip compile -q pyproject.toml - --generate-hashes --universal \
		--python-version 3.11 --no-emit-index-url --no-header --upgrade -o examples/with_$$engine.lock; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
