# What you type. make/chain.mk: the steps to an image, the registry; make/template.mk: the template.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # goals run in the order of the command line, whatever MAKEFLAGS says
MAKEFLAGS += --no-print-directory -j1

# Choices: change them here or on make's command line, like every variable below; the shell's
# environment does not count. Where state is stored is a setting, from the environment or .env.
MODEL := iris
CONFIG := application/training/configs/$(MODEL)_config.json
ENV := staging

PACKAGES := domain application infrastructure shared
PY := .venv/bin/python
MLOPS := $(PY) -m infrastructure.cli
include make/chain.mk

##@ Start here
help: ## List every target
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
quickstart: ## Install, train, validate, build, serve, predict: everything once
	@bash scripts/quickstart.sh
all: install ## Install everything, then run format, lint, test and checkgpu
	@$(MAKE) format lint test checkgpu

##@ Install
install: ## Everything: PyTorch (CUDA where there is a GPU), TensorFlow, openai-whisper, dev tools
	@bash scripts/setup/install.sh all
install-dev: ## Core and development tools without the large ML packages, as in CI
	@bash scripts/setup/install.sh dev
install-core: ## Only what make quickstart needs
	@bash scripts/setup/install.sh core
installed: $(CORE) ## Install the core if it is missing or poetry.lock has changed
checkgpu: $(CORE) ## Show driver, GPUs and what each framework computes on (JSON=1; REQUIRE_GPU=1 fails without a GPU)
	@$(MLOPS) checkgpu $(call flag,JSON)

##@ Model
new-model: $(CORE) ## Write a model, its configuration and its notebook for a table: NAME, DATA, TARGET; options: docs/new-model.md
	@$(MLOPS) new-model $(call args,NAME DATA QUERY TARGET TASK LEAVE_OUT READ_AS_NUMBERS ESTIMATOR) $(call flag,DROP_UNLABELLED) $(call flag,FORCE)
train: $(RECEIPTS)/train.json ## Train a candidate and register it
validate: $(RECEIPTS)/validate.json ## Judge the candidate; promote it to champion if every gate accepts
bento-build: $(RECEIPTS)/bento-build.json ## Build and export the Bento of the champion
containerize: $(RECEIPTS)/containerize.json ## Build the container image of the champion's Bento (ENGINE, BASE)
mlflow-ui: $(CORE) ## Browse runs and versions (PORT=5000)
	@$(MLOPS) mlflow-ui $(call args,PORT)
score: $(CORE) ## Score a table with the champion: INPUT and OUTPUT (VERSION); .parquet, .csv or .ndjson
	@$(MLOPS) score --model $(MODEL) $(call args,VERSION INPUT OUTPUT)

##@ Serve
run: $$(champion) ## Serve the champion from the source files, reloading when they change
	@$(MLOPS) run --champion $(RECEIPTS)/champion.json $(call args,PORT)
deploy: $(RECEIPTS)/bento-build.json $$(image) ## Deploy the champion's Bento (ENV, PORT, WORKERS, WATCH), or its image to another TARGET; more: docs/deploy.md
	@$(MLOPS) deploy --bento $< --env $(ENV) $(call args,PORT WORKERS CANARY CANARY_BY WATCH ALLOW TARGET HOST DOMAIN ENGINE NAMESPACE CONTEXT VALUES ROLE INSTANCE) $(call flag,REPLACE)
rollback-release: ## End the canary of ENV; without one, deploy its previous release again, with its own settings
smoke: ## Check that the service in ENV reproduces its golden predictions
demo: ## Send a request and its feedback to ENV, and show the metrics that change
stop: ## Stop what is deployed in ENV
rollback-release smoke demo stop: $(CORE)
	@$(MLOPS) $@ --env $(ENV) $(call args,PORT)
status: $(CORE) ## Show what is deployed on this machine
	@$(MLOPS) status
where: $(CORE) ## Show what is deployed, where models are stored, and what to do next
	@$(MLOPS) where --model $(MODEL) --env $(ENV)
api-key: $(CORE) ## Create an API key for NAME (SCOPES=predict,feedback)
	@$(MLOPS) api-key $(call args,NAME SCOPES)

##@ Check
# one test process per core, up to four: with every extra, each uses up to 2 GB of memory
pytest := $(PY) -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal
coverage := $(PACKAGES:%=--cov=%) --cov-report=term:skip-covered --cov-report=xml --cov-report=html
format: $(DEV) ## Format with black
	@$(PY) -m black --quiet $(PACKAGES) tests
lint: $(DEV) ## Check with pylint
	@$(PY) -m pylint --jobs=$$(getconf _NPROCESSORS_ONLN) $(PACKAGES) tests tests/unit tests/integration
refactor: format lint ## Format, then lint
lint-check: lint ## Check with black, pylint, mypy, bandit and import-linter; changes nothing
	@$(PY) -m black --check --quiet $(PACKAGES) tests || { echo "error: run 'make format'" >&2; exit 1; }
	@$(PY) -m mypy $(PACKAGES)
	@$(PY) -m bandit --quiet --recursive --configfile pyproject.toml $(PACKAGES)
	@.venv/bin/lint-imports
test: $(DEV) ## Run all tests except the nightly ones, with coverage
	@$(pytest) $(coverage)
test-unit: $(DEV) ## Run the unit tests, with coverage in coverage.xml and htmlcov/
	@$(pytest) tests/unit $(coverage)
test-integration: $(DEV) $(RECEIPTS)/bento-build.json ## Serve the exported Bento, and run its service test and load test
	@BENTO=$(RECEIPTS)/bento $(PY) -m pytest $(if $(filter iris,$(MODEL)),application/inference/services/test_service.py) tests/integration/test_load_performance.py
check: lint-check test ## Run lint-check and test, which must pass before a commit
nightly: $(ALL) ## Run every test in full: container images, long simulations and fuzzing, too
	@$(pytest) --nightly
ci: $(ALL) ## Install everything, then run check with every model; called by .ci/run
	@$(MAKE) check
hooks: $(DEV) ## Install the git hooks, which call make
	@$(PY) -m pre_commit install --hook-type pre-commit --hook-type pre-push
clean: ## Remove caches, build/, dist/ and coverage, but never data, models or the tracking database
	@rm -rf $(RECEIPTS_DIR) dist htmlcov coverage.xml .coverage .pytest_cache .mypy_cache .import_linter_cache
	@find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
-include make/template.mk
.PHONY: FORCE MAYBE $(shell awk -F: '/^[a-z-]+:.*## / {print $$1}' $(MAKEFILE_LIST))
