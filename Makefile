# Everything is made in .venv; a new machine needs make, git, and Python >= 3.11 with its venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt
TORCH := torch==2.13.0
OUT ?= demo-out
MINUTES ?= 10

.PHONY: demo test lint bench peers hub feast fuzz docs dist release-check clean

demo: .venv/.demo  ## the whole pipeline on real data, six deliverables in $(OUT)
	$(BIN)/mlsecops demo --out $(OUT) --overwrite

test: lint benchmarks/.env-dvc/.made  ## every check and test
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/.dev  ## style, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev  ## ratios against peers, both sides in one run, into benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks --results benchmarks/RESULTS.md

# Peers that cannot share an environment with us; a benchmark says so where one is missing.
peers: $(patsubst benchmarks/peers/%.txt,benchmarks/.env-%/.made,$(wildcard benchmarks/peers/*.txt))

# Attacks run beside our own torch, and of injection only the texts are read: both come without what
# they would bring along.
benchmarks/.env-attacks/.made benchmarks/.env-injection/.made: benchmarks/.env-%/.made: benchmarks/peers/%.txt .venv/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) -r $<
	touch $@

# Grafana's own packages, to draw dashboard.json with; they need node and npm.
benchmarks/.env-grafana/.made: $(wildcard benchmarks/grafana/*)
	mkdir -p $(@D) && cp $^ $(@D)/
	cd $(@D) && npm install --silent --no-audit --no-fund && npm run --silent build
	touch $@

benchmarks/.env-%/.made: benchmarks/peers/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

hub: benchmarks/.env-hub/.made .venv/.dev  ## layouts of transformers, diffusers, XGBoost, … held and read
	PYTHONPATH=. benchmarks/.env-hub/bin/python -m pytest -q -p no:cacheprovider benchmarks/hub

feast: benchmarks/.env-feast/.made  ## offline and online reads of Feast's local provider behind a policy
	PYTHONPATH=. benchmarks/.env-feast/bin/python -m pytest -q -p no:cacheprovider benchmarks/feast

# No parser may crash, hang or take memory beyond its limits, whatever it is given.
fuzz: .venv/.dev  ## changed files at every parser, $(MINUTES) minutes each
	$(BIN)/python -m tests.fuzzing --minutes $(MINUTES)

docs: .venv/.dev  ## the documentation as a site in site/, with an API page of every public name
	$(BIN)/python scripts/api_pages.py
	$(BIN)/zensical build --clean --strict

dist: .venv/.dev  ## the wheel and the source distribution in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist

release-check: dist  ## tries them in clean environments of every Python that is there
	$(BIN)/python scripts/release_check.py dist

clean:
	rm -rf .venv site dist demo-out .mypy_cache .ruff_cache .pytest_cache

.venv/.python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	touch $@

# torch first and alone: asked for by a dependency, pip would choose a build of its own.
.venv/.torch: .venv/.python
	@echo "installing $(TORCH) (once, about a minute)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	touch $@

.venv/.demo: .venv/.torch pyproject.toml .ci/constraints.txt
	@echo "installing mlsecops for the demo"
	$(PIP) -e ".[demo]"
	touch $@

.venv/.dev: .venv/.torch pyproject.toml .ci/constraints.txt
	@echo "installing mlsecops with all extras and the development tools (once, a few minutes)"
	$(PIP) -e ".[dev]"
	touch $@ .venv/.demo
