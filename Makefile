# The words of this project. Everything they need beyond Python, Node and make is fetched into .venv and node_modules.
PYTHON ?= python3
BIN := .venv/bin
EXTENSION := cd extension &&

.PHONY: run test lint format fuzz bench extension install lock clean

run: .venv/ready extension/.output/practice/ready server/assets/verify.html server/assets/charts.js
	$(BIN)/objection serve --practice

test: .venv/ready extension/.output/tests/ready extension/.output/practice/ready server/assets/verify.html \
  server/assets/charts.js
	$(EXTENSION) npm run --silent test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Both verifiers on the same spoiled proofs: `make fuzz SEED=7 SECONDS=600`; a case that it found: `SEED=7 CASE=123`.
fuzz: .venv/ready extension/node_modules/ready
	$(EXTENSION) npm run --silent pretest
	$(BIN)/python -m tests.fuzz --seed $(or $(SEED),1) --seconds $(or $(SECONDS),60) $(if $(CASE),--case $(CASE)) $(if $(ONLY),--only "$(ONLY)")

lint: .venv/ready extension/.output/tests/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m schemas.openapi | diff -q - schemas/openapi.json
	$(EXTENSION) npm run --silent typecheck && npm run --silent lint && npm run --silent lint:firefox

format: .venv/ready extension/node_modules/ready
	$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format .
	$(BIN)/python -m schemas.openapi > schemas/openapi.json.new && mv schemas/openapi.json.new schemas/openapi.json
	$(EXTENSION) npm run --silent format

bench: .venv/ready extension/node_modules/ready server/assets/verify.html
	@command -v wrk >/dev/null || { echo "make bench needs wrk (Debian: apt-get install wrk)" >&2; exit 1; }
	$(BIN)/python -m tests.bench.recording
	$(BIN)/python -m tests.bench.whole
	$(BIN)/python -m tests.bench.proofs
	$(BIN)/python -m tests.bench.anchoring
	$(BIN)/python -m tests.bench.check_log 100000
	$(BIN)/python -m tests.bench.counts
	folder=$$(mktemp -d) && $(BIN)/python -m tests.bench.documents $$folder && \
	  (cd extension && node bench/verification.mjs $$folder); rm -rf $$folder
	$(EXTENSION) npm run --silent bench

# For people who object: made anew each time, for the one register that it names. Mozilla builds from the sources.
RELEASE := extension/.output/release
SOURCES := README.md Makefile docs/permissions.md extension schemas ':!schemas/vectors' ':!extension/tests'
extension: extension/node_modules/ready
	@test -n "$(REGISTER_URL)" || { echo 'make extension needs the register: REGISTER_URL=https://… make extension' >&2; exit 1; }
	rm -rf $(RELEASE)
	$(EXTENSION) REGISTER_URL='$(REGISTER_URL)' npm run --silent zip
	$(EXTENSION) npx web-ext lint --source-dir .output/release/firefox-mv3 --warnings-as-errors
	@if [ ! -e .git ]; then echo 'not a clone: no sources are packed'; \
	elif ! git diff --quiet HEAD -- $(SOURCES); then echo 'changes are not committed: no sources are packed' >&2; \
	else git archive --format=zip -o $(RELEASE)/proof-of-objection-sources.zip HEAD -- $(SOURCES); fi
	@echo "$(RELEASE): built for $(REGISTER_URL)"

# For production: code, libraries and pages in one tree that needs nothing of this folder (docs/production.md).
PREFIX ?= /opt/proof-of-objection
install: server/assets/verify.html server/assets/charts.js
	PYTHON='$(PYTHON)' deploy/install '$(PREFIX)' '$(DESTDIR)'

# For every Python that we support, whichever one runs this: what only an old one needs is in the lock, with a marker.
LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
  --no-emit-find-links

lock:
	$(LOCK) -o requirements/run.lock pyproject.toml
	$(LOCK) --extra dev -o requirements/dev.lock pyproject.toml
	echo 'setuptools>=80' | $(LOCK) -o requirements/build.lock -

clean:
	rm -rf .venv build server/assets extension/node_modules extension/.output extension/.wxt

.venv/ready: requirements/dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

extension/node_modules/ready: extension/package-lock.json
	$(EXTENSION) npm ci --no-audit --no-fund --loglevel=error
	touch $@

EXTENSION_SOURCES := $(shell find extension/src extension/rules extension/public schemas -type f -not -name '*.gen.ts' \
  -not -path '*/__pycache__/*' 2>/dev/null) extension/wxt.config.ts

VERIFIER_SOURCES := $(shell find extension/src/verifier extension/src/core extension/src/ui schemas -type f \
  -not -name '*.gen.ts' -not -path '*/__pycache__/*' 2>/dev/null) extension/scripts/build-verifier.mjs

server/assets/verify.html: extension/node_modules/ready $(VERIFIER_SOURCES)
	$(EXTENSION) npm run --silent build:verifier
	touch $@

COUNTS_SOURCES := $(shell find extension/src/counts -type f 2>/dev/null) extension/scripts/build-counts.mjs

server/assets/charts.js: extension/node_modules/ready $(COUNTS_SOURCES)
	$(EXTENSION) npm run --silent build:counts
	touch $@

extension/.output/tests/ready: extension/node_modules/ready $(EXTENSION_SOURCES)
	$(EXTENSION) REGISTER_URL= npm run --silent build
	touch $@

extension/.output/practice/ready: extension/node_modules/ready $(EXTENSION_SOURCES)
	$(EXTENSION) REGISTER_URL= npm run --silent build:practice
	touch $@
