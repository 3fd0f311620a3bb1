# Every target sets up what it needs; nothing but bash and Python 3.11 to 3.13 has to be there.
SHELL := /bin/bash
BIN := .venv/bin
SHELL_FILES := $(wildcard *.sh *.s jobs/*.sh jobs/*.s scripts/*.sh examples/*.sh) .ci/run
# Three processes for two cores: a good part of the tests waits, for SLURM, pauses or the network. SLURM's tests stay
# together in one of them (loadgroup): two clusters on a small machine slow each other down.
PYTEST := $(BIN)/pytest -n 3 --dist loadgroup
FAST := $(addprefix tests/,config merge record sharedfs youtube/test_refusals.py youtube/test_wordings.py)

.PHONY: help setup demo demo-slurm demo-learn test test-fast test-slow test-all coverage test-in-fresh test-fresh test-slurm test-newer-slurm lint test-tools bench bench-cost bench-gpu chaos reference count constraints
.NOTPARALLEL: # two runs of pytest at once slow each other down

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## make the environment in .venv (./setup.sh -h tells its options)
	@./setup.sh

demo: setup ## run everything on made-up videos, through SLURM where it answers: about a minute
	$(BIN)/audioset-batch demo

demo-slurm: setup test-tools ## the same through a private SLURM, which is started for it and ended
	$(BIN)/python -m tests.support.slurm_cluster $(BIN)/audioset-batch demo

demo-learn: ## clips to embeddings to a classifier and its report, on made-up videos
	@./setup.sh --with learn
	$(BIN)/audioset-batch demo --learn

test: lint test-tools ## all checks and tests that take less than ten minutes together
	$(PYTEST) -m "not slow" --durations=25 --durations-min=2

test-fast: ## tests of single modules that take under a minute together: after each edit
	$(PYTEST) -m "not slow and not slurm and not browser" $(FAST)

test-slow: test-tools # only what takes longer
	@./setup.sh --pinned --with test,learn
	$(PYTEST) -m slow
	$(BIN)/python -m tests.chaos.run --short

test-all: $(if $(FRESH),test-in-fresh,test) test-slow ## also what takes longer; FRESH=1, as in CI: demo and test in a fresh machine

coverage: test-tools ## the lines of the package that `make test` runs, and those that it does not; takes twice as long
	@./setup.sh --pinned --with test,learn
	$(BIN)/coverage erase
	$(BIN)/coverage run $(PYTEST) -m "not slow" -q
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

test-in-fresh: # or here, if none can be made
	@scripts/fresh-machine.sh --or-here

test-fresh: ## demo and test in a minimal Debian, as root and as an ordinary user without apt
	scripts/fresh-machine.sh
	scripts/fresh-machine.sh --user

test-slurm: test-tools # SLURM's tests alone
	@./setup.sh --pinned --with test
	$(PYTEST) -m "slurm and not slow and not browser"

test-newer-slurm: ## SLURM's tests in a minimal Debian 13, whose SLURM is 24.11 (Debian 12: 22.05)
	scripts/fresh-machine.sh --suite trixie \
	    "apt-get update -qq && apt-get install -y -qq --no-install-recommends slurmdbd mariadb-server >/dev/null" "make test-slurm"

lint: ## formatting, types, import layers, shell scripts
	@./setup.sh --pinned --with test,learn
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck --external-sources $(SHELL_FILES)

test-tools: # SLURM for the tests that need a real one
	@scripts/test-tools.sh

bench: ## compare with other downloaders
	@./setup.sh --pinned --with test
	$(BIN)/python benchmarks/run.py

bench-cost: test-tools ## core-hours per 1,000 clips, by a SLURM's accounting: twelve minutes, most of them waiting
	@./setup.sh --pinned --with test
	PYTHONPATH=. $(BIN)/python benchmarks/cost.py

bench-gpu: ## embeddings and training on a GPU: under five minutes
	@./setup.sh --with learn
	$(BIN)/python benchmarks/gpu_bench.py
	$(BIN)/python benchmarks/gpu_bench.py --render

chaos: test-tools ## kill, preempt, block and fill while three nodes download; then check that nothing is lost
	@./setup.sh --pinned --with test
	$(BIN)/python -m tests.chaos.run

reference: setup ## write what is made from the code: configs/default.yaml, docs/{configuration,commands,manifest}.md
	$(BIN)/python -m audioset_batch.config.document yaml > configs/default.yaml
	$(BIN)/python -m audioset_batch.config.document markdown > docs/configuration.md
	$(BIN)/python -m audioset_batch.cli.document > docs/commands.md
	$(BIN)/python -m audioset_batch.record.document > docs/manifest.md

count: ## lines of code without blanks, comments and docstrings, by sub-package
	@$(BIN)/python scripts/count-lines.py

constraints: ## pin the newest versions of everything in constraints.txt
	scripts/make-constraints.sh
