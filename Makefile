# Every path here is relative, so that the project may lie in a folder with spaces in its name.
SHELL := /bin/bash
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
LATEX := latexmk texlive-latex-recommended texlive-latex-extra texlive-science lmodern poppler-utils
# The same bits on every x86-64 processor with AVX2: NAME=value, and for all that is started here.
PIN := $(filter-out export,$(shell $(PYTHON) src/t0qat/pipeline/pin.py 2>/dev/null))
$(foreach setting,$(PIN),$(eval export $(setting)))
# No cell of a grid is taken from a store, and no progress is shown: nbval would keep it as output.
# Notebooks run side by side, each in one process.
# Without the pin digits differ, and it is enough that every cell runs.
NBVAL := rm -rf build/cells/outputs && T0QAT_RUN=outputs TQDM_DISABLE=1 LOKY_MAX_CPU_COUNT=1 $(VENV_PYTHON) -m pytest $(if $(findstring MKL_CBWR,$(PIN)),--nbval,--nbval-lax) \
  --nbval-current-env --nbval-sanitize-with tests/nbval.cfg \
  --numprocesses auto --dist loadscope --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Containers often set it; then every process compiles all that it imports again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup latex runtimes paper run smoke test test-portable test-chain test-faults test-browser lab site outputs bench verify agree status keep lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

paper: setup latex ## Run what is not fresh at full size, then build paper/main.pdf [PARAMS=file] [CLUSTER=address]
	@$(VENV_PYTHON) -m t0qat run --profile paper $(if $(PARAMS),--params "$(PARAMS)")

run: setup ## One notebook with your parameters, into build/run: NOTEBOOK=06_language [PARAMS=file]
	@$(VENV_PYTHON) -m t0qat one "$(NOTEBOOK)" $(if $(PARAMS),--params "$(PARAMS)")

smoke: setup latex ## The whole chain, tiny, into build/smoke, marked as smoke [PARAMS=file]
	@$(VENV_PYTHON) -m t0qat run --profile smoke $(if $(PARAMS),--params "$(PARAMS)")

test: setup latex ## Tests, every notebook against its committed outputs, lint, format
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
	@$(NBVAL) $$(ls -r notebooks/*.ipynb) # the last ones first: they take longest

test-portable: setup latex ## Everything that computes, bit for bit on this processor and an emulated one
	@$(VENV_PYTHON) -m pytest -m portable --numprocesses auto tests/test_portable.py

test-chain: setup latex ## The whole chain in copies: verify, what a stranger adds, costs, the PDF's bytes
	@$(VENV_PYTHON) -m pytest -m chain --numprocesses auto --dist loadfile $$(grep -rl --include=*.py mark.chain tests)

test-faults: setup latex ## Kills, full disks and hangs: nothing lost, nothing half-written
	@$(VENV_PYTHON) -m pytest -m faults --numprocesses auto --dist loadfile $$(grep -rl --include=*.py mark.faults tests)

test-browser: setup latex ## Every notebook in JupyterLab, the explorer and the site, in Debian's chromium
	@$(VENV_PYTHON) -m pytest -m browser --numprocesses auto --dist loadfile tests/browser

lab: setup ## JupyterLab on 127.0.0.1, with its token
	@$(VENV_PYTHON) -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks \
	  --IdentityProvider.token="$$($(VENV_PYTHON) -c 'import secrets; print(secrets.token_hex(24))')" $(LAB)

site: setup ## Result, figures, claims and every notebook as pages, in build/site: open index.html there
	@$(VENV_PYTHON) -m t0qat site

outputs: setup ## Run every notebook at its own defaults and keep the outputs in it, as they are committed
	@rm -rf build/cells/outputs
	@T0QAT_RUN=outputs T0QAT_STATIC=1 $(VENV_PYTHON) -m nbconvert --to notebook --execute --inplace \
	  --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb

bench: setup ## Speed and cost as ratios, both sides of each in one run; the rule for claims simulated
	@$(VENV_PYTHON) bench/bench.py
	@$(VENV_PYTHON) bench/rule.py

verify: setup ## Re-run everything from zero, away from paper/, and compare every number [PROFILE=smoke]
	@$(VENV_PYTHON) -m t0qat verify $(if $(PROFILE),--profile "$(PROFILE)")

agree: setup ## Whether another run of the paper, as on other seeds, decides and recommends alike: OTHER=folder
	@$(VENV_PYTHON) -m t0qat agree "$(OTHER)"

status: setup ## Which notebooks are fresh, and why the others are not
	@$(VENV_PYTHON) -m t0qat status

keep: setup ## Accept generated files that were edited by hand; the PDF will say so
	@$(VENV_PYTHON) -m t0qat keep

lock: setup ## Renew requirements.lock from pyproject.toml
	@$(VENV_PYTHON) -m t0qat lock

clean: ## Remove everything generated that git ignores, the environment too
	rm -rf build .venv paper/main.pdf .pytest_cache .ruff_cache .hypothesis

setup: .venv/installed ## Make .venv with the exact versions of requirements.lock

# pip installs beside LaTeX.
MAKEFLAGS += --jobs=2

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11, which this project needs; try make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; } || \
	  { echo "Python's venv module is missing: install python3-venv, then run make again"; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

# The lock is complete, so pip need not resolve; only a CUDA build of torch wants packages beside it.
# Python compiles what it imports at the first import: most of it never is.
.venv/installed: requirements.lock pyproject.toml | .venv/made
	@echo "installing the packages of requirements.lock into .venv (1.6 GB)"
	@$(VENV_PYTHON) -m pip install -qq --no-deps --no-compile --requirement requirements.lock
	@$(VENV_PYTHON) -m pip install -qq --no-deps --editable .
	@$(VENV_PYTHON) -m ipykernel install --sys-prefix $(foreach setting,$(PIN),--env $(subst =, ,$(setting))) >/dev/null
	@$(VENV_PYTHON) -m pip check >/dev/null || \
	  $(VENV_PYTHON) -m pip install --quiet --no-compile --requirement requirements.lock
	@touch $@

# What the lock leaves out. Only as a wheel: to compile it takes long, and compilers that may be missing.
runtimes: setup ## Also llama.cpp, which runs the GGUF files of 09_deployment
	@$(VENV_PYTHON) -m pip install -qqq --no-compile --only-binary=:all: --constraint requirements.lock \
	  $$($(VENV_PYTHON) -c "from t0qat.pipeline import lock; print(*lock.requirements('runtimes'))") || \
	  { echo "no wheel of ik-llama-cpp-python can be had here: GGUF files are written, but not run"; exit 1; }

# Without LaTeX everything but the PDF is made; `run` then says what to install. After Python, since
# two installations by apt-get at once would refuse each other.
latex: | .venv/made
	@command -v latexmk >/dev/null && command -v pdftotext >/dev/null && kpsewhich lmodern.sty cleveref.sty eso-pic.sty >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing LaTeX (about 450 MB)"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(LATEX) >/dev/null; \
	fi || true
