# make demo   search 8 models on the tokens of Python's standard library, then let the best one predict
# make test   the tests, in as many processes as there are cores, 4 at most (`make test-slow`: the long ones, one by one)
# make lint   formatting, lint, types
# make bench  what is fast, and by how much
# make dist   the wheel and the source distribution, in dist/
# make docs   regenerate what follows from the code: references, lists of files, comments in configs/
# make site   the docs as a site that works offline, in dist/site/
# Each sets up .venv when it is missing or when pyproject.toml or constraints.txt changed.

# The first Python that is new enough; `make PYTHON=/path/to/python ...` takes another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
INSTALLED := .venv/installed
FOR_TESTS := .venv/installed-for-tests
TOKENS := data/python_tokens.parquet
METADATA := configs/metadata_configs/python_tokens.json

.PHONY: demo test test-slow lint bench dist docs site
.DELETE_ON_ERROR:

demo: $(METADATA)
	@$(BIN)/sequifier hyperparameter-search --config-path configs/hyperparameter_search.yaml --yes
	@$(BIN)/python docs/predict.py

$(TOKENS): | $(INSTALLED)
	@$(BIN)/python -c 'from pathlib import Path; from sequifier.project import python_tokens; python_tokens.write(Path("$@"))'

$(METADATA): $(TOKENS) configs/preprocess.yaml | $(INSTALLED)
	@$(BIN)/sequifier preprocess --config-path configs/preprocess.yaml

# A test process takes about 1 GB, and some tests start searches of their own: more than 4 gain little.
test: $(FOR_TESTS)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# One by one: some of these measure memory and time.
test-slow: $(FOR_TESTS)
	$(BIN)/python -m pytest -m slow

lint: $(FOR_TESTS)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Not these: the first two are given a file with public data, gpu.py needs a GPU, and peers.py is no script.
BENCHMARKS = $(filter-out $(patsubst %,benchmarks/%.py,marks tinyshakespeare gpu peers),$(wildcard benchmarks/*.py))
bench: $(FOR_TESTS)
	@for script in $(BENCHMARKS); do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

dist: $(FOR_TESTS)
	@rm -rf build dist
	@$(BIN)/python -m build --outdir dist .

docs: $(FOR_TESTS)
	@$(BIN)/python docs/generate.py

site: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[site]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo dist/site/index.html

$(INSTALLED): pyproject.toml constraints.txt
ifeq ($(PYTHON),)
	@echo "Sequifier needs Python 3.11 or newer, and none was found; install one, or: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2
	@exit 1
else
	@echo "Installing into .venv with $(PYTHON) (once; README.md says what is downloaded)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@
endif

$(FOR_TESTS): $(INSTALLED)
	@echo "Installing what tests need as well (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,analysis,experiment,trackers,site]'
	@touch $@
