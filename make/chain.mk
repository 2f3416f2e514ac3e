# The chain: each step leaves a receipt, build/<model>/<step>.json, from which the next one starts. A
# failed step leaves none. A step runs again when a file, a choice or a setting that it used changed.
ifneq ($(words $(CURDIR)),1)
$(error make cannot work in a folder with a space in its path: $(CURDIR))
endif
.SECONDEXPANSION: # $$(…) among prerequisites is looked at only when make considers that target

# A variable given on make's command line, as one word of the shell; as an option of a command.
given = $(if $(findstring command line,$(origin $(1))),$($(1)))
quoted = '$(subst ','\'',$(1))'
option = --$(subst _,-,$(shell echo $(1) | tr A-Z a-z))
args = $(foreach name,$(1),$(if $(call given,$(name)),$(call option,$(name)) $(call quoted,$(call given,$(name)))))
flag = $(if $(call given,$(1)),$(call option,$(1)))

# MODEL and ENV become parts of paths.
$(if $(shell for name in $(call quoted,$(MODEL)) $(call quoted,$(ENV)); do case $$name in (''|[!A-Za-z0-9]*|*[!A-Za-z0-9._-]*) echo wrong;; esac; done),\
	$(error MODEL=$(MODEL) ENV=$(ENV): give names of letters and digits that may have . _ and - in them))

# What is installed is compared with the lock once: a target would make `make -B train` install again.
outdated := $(shell for set in core dev all; do [ .venv/.$$set -nt poetry.lock ] || echo $$set; done)
CORE := $(if $(filter core,$(outdated)),install-core)
DEV := $(if $(filter dev,$(outdated)),install-dev)
ALL := $(if $(filter all,$(outdated)),install)
export EXTRAS := $(call given,EXTRAS)
export RECEIPTS_DIR := $(or $(RECEIPTS_DIR),$(CURDIR)/build)
RECEIPTS := $(RECEIPTS_DIR)/$(MODEL)

python_files = $(foreach folder,$(1),$(wildcard $(folder)/*.py $(folder)/*/*.py $(folder)/*/*/*.py))
other_models := $(filter-out %/$(MODEL).py %/__init__.py,$(wildcard domain/models/*.py))
trained_by := $(filter-out $(other_models),$(call python_files,domain application/training \
	infrastructure/frameworks infrastructure/tracking infrastructure/packaging infrastructure/inference infrastructure/reporting))

# Settings as they are given, or as the lines that set them in the environment or .env; with paths that
# count from the clone, so that state can move to another one.
settings = $(foreach name,$(1),$(call given,$(name)) $(shell { env; cat .env; } 2>/dev/null | grep -E '^ *(export +)?$(name) *='))
train_inputs = $(subst $(CURDIR)/,,$(CONFIG) $(call settings,WHISPER_MODEL MODEL_REGISTRY_DIR MLFLOW_TRACKING_URI))
validate_inputs = $(subst $(CURDIR)/,,$(call given,THRESHOLD) $(call settings,BENTOML_HOME))
containerize_inputs = $(call given,ENGINE)
changed = $(shell echo $(call quoted,$($(1)_inputs)) | cmp -s - $(RECEIPTS)/$(1).inputs || echo FORCE)
remember = echo $(call quoted,$($(1)_inputs)) >$(RECEIPTS)/$(1).inputs
# a data file that training read, and that is newer than its receipt; one that is gone stops nothing
newer_data = $(shell { while IFS= read -r file; do if [ "$$file" -nt $(RECEIPTS)/train.json ]; then echo FORCE; break; fi; done <$(RECEIPTS)/train.files; } 2>/dev/null)

application/training/configs/%_config.json:
	@[ -f $@ ] || { echo 'error: no model $*: $@ is not there; make new-model writes one. There are: $(patsubst %_config.json,%,$(notdir $(wildcard application/training/configs/*_config.json)))' >&2; exit 2; }

$(RECEIPTS)/train.json: $(CONFIG) poetry.lock $(trained_by) $$(call changed,train) $$(newer_data) | $(CORE)
	@mkdir -p $(@D); rm -f $@; echo "train $(MODEL)"
	@$(MLOPS) train --model $(MODEL) --config $(call quoted,$(CONFIG)) --receipt $@
	@$(call remember,train)

$(RECEIPTS)/validate.json: $(RECEIPTS)/train.json $(call python_files,application/validation domain/evaluation domain/gates) $$(call changed,validate) | $(CORE)
	@mkdir -p $(@D); rm -f $@ $(@D)/champion.json; echo "validate $(MODEL)"
	@$(MLOPS) validate --model $(MODEL) --train-receipt $< $(call args,THRESHOLD) --receipt $@
	@$(call remember,validate)

# What is built and run is the champion: of the last validation, or of a later promote or rollback;
# then nothing is trained or judged before.
champion = $(RECEIPTS)/$(if $(or $(filter promote rollback,$(MAKECMDGOALS)),$(shell [ $(RECEIPTS)/champion.json -nt $(RECEIPTS)/validate.json ] && echo newer)),champion,validate).json

$(RECEIPTS)/bento-build.json: $$(champion) application/inference/services/bentofile.yaml $(call python_files,application/inference application/monitoring application/ports infrastructure shared domain/contract domain/monitoring) | $(CORE)
	@mkdir -p $(@D); rm -f $@; echo "bento-build $(MODEL)"
	@$(MLOPS) bento-build --model $(MODEL) --receipt $@

$(RECEIPTS)/containerize.json: $(RECEIPTS)/bento-build.json $$(call changed,containerize) | $(CORE)
	@mkdir -p $(@D); rm -f $@; echo "containerize $(MODEL)"
	@$(MLOPS) containerize --bento $< $(call args,ENGINE) --receipt $@
	@$(call remember,containerize)

##@ Registry
promote: ## Make an accepted version the champion (VERSION; else the newest one)
rollback: ## Make the previous champion, or VERSION, the champion again; show what changes
promote rollback: $(CORE)
	@$(MLOPS) $@ --model $(MODEL) $(call args,VERSION) --receipt $(RECEIPTS)/champion.json
registry: $(CORE) ## List versions with their aliases, verdict, quality and place (of MODEL, or all)
	@$(MLOPS) registry $(call args,MODEL)
which-model: $(CORE) ## Show what was champion and deployed AT="2026-11-20 14:00" (of MODEL, or all)
	@$(MLOPS) which-model $(call args,MODEL AT)
gc: $(CORE) ## Remove packages and Bentos that no alias, deployment or the newest KEEP=5 need (DRY_RUN=1 lists)
	@$(MLOPS) gc $(call args,KEEP) $(call flag,DRY_RUN)
state-save: $(CORE) ## Pack receipts, packages, tracking, Bentos and ledger into state.tar.gz
	@$(MLOPS) state-save
state-load: $(CORE) ## Unpack state.tar.gz; refuses to lose what is here, unless SET_ASIDE=1 may move it away
	@$(MLOPS) state-load $(call flag,SET_ASIDE)
FORCE:
