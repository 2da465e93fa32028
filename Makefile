# Everything a person types. The environment in .venv is made and repaired by whatever needs it.

# The first that works: a version manager's shim may be there without its Python.
PY ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
  $$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
  && echo $$p && exit; done; command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SHA := $(shell command -v sha256sum >/dev/null 2>&1 && echo sha256sum || echo "shasum -a 256")
# Named after the locks: another lock, another stamp; an interrupted set-up leaves none.
STAMP := $(VENV)/.ready-$(shell cat requirements.lock requirements-uv.lock | $(SHA) | cut -c1-16)
# An environment whose Python has gone is made anew.
$(shell $(BIN)/python -c pass 2>/dev/null || rm -f $(VENV)/.ready-*)

.DEFAULT_GOAL := help
.PHONY: help setup run test ordeal lint bench bench-quality load emergency report token verify recompute openapi lock clean

help:
	@echo 'make run           set up, start, load the example, do the main job; Ctrl-C stops (ONCE=1: stops by itself)'
	@echo 'make test          every test, on real PostgreSQL (ARGS="-k feed": some; ARGS="-n 0": in one process)'
	@echo 'make ordeal        10,000 changes behind the log, 200 kills, full disks (the tests do some of each)'
	@echo 'make lint          style, types, borders, locks'
	@echo 'make bench         measure what the tests do not (ONLY="solver round": some of it)'
	@echo 'make bench-quality   measure how well needs and offers are ranked, on ../shared/data/matching-*'
	@echo 'make load FROM=…   read needs and offers from a folder into the running platform'
	@echo 'make emergency     play officers and coordinator for what was loaded, by the emergency policy'
	@echo 'make report        a round in Markdown (ROUND=…, DIVISION=…, INTO=file.md with a picture beside it, EVERY=1)'
	@echo 'make token SUBJECT=… ROLE=… [DIVISION=…] [ORG=…]   a development token'
	@echo 'make openapi       renew the committed OpenAPI documents'
	@echo 'make verify        recompute the log and compare it with the copy kept outside PostgreSQL'
	@echo 'make recompute ROUND=… [NEED=…]   compute a round again from its frozen data, and compare'
	@echo 'make lock          renew requirements.lock from requirements*.in'
	@echo 'make clean         delete the environment and the local state'
	@echo
	@echo 'PY=… another Python (3.11 to 3.14) · STATE_DIR=… another place than .state · DATABASE_URL=… another server'

setup: $(STAMP)

$(STAMP):
	@test -n "$(PY)" || { echo 'Python is missing: install Python 3.11 or later, or name it with PY=…'; exit 1; }
	@$(PY) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "Python 3.11 to 3.14 is needed; $(PY) is $$($(PY) -V 2>&1). Name another with PY=…"; exit 1; }
	@$(PY) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PY) has no venv. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo 'Setting up $(VENV) (once; under a minute)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PY) -m venv $(VENV); } || \
	  { echo 'The environment could not be made in $(VENV); see above.'; exit 1; }
	@rm -f $(VENV)/.ready-*
	@if $(BIN)/python -m pip install -q --require-hashes --only-binary :all: -r requirements-uv.lock && \
	    $(BIN)/uv pip sync -q --compile-bytecode --system-certs --python $(BIN)/python --require-hashes requirements.lock; then :; \
	  else echo 'uv could not install; trying pip, which takes about two minutes'; \
	    $(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements.lock || \
	    { echo 'The packages could not be installed; see above. The next call goes on from here.'; exit 1; }; fi
	@touch $@

run: $(STAMP)
	@exec $(BIN)/python -m deploy.up $(if $(ONCE),--once)

test: $(STAMP)
	@exec $(BIN)/python -m pytest -n 3 $(ARGS)

# What the tests do to the log and to a round a few times, as often as it takes to believe it; half an hour or more.
ordeal: $(STAMP)
	@ORDEAL=1 TAMPER_COUNT=$${TAMPER_COUNT:-10000} KILL_COUNT=$${KILL_COUNT:-200} CRASH_ROUNDS=$${CRASH_ROUNDS:-3} \
	  $(BIN)/python -m pytest -n 2 -s tests/audit/test_tampering.py tests/audit/test_kills.py \
	  tests/audit/test_faults.py tests/system/test_crash.py $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format --check -q . || { echo 'make lint: run $(BIN)/ruff format'; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m deploy.locks

bench: $(STAMP)
	@exec $(BIN)/python -m tests.benchmarks $(ONLY)

bench-quality: $(STAMP)
	@$(BIN)/python -m tests.benchmarks.quality
	@$(BIN)/python -m tests.benchmarks.reranking

load: $(STAMP)
	@test -n "$(FROM)" || { echo 'make load FROM=<folder with CSV, Excel or JSON Lines files>'; exit 1; }
	@exec $(BIN)/python -m deploy.loading --from "$(FROM)"

emergency: $(STAMP)
	@exec $(BIN)/python -m deploy.emergency

report: $(STAMP)
	@exec $(BIN)/python -m deploy.report $(if $(ROUND),--round "$(ROUND)") $(if $(DIVISION),--division "$(DIVISION)") \
	  $(if $(INTO),--into "$(INTO)") $(if $(EVERY),--every)

token: $(STAMP)
	@test -n "$(SUBJECT)" -a -n "$(ROLE)" || { echo 'make token SUBJECT=… ROLE=… [DIVISION=…] [ORG=…]'; exit 1; }
	@exec $(BIN)/python -m shared.issuer --subject "$(SUBJECT)" --role "$(ROLE)" --division "$(DIVISION)" --org "$(ORG)"

verify: $(STAMP)
	@exec $(BIN)/python -m deploy.verify

recompute: $(STAMP)
	@test -n "$(ROUND)" || { echo 'make recompute ROUND=<id of a round> [NEED=<id of a need to explain>]'; exit 1; }
	@exec $(BIN)/python -m deploy.recompute --round "$(ROUND)" $(if $(NEED),--need "$(NEED)")

openapi: $(STAMP)
	@exec $(BIN)/python -m deploy.openapi

lock: $(STAMP)
	@$(BIN)/python -m pip install -q --require-hashes --only-binary :all: -r requirements-uv.lock
	@$(BIN)/uv pip compile -q --system-certs --universal --python-version 3.11 --generate-hashes --no-header requirements-uv.in -o requirements-uv.lock
	@$(BIN)/uv pip compile -q --system-certs --universal --python-version 3.11 --generate-hashes --no-header requirements.in requirements-dev.in -o requirements.lock

clean:
	@$(PY) -m deploy.postgres $${STATE_DIR:-.state}/postgres
	@rm -rf $${STATE_DIR:-.state} $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
