# The engine: every step is a target, and leaves a receipt in build/<model>/ from which the next starts.
# `make` lists the targets.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory -j1
ifneq ($(words $(CURDIR)),1)
$(error make cannot work in a folder with a space in its path: $(CURDIR))
endif
.NOTPARALLEL: # goals run in the order in which they are given, whatever MAKEFLAGS says

# What a call chooses, on make's command line or in .env: the shell's environment does not count.
CHOICES := MODEL CONFIG PORT WORKERS ENV ENGINE EXTRAS THRESHOLD NAME DATA TARGET TASK LEAVE_OUT VERSION \
	RUN AT KEEP DRY_RUN REPLACE SET_ASIDE INPUT OUTPUT SCOPES JSON PEERS ROUNDS SECONDS RATE
# What the machine is: these come from the environment too. Python processes read further ones from .env.
SETTINGS := ACCELERATOR TORCH_INDEX PYTHON WHISPER_MODEL MLFLOW_TRACKING_URI MODEL_REGISTRY_DIR BENTOML_HOME RECEIPTS_DIR
$(foreach name,$(CHOICES),$(if $(findstring environment,$(origin $(name))),$(eval $(name) :=)))
space := $(subst ,, )
$(foreach line,$(shell [ ! -f .env ] || awk -f scripts/dotenv.awk .env),\
	$(foreach name,$(filter $(CHOICES) $(SETTINGS),$(firstword $(subst =, ,$(line)))),\
	$(if $($(name)),,$(eval $(name) := $$(subst ␣,$$(space),$$(patsubst $(name)=%,%,$$(line)))))))
# a value as one word of the shell; names of columns have all kinds of signs
quoted = '$(subst ','\'',$(1))'
# names and numbers are checked before they reach a path or a shell: name, pattern of wrong values, advice
check = $(if $(and $($(1)),$(shell case $(call quoted,$($(1))) in ($(2)) echo wrong;; esac)),$(error $(1)=$($(1)) is wrong: give $(3)))
$(foreach name,MODEL ENV ENGINE,$(call check,$(name),*[!A-Za-z0-9._-]*|[._-]*,a name of letters and digits that may have . _ and - in it))
$(foreach name,WORKERS KEEP ROUNDS SECONDS RATE,$(call check,$(name),*[!0-9]*,a whole number))
$(call check,PORT,0*|*[!0-9]*|??????*|6553[6-9]|655[4-9]?|65[6-9]??|6[6-9]???|[7-9]????,a number from 1 to 65535)

MODEL := $(or $(MODEL),iris)
CONFIG := $(or $(CONFIG),application/training/configs/$(MODEL)_config.json)
WORKERS := $(or $(WORKERS),1)
ENV := $(or $(ENV),staging)
EXTRAS := $(or $(EXTRAS),all)
RECEIPTS_DIR := $(or $(RECEIPTS_DIR),$(CURDIR)/build)
export RECEIPTS_DIR WORKERS EXTRAS ACCELERATOR TORCH_INDEX

PY := .venv/bin/python
MLOPS := $(PY) -m infrastructure.cli
PACKAGES := domain application infrastructure shared
SOURCES := $(PACKAGES) tests
RECEIPTS := $(RECEIPTS_DIR)/$(MODEL)
python_files = $(foreach folder,$(1),$(wildcard $(folder)/*.py $(folder)/*/*.py $(folder)/*/*/*.py))

# What is installed is checked against the lock when make starts, not by a target: so `make -B train`
# trains again without installing again.
stale = $(shell [ .venv/.$(1) -nt poetry.lock ] && [ .venv/.$(1) -nt pyproject.toml ] || echo install-$(1))
CORE := $(call stale,core)
DEV := $(call stale,dev)
ALL := $(if $(call stale,all),install)

##@ Start here
help: ## List every target
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables: MODEL=%s CONFIG PORT=%s WORKERS=%s ENV=%s ENGINE EXTRAS=%s ACCELERATOR THRESHOLD\n' '$(MODEL)' '$(or $(PORT),3000)' '$(WORKERS)' '$(ENV)' '$(EXTRAS)'
quickstart: ## Install, train, validate, build, serve, predict: everything once
	@bash scripts/quickstart.sh
all: install ## Install everything, then format, lint, test and checkgpu
	@$(MAKE) format lint test checkgpu

##@ Install
install: ## Everything: PyTorch (CUDA where there is a GPU), TensorFlow, openai-whisper, Ray, dev tools
	@bash scripts/setup/install.sh all
install-dev: ## Core and development tools, none of the large ML packages; what CI uses
	@bash scripts/setup/install.sh dev
install-core: ## Only what the iris chain needs to run
	@bash scripts/setup/install.sh core
