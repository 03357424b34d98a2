# Every command goes through tools/setup.sh: it sets up what is missing, then runs the command in that environment.
IN_ENV := @tools/setup.sh

.DEFAULT_GOAL := help
.PHONY: demo test test-slow coverage docs lint clean help

demo:
	$(IN_ENV) tools/demo.sh

# Tests work on small tensors: one thread per core of a large machine only makes them slower.
test test-slow coverage: export OMP_NUM_THREADS ?= 2

test: lint
	@tools/browser.sh
	$(IN_ENV) python -m pytest -m 'not slow'

test-slow:
	$(IN_ENV) python -m pytest -m slow

coverage:
	$(IN_ENV) sh -c 'coverage run -m pytest -m "not slow"; coverage combine -q; coverage report'

# In an environment of its own, which needs no torch.
docs:
	@test -x build/docs-venv/bin/mkdocs || { python3 -m venv build/docs-venv && build/docs-venv/bin/pip install -q -r requirements-docs.txt; }
	NO_MKDOCS_2_WARNING=1 build/docs-venv/bin/mkdocs build --strict

lint:
	$(IN_ENV) ruff check
	$(IN_ENV) ruff format --check
	$(IN_ENV) mypy mmcell tools benchmarks

# Keeps .venv and work_dirs/: both take long to make again.
clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*
	find configs mmcell tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@echo 'make demo        cells of a real image; then synthetic cells: convert, train, test, submission, pictures'
	@echo 'make test        lint, then the tests that take less than ten seconds each'
	@echo 'make test-slow   the other tests'
	@echo 'make coverage    the fast tests, and the lines that they cover'
	@echo 'make docs        the documentation site, in build/site'
	@echo 'make lint        ruff check, ruff format --check, mypy'
	@echo 'make clean       remove build/ and caches; the environment and work_dirs/ stay'
	@echo
	@echo 'Each sets up what is missing first. The first time takes up to 25 minutes on two cores, to compile mmcv.'
	@echo 'The environment: VENV=path if given, else the active one if it has torch, else .venv.'
	@echo "TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu' chooses the torch that a new environment gets."
