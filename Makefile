# Everything lives in .venv and build/. Needs Python 3.11 or newer, with venv and pip.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-fast bench docs lint release clean

demo: .venv/ready  ## Bake the default project into build/, lay the digits example on it, and run it.
	$(BIN)/python examples/demo.py build

test: .venv/ready lint  ## All tests.
	$(BIN)/python -m pytest -n 3 --dist worksteal

# Every variation of a kind of fault, and whole processes: what `make test` has and `make test-fast` has not.
LONG := any_batch any_executor children children_that_fail children_that_leave command_corners cost_of_failures \
	ctrl_c_is_nobodys errors_are_values fast_stops faults finish notebook order_of_failures profiling prometheus_metrics \
	rates refusals time_limits ways_to_leave when
IGNORED := $(LONG:%=--ignore=tests/runtime/test_%.py)

test-fast: .venv/ready  ## What takes seconds: no installation, little stress.
	STRESS_EXAMPLES=40 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" $(IGNORED)

bench: .venv/ready  ## The core beside its peers, into docs/performance.md: three quarters of an hour on a machine that does nothing else.
	$(BIN)/python benchmarks/bench.py --write

docs: .venv/ready  ## The site, into build/site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	rm -rf build/typed
	$(BIN)/python tests/baking.py build/typed >/dev/null
	MYPYPATH=build/typed/my-pipeline/src $(BIN)/mypy tests/runtime

release:  ## Tag a version, after checks: make release VERSION=1.2.0. It pushes nothing.
	@$(PYTHON) tools/release.py "$(VERSION)"

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --upgrade --constraint constraints.txt pip
	$(PIP) install --quiet --constraint constraints.txt --group dev
	touch $@

clean:
	rm -rf .venv build