installed: $(CORE) ## Install the core unless that was done since the lock last changed
hooks: $(DEV) ## Install the git hooks, which call make
	@$(PY) -m pre_commit install --hook-type pre-commit --hook-type pre-push
checkgpu: $(CORE) ## Show driver, GPUs and what each framework computes (JSON=1; REQUIRE_GPU=1 fails without one)
	@$(MLOPS) checkgpu $(if $(JSON),--json)

##@ Model
new-model: $(CORE) ## Write a model for a table: NAME, DATA, TARGET (TASK, LEAVE_OUT)
	@$(if $(and $(NAME),$(DATA),$(TARGET)),,echo 'error: say what to make: make new-model NAME=churn DATA=churn.csv TARGET=churned' >&2; exit 2)
	@$(MLOPS) new-model --name $(call quoted,$(NAME)) --data $(call quoted,$(DATA)) --target $(call quoted,$(TARGET)) $(if $(TASK),--task $(call quoted,$(TASK))) $(if $(LEAVE_OUT),--leave-out $(call quoted,$(LEAVE_OUT)))
train: $(RECEIPTS)/train.json ## Train a candidate and register it
validate: $(RECEIPTS)/validate.json ## Judge the candidate; promote it to champion if every gate accepts
bento-build: $(RECEIPTS)/bento-build.json ## Build and export the Bento of the champion
containerize: $(RECEIPTS)/containerize.json ## Build the image of the champion's Bento
reproduce: $(CORE) ## Train a recorded version again from its commit and compare: RUN (MODEL)
	@$(if $(RUN),,echo 'error: say what to reproduce, by its run, registry version, alias or package: make reproduce RUN=champion' >&2; exit 2)
	@$(MLOPS) reproduce --model $(MODEL) --run $(call quoted,$(RUN))
mlflow-ui: $(CORE) ## Browse runs and versions (PORT=5000)
	@$(MLOPS) mlflow-ui --port $(if $(findstring command,$(origin PORT)),$(PORT),5000)

# A step whose variables are not those that its receipt was made with is done again. Paths count from
# the clone, so that state can move to another one.
train_variables = $(subst $(CURDIR)/,,$(CONFIG) $(WHISPER_MODEL) $(MODEL_REGISTRY_DIR) $(MLFLOW_TRACKING_URI))
validate_variables = $(subst $(CURDIR)/,,$(THRESHOLD) $(BENTOML_HOME))
containerize_variables = $(ENGINE)
changed = $(shell echo $(call quoted,$($(1)_variables)) | cmp -s - $(RECEIPTS)/$(1).variables || echo FORCE)
# training is done again when a file that it read is newer; one that is gone stops nothing
data_changed = $(shell while IFS= read -r file; do if [ "$$file" -nt $(RECEIPTS)/train.json ]; then echo FORCE; break; fi; done 2>/dev/null <$(RECEIPTS)/train.files)
remember = echo $(call quoted,$($(1)_variables)) >$(RECEIPTS)/$(1).variables

