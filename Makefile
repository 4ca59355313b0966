# Everything works on a machine with git, make and Python 3.11 or later; uv is fetched where it is missing.
PYTHON ?= python3
RUN = .venv/bin/
WORKERS ?= 2
MINUTES = $(or $(TESTGROVE_CHECK_MINUTES),35)
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(RUN)pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

.PHONY: help setup install demo test check check-all ordinary-user durations parts lint format types layers chaos bench real-projects docs schema clean

help:
	@echo "make install put testgrove on your PATH, with embedded PostgreSQL and Redis, by uv"
	@echo "make demo    run the main job on the example project, with embedded PostgreSQL and Redis"
	@echo "make test    run the tests, all but the slow ones"
	@echo "make check   lint, types, layers, docs, the fast tests, and slow ones until $(MINUTES) minutes are used: what CI runs"
	@echo "make check-all  the same with every slow test, however long it takes"
	@echo "make ordinary-user  as root: a third of the fast tests as a user without rights"
	@echo "make chaos   random faults: RUNS=2000 of them, SEED=... to have one again"
	@echo "make bench   measure, beside the peers"
	@echo "make real-projects  projects of others, by plain pytest and by testgrove: ONLY=click for one, SOURCES=DIR for clones"
	@echo "make docs    build the documentation into site/"

setup: .venv/.ready

.venv/.ready: uv.lock pyproject.toml packages/pytest-testgrove/pyproject.toml tools/bootstrap.py
	@mkdir -p .tools
	@$(PYTHON) tools/bootstrap.py > .tools/uv.path
	@echo "setup: what the lock file names goes into .venv"
	@env -u VIRTUAL_ENV -u UV_PROJECT_ENVIRONMENT TMPDIR="$(CURDIR)/.tools" "$$(cat .tools/uv.path)" sync --quiet \
	  --frozen --all-packages --compile-bytecode --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@env -u PYTHONDONTWRITEBYTECODE $(RUN)python -m compileall -q src packages # the tests start thousands of processes
	@touch $@

install:
	@mkdir -p .tools
	@$(PYTHON) tools/bootstrap.py > .tools/uv.path
	@env -u VIRTUAL_ENV "$$(cat .tools/uv.path)" tool install --force '.[embedded]' --with ./packages/pytest-testgrove

demo: setup
	@$(RUN)python tools/demo.py

test: setup
	$(PYTEST) -m "not slow"

parts: lint types layers docs

check: setup parts
	$(PYTEST) --budget $(MINUTES) || { status=$$?; echo $$status > .pytest_cache/exit-status; exit $$status; }

check-all: setup parts
	$(PYTEST) --budget inf

ordinary-user: setup
	.ci/ordinary-user

durations: # after a check-all: what a fresh clone expects of each file of slow tests
	$(RUN)python tests/budget.py

lint: setup
	$(RUN)ruff check .
	$(RUN)ruff format --check .

format: setup
	$(RUN)ruff check --fix .
	$(RUN)ruff format .

types: setup
	$(RUN)mypy

layers: setup
	$(RUN)lint-imports

chaos: setup
	cd tests && ../$(RUN)python -m chaos

bench: setup
	$(RUN)python -m benchmarks

real-projects: setup
	cd tools && ../$(RUN)python -m real_projects $(foreach name,$(ONLY),--only $(name)) $(if $(SOURCES),--sources $(abspath $(SOURCES)))

docs: setup
	@env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.tools/docs "$$(cat .tools/uv.path)" run --quiet --frozen \
	  --no-default-groups --group docs python tools/build_docs.py

schema: setup
	$(RUN)python tools/write_schemas.py

clean:
	rm -rf .venv .tools dist site .pytest_cache .mypy_cache .ruff_cache