# another model's file is nothing to this one
others = $(filter-out %/$(MODEL).py,$(wildcard domain/models/*.py))
application/training/configs/%_config.json:
	@[ -f $@ ] || { echo 'error: no model $*: $@ is not there; make new-model writes one. There are: $(patsubst %_config.json,%,$(notdir $(wildcard application/training/configs/*_config.json)))' >&2; exit 2; }

$(RECEIPTS)/train.json: $(CONFIG) poetry.lock $(filter-out $(others),$(call python_files,domain) $(call python_files,application/training infrastructure/frameworks infrastructure/tracking infrastructure/packaging infrastructure/inference infrastructure/reporting)) $(call changed,train) $(data_changed) | $(CORE)
	@mkdir -p $(@D); rm -f $@; echo "train $(MODEL)"
	@$(MLOPS) train --model $(MODEL) --config $(call quoted,$(CONFIG)) --receipt $@
	@$(call remember,train)

$(RECEIPTS)/validate.json: $(RECEIPTS)/train.json $(call python_files,application/validation domain/evaluation domain/gates) $(call changed,validate) | $(CORE)
	@mkdir -p $(@D); rm -f $@ $(@D)/champion.json; echo "validate $(MODEL)"
	@$(MLOPS) validate --model $(MODEL) --train-receipt $< $(if $(THRESHOLD),--threshold $(call quoted,$(THRESHOLD))) --receipt $@
	@$(call remember,validate)

# What is built and run is the champion: that of the last validation, or the one that `make promote` or
# `make rollback` has chosen since; then nothing is trained or judged again before.
champion = $(RECEIPTS)/$(if $(filter promote rollback,$(MAKECMDGOALS))$(shell [ $(RECEIPTS)/champion.json -nt $(RECEIPTS)/validate.json ] && echo newer),champion,validate).json

$(RECEIPTS)/bento-build.json: $(champion) $(wildcard application/inference/services/*.yaml) $(call python_files,application/inference application/monitoring infrastructure shared domain/monitoring) | $(CORE)
	@mkdir -p $(@D); rm -f $@; echo "bento-build $(MODEL)"
	@$(MLOPS) bento-build --model $(MODEL) --receipt $@

$(RECEIPTS)/containerize.json: $(RECEIPTS)/bento-build.json $(call changed,containerize) | $(CORE)
	@mkdir -p $(@D); rm -f $@; echo "containerize $(MODEL)"
	@$(MLOPS) containerize --bento $< $(if $(ENGINE),--engine $(ENGINE)) --receipt $@
	@$(call remember,containerize)

##@ Registry
version_given = $(if $(VERSION),--version $(call quoted,$(VERSION)))
model_given = $(if $(findstring command,$(origin MODEL)),--model $(call quoted,$(MODEL)))
promote: $(CORE) ## Make an accepted version the champion (VERSION; else the newest one)
	@$(MLOPS) promote --model $(MODEL) $(version_given) --receipt $(RECEIPTS)/champion.json
rollback: $(CORE) ## Make the previous champion, or VERSION, the champion again; show what changes
	@$(MLOPS) rollback --model $(MODEL) $(version_given) --receipt $(RECEIPTS)/champion.json
registry: $(CORE) ## List versions with their aliases, verdict, quality and place (of MODEL, or all)
	@$(MLOPS) registry $(model_given)
which-model: $(CORE) ## Tell what was champion and deployed AT="2026-11-20 14:00" (of MODEL, or all)
	@$(MLOPS) which-model $(model_given) $(if $(AT),--at $(call quoted,$(AT)))
gc: $(CORE) ## Remove packages and Bentos that no alias, deployment or the newest KEEP=5 need (DRY_RUN=1 lists)
	@$(MLOPS) gc $(if $(KEEP),--keep $(call quoted,$(KEEP))) $(if $(DRY_RUN),--dry-run)

##@ Serve
# where no port is given, it is that of what is deployed in ENV, else 3000
port_given = $(if $(PORT),--port $(PORT))
env_hint = $(if $(filter-out staging,$(ENV)), ENV=$(ENV))
model_hint = $(if $(filter-out iris,$(MODEL)), MODEL=$(MODEL))
run: $(champion) ## Serve the champion from the source files, reloading when they change
	@$(MLOPS) run --champion $(RECEIPTS)/champion.json $(port_given)
deploy: $(RECEIPTS)/bento-build.json ## Roll the built Bento out (ENV, PORT, WORKERS): ready and right first, then switched; REPLACE=1 over another model
	@echo "deploy $(MODEL) to $(ENV)"
	@$(MLOPS) deploy --env $(ENV) $(port_given) --workers $(WORKERS) --bento $< $(if $(REPLACE),--replace) --receipt $(RECEIPTS)/deploy-$(ENV).json
rollback-release: $(CORE) ## Roll the previous release of ENV out again, with its own settings
	@$(MLOPS) rollback-release --env $(ENV) $(port_given)
demo: $(CORE) ## Send a prediction and its feedback to ENV; show the metrics that change
	@$(MLOPS) demo --env $(ENV) $(port_given)
smoke: $(CORE) ## Ask the deployed service of ENV for golden predictions
	@$(MLOPS) smoke --env $(ENV) $(port_given)
status: $(CORE) ## Show what is deployed on this machine
	@$(MLOPS) status
where: $(CORE) ## Show where everything is
	@echo 'What is deployed; each serves its page on that address, and metrics on /metrics:'
	@$(MLOPS) status
	@echo 'More:'
	@echo '  runs      make mlflow-ui'
	@echo '  packages  $(or $(MODEL_REGISTRY_DIR),application/registry/model_registry)'
	@echo '  ask it    make demo$(env_hint); stop it with: make stop$(env_hint)'
	@echo '  next      change $(CONFIG) and run make quickstart$(model_hint)$(env_hint) again; every target: make help'
stop: $(CORE) ## Stop what is deployed in ENV
	@$(MLOPS) stop --env $(ENV)
api-key: $(CORE) ## Make an API key of the service for NAME: its entry goes into SERVING_API_KEYS (SCOPES=predict,metrics)
	@$(if $(NAME),,echo 'error: say who will use it: make api-key NAME=shop SCOPES=predict,feedback' >&2; exit 2)
	@$(MLOPS) api-key --name $(call quoted,$(NAME)) $(if $(SCOPES),--scopes $(call quoted,$(SCOPES)))
score: $(CORE) ## Score a table with the champion: INPUT and OUTPUT (MODEL, VERSION); .parquet, .csv or .ndjson
	@$(if $(and $(INPUT),$(OUTPUT)),,echo 'error: say what to score: make score INPUT=in.parquet OUTPUT=out.parquet' >&2; exit 2)
	@$(MLOPS) score --model $(MODEL) $(version_given) --input $(call quoted,$(INPUT)) --output $(call quoted,$(OUTPUT))

##@ Check
# as many test processes as cores, up to four: each takes up to 2 GB with every extra
pytest = $(PY) -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal
coverage = $(foreach package,$(PACKAGES),--cov=$(package)) --cov-report=term:skip-covered --cov-report=xml --cov-report=html
format: $(DEV) ## Format with black
	@$(PY) -m black --quiet $(SOURCES)
lint: $(DEV) ## pylint
	@$(PY) -m pylint --jobs=$$(getconf _NPROCESSORS_ONLN) $(SOURCES) tests/unit tests/integration
refactor: format lint ## format, then lint
lint-check: $(DEV) lint ## black --check, pylint, mypy, bandit and the import contracts
	@$(PY) -m black --check --quiet $(SOURCES) || { echo "error: run 'make format'" >&2; exit 1; }
	@$(PY) -m mypy $(PACKAGES)
	@$(PY) -m bandit --quiet --recursive --configfile pyproject.toml $(PACKAGES)
	@.venv/bin/lint-imports
test: $(DEV) ## All tests but the nightly ones, with coverage of the four packages
	@$(pytest) $(coverage)
test-unit: $(DEV) ## Unit tests, with coverage as coverage.xml and htmlcov/
	@$(pytest) tests/unit $(coverage)
test-integration: $(DEV) $(RECEIPTS)/bento-build.json ## Serve the exported Bento; its service test and load test
	@BENTO=$(RECEIPTS)/bento $(PY) -m pytest $(if $(filter iris,$(MODEL)),application/inference/services/test_service.py) tests/integration/test_load_performance.py
check: lint-check test ## What must hold before a commit lands
ci: $(ALL) ## What .ci/run calls: check with every model, so everything is installed first
	@$(MAKE) check
nightly: $(ALL) ## Every test in full: also whole adoptions, container images, long simulations and fuzzing
	@$(pytest) --nightly
benchmark: $(DEV) ## Compare with the alternatives, side by side, into docs/benchmarks/ (PEERS=none is quick, and prints only)
	@$(if $(filter-out all,$(PEERS)),,$(PY) -m tests.benchmarks.training)
	@$(PY) -m tests.benchmarks.serving $(if $(PEERS),--peers $(call quoted,$(PEERS))) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS))
soak: $(DEV) $(RECEIPTS)/bento-build.json ## Load of every kind for SECONDS=600: memory must stay flat; figures go to build/soak/
	@$(PY) -m tests.benchmarks.soak --bento $(RECEIPTS)/bento --report $(RECEIPTS_DIR)/soak $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RATE),--rate $(RATE))
mutation: $(DEV) ## Change the gates in small ways: tests must notice. The score goes to docs/mutation.md
	@$(PY) -c 'import mutmut' 2>/dev/null || bash scripts/setup/install.sh mutation
	@$(PY) -m tests.benchmarks.mutation

models-report: $(ALL) ## Carry every model through its chain; the table goes into the README
	@$(PY) -m tests.benchmarks.models_report

gates-report: $(DEV) ## Put every mutant before the gates, and equal challengers; the table goes to docs/gates.md
	@$(PY) -m tests.benchmarks.gates_report

##@ Keep house
state-save: $(CORE) ## Pack receipts, packages, tracking, Bentos and ledger into state.tar.gz
	@$(MLOPS) state-save
state-load: $(CORE) ## Unpack state.tar.gz; refuses to lose what is here, unless SET_ASIDE=1 may move it away
	@$(MLOPS) state-load $(if $(SET_ASIDE),--set-aside)
clean: ## Remove caches, build/, dist/ and coverage; never data, models or the tracking database
	@rm -rf $(RECEIPTS_DIR) dist htmlcov coverage.xml .coverage .pytest_cache .mypy_cache .import_linter_cache
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

FORCE:
.PHONY: FORCE help quickstart all install install-dev install-core installed hooks checkgpu new-model train validate bento-build containerize reproduce mlflow-ui promote rollback registry which-model gc score run deploy rollback-release demo smoke status where stop api-key format lint refactor lint-check test test-unit test-integration check ci nightly benchmark soak mutation models-report gates-report state-save state-load clean
