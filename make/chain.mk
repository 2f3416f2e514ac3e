# The chain: each step writes a receipt, build/<model>/<step>.json, from which the next step starts. A
# failed step writes none. A step runs again if a file, choice or setting that it used has changed.
ifneq ($(words $(CURDIR)),1)
$(error make does not work in a folder whose path contains a space: $(CURDIR))
endif
.SECONDEXPANSION: # $$(…) among prerequisites is expanded only when make considers the target

# typed: the value of a variable on make's command line (DATA with its ${NAME} unexpanded); quoted: a
# text as one word of the shell; option, args, flag: variables as options of a command.
typed = $(if $(findstring command line,$(origin $(1))),$(if $(filter DATA,$(1)),$(value $(1)),$($(1))))
quoted = '$(subst ','\'',$(1))'
option = --$(subst _,-,$(shell echo $(1) | tr A-Z a-z))
args = $(foreach name,$(1),$(if $(call typed,$(name)),$(call option,$(name)) $(call quoted,$(call typed,$(name)))))
flag = $(if $(call typed,$(1)),$(call option,$(1)))

# A variable on make's command line that nothing reads is a typo. Arguments and switches of commands,
# variables of makefiles and installers, and settings are read.
known = $(shell awk '/^class/ {prefix = ""} sub(/.*(alias|prefix)="/, "") {sub(/".*/, ""); if (/_$$/) prefix = $$0; else print; next} \
	/^    [a-z_]+: / {if (!/Field.$$/) {sub(/:.*/, ""); print prefix toupper($$1)}; next} \
	{while (match($$0, /call (args|flag|typed|settings),[A-Z_ ]+|^(export )?[A-Z_]+ [:+]=|[A-Z_]+=1|[$$][{][A-Z_]+:[-+]/)) \
	{name = substr($$0, RSTART, RLENGTH); $$0 = substr($$0, RSTART + RLENGTH); gsub(/[^A-Z_ ]/, "", name); print name}}' \
	shared/settings.py Makefile make/*.mk scripts/setup/*.sh)
typos := $(if $(filter 0,$(MAKELEVEL)),$(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name))))
typos := $(if $(typos),$(filter-out SHELL $(known),$(typos)))
with_hint = $(shell python3 -c 'import sys; from difflib import get_close_matches as close; name, *known = sys.argv[1:]; upper = name.upper(); \
	found = close(upper, known, 1, 0.75) or [k for k in known if len(k) > 2 and upper.startswith(k)] or close(upper, known); \
	print(name, *(f"(did you mean {k}?)" for k in found[:1]))' $(call quoted,$(1)) $(known) || echo $(call quoted,$(1)))
$(if $(typos),$(error unknown variable $(foreach name,$(typos),$(call with_hint,$(name))): docs/commands.md lists them; write variables of other programs before make))

# MODEL and ENV become parts of paths.
$(if $(shell for name in $(call quoted,$(MODEL)) $(call quoted,$(ENV)); do case $$name in (''|[!A-Za-z0-9]*|*[!A-Za-z0-9._-]*) echo wrong;; esac; done),\
	$(error MODEL=$(MODEL) ENV=$(ENV): use letters, digits, . _ and -, starting with a letter or digit))

# TARGET of deploy, not of new-model: a wrong one would be found only after the image is built.
TARGETS := local server compose kubernetes sagemaker
$(if $(filter deploy,$(MAKECMDGOALS)),$(if $(filter-out $(TARGETS),$(call typed,TARGET)),$(error TARGET=$(TARGET): use one of $(TARGETS))))

# Compare what is installed with the lock only once: with targets, `make -B train` would install again.
outdated := $(shell for set in core dev all; do [ .venv/.$$set -nt poetry.lock ] || echo $$set; done)
CORE := $(if $(filter core,$(outdated)),install-core)
DEV := $(if $(filter dev,$(outdated)),install-dev)
ALL := $(if $(filter all,$(outdated)),install)
export EXTRAS := $(call typed,EXTRAS)
export RECEIPTS_DIR := $(or $(RECEIPTS_DIR),$(CURDIR)/build)
RECEIPTS := $(RECEIPTS_DIR)/$(MODEL)

python_files = $(foreach folder,$(1),$(wildcard $(folder)/*.py $(folder)/*/*.py $(folder)/*/*/*.py))
other_models := $(filter-out %/$(MODEL).py %/__init__.py,$(wildcard domain/models/*.py))
trained_by := $(filter-out $(other_models),$(call python_files,domain application/training \
	infrastructure/frameworks infrastructure/tracking infrastructure/packaging infrastructure/inference infrastructure/reporting))

# Settings from make's command line, or the lines that set them in the environment or .env. Paths are
# relative to the clone, so that state can move to another clone.
settings = $(foreach name,$(1),$(call typed,$(name))) $(shell { env; cat .env; } 2>/dev/null | \
	grep -E $(foreach name,$(1),-e '^ *(export +)?$(name) *='))
train_inputs = $(subst $(CURDIR)/,,$(CONFIG) $(call settings,WHISPER_MODEL MODEL_REGISTRY_DIR MLFLOW_TRACKING_URI))
validate_inputs = $(subst $(CURDIR)/,,$(call typed,THRESHOLD) $(call settings,BENTOML_HOME))
containerize_inputs = $(call typed,ENGINE) $(call typed,BASE)
changed = $(shell echo $(call quoted,$($(1)_inputs)) | cmp -s - $(RECEIPTS)/$(1).inputs || echo FORCE)
remember = echo $(call quoted,$($(1)_inputs)) >$(RECEIPTS)/$(1).inputs
# FORCE if a data file that training read is newer than the receipt; a missing file is ignored.
# MAYBE if an address was read: `make train` reads it again, and trains if its data have changed. So
# it does for the configuration, whose key `watch` does not affect the training.
newer_data = $(shell { while IFS= read -r file; do case $$file in (*://*|*'$${'*) [ -z "$(filter train,$(MAKECMDGOALS))" ] || echo MAYBE;; (*) if [ "$$file" -nt $(RECEIPTS)/train.json ]; then echo FORCE; break; fi;; esac; done <$(RECEIPTS)/train.files; } 2>/dev/null)

application/training/configs/%_config.json:
	@[ -f $@ ] || { echo 'error: unknown model $*: $@ does not exist; write it with make new-model, or use one of: $(or $(patsubst %_config.json,%,$(notdir $(wildcard application/training/configs/*_config.json))),none yet)' >&2; exit 2; }

$(RECEIPTS)/train.json: $(CONFIG) poetry.lock $(trained_by) $$(call changed,train) $$(newer_data) | $(CORE)
	@mkdir -p $(@D); $(if $(filter-out MAYBE $(CONFIG),$?),rm -f $@;) echo "train $(MODEL)"
	@$(MLOPS) train --model $(MODEL) --config $(call quoted,$(CONFIG)) --receipt $@ $(if $(filter-out MAYBE $(CONFIG),$?),,--if-changed)
	@$(call remember,train)

$(RECEIPTS)/validate.json: $(RECEIPTS)/train.json $(call python_files,application/validation domain/evaluation domain/gates) $$(call changed,validate) | $(CORE)
	@mkdir -p $(@D); rm -f $@ $(@D)/champion.json; echo "validate $(MODEL)"
	@$(MLOPS) validate --model $(MODEL) --train-receipt $< $(call args,THRESHOLD) --receipt $@
	@$(call remember,validate)

# The receipt of the champion, which is built and run: that of the last validation, or of a later
# promote or rollback, before which nothing is trained or validated again.
champion = $(RECEIPTS)/$(if $(or $(filter promote rollback,$(MAKECMDGOALS)),$(shell [ $(RECEIPTS)/champion.json -nt $(RECEIPTS)/validate.json ] && echo newer)),champion,validate).json

$(RECEIPTS)/bento-build.json: $$(champion) application/inference/services/bentofile.yaml $(call python_files,application/inference application/monitoring application/ports infrastructure shared domain/contract domain/monitoring) | $(CORE)
	@mkdir -p $(@D); rm -f $@; echo "bento-build $(MODEL)"
	@$(MLOPS) bento-build --model $(MODEL) --receipt $@

# `make push` alone pushes what was built, with whatever ENGINE and BASE that was.
$(RECEIPTS)/containerize.json: $(RECEIPTS)/bento-build.json infrastructure/packaging/Dockerfile $$(if $$(filter-out push,$$(MAKECMDGOALS)),$$(call changed,containerize)) | $(CORE)
	@mkdir -p $(@D); rm -f $@; echo "containerize $(MODEL)"
	@$(MLOPS) containerize --bento $< $(call args,ENGINE BASE) --receipt $@
	@$(call remember,containerize)

##@ Explore
profile: $(CORE) ## Write build/profile-<table>.html about a table before there is a model: DATA (TARGET, QUERY, OUTPUT)
	@$(MLOPS) profile $(call args,DATA QUERY TARGET OUTPUT)

##@ Monitor
predictions: $(CORE) ## Export what ENV's service of MODEL has predicted, with labels: OUTPUT (SINCE=7d, UNTIL, VERSION)
	@$(MLOPS) predictions --model $(MODEL) --env $(ENV) $(call args,OUTPUT SINCE UNTIL VERSION)
drift-report: $(CORE) ## Write build/<MODEL>/drift.html: how ENV's requests of a period differ from training (SINCE=7d, UNTIL, VERSION, OUTPUT)
	@$(MLOPS) drift-report --model $(MODEL) --env $(ENV) $(call args,OUTPUT SINCE UNTIL VERSION)
monitor: $(CORE) ## Run Prometheus, Alertmanager and Grafana for ENV's service until Ctrl-C (PORT, ENGINE; FILES_ONLY=1 only writes their files)
	@$(MLOPS) monitor --env $(ENV) $(call args,PORT ENGINE) $(call flag,FILES_ONLY)
feedback: $(CORE) ## Label what ENV's service of MODEL has predicted, by request ID or the caller's own ID: FILE
	@$(MLOPS) feedback --model $(MODEL) --env $(ENV) $(call args,FILE)
quality: $(CORE) ## Show the live quality of each version by its labels, with label coverage (SINCE=7d, UNTIL, VERSION)
	@$(MLOPS) quality --model $(MODEL) --env $(ENV) $(call args,SINCE UNTIL VERSION)

watch: $(CORE) ## Check drift and quality of MODEL in ENV, send alerts and retrain, by the config's policy (MINUTES=10; ONCE=1 checks once)
	@$(MLOPS) watch --model $(MODEL) --config $(call quoted,$(CONFIG)) --env $(ENV) $(call args,MINUTES) $(call flag,ONCE)
shadow: $(CORE) ## Replay ENV's log through VERSION (the candidate), and show where its predictions differ (SINCE=7d, UNTIL, SERVED, OUTPUT)
	@$(MLOPS) shadow --model $(MODEL) --env $(ENV) $(call args,VERSION SINCE UNTIL SERVED OUTPUT)
ab-report: $(CORE) ## Compare two versions that served side by side in ENV, on labels or on VALUE, a column of FILE (OLD, NEW, SINCE, UNTIL)
	@$(MLOPS) ab-report --model $(MODEL) --env $(ENV) $(call args,OLD NEW SINCE UNTIL FILE VALUE)
retrain: $(CORE) ## Train on MODEL's data and the labelled rows of ENV's log, and validate; make retrain deploy
	@mkdir -p $(RECEIPTS); echo "retrain $(MODEL)"
	@$(MLOPS) retrain --model $(MODEL) --config $(call quoted,$(CONFIG)) --env $(ENV) --receipt $(RECEIPTS)/train.json
	@cp $(RECEIPTS)/train.json $(RECEIPTS)/retrain.json; $(call remember,train)
	@$(MAKE) validate

##@ Operate
# What deploy needs besides the Bento: the image for another target, pushed if there is a REGISTRY.
image = $(if $(filter-out local,$(call typed,TARGET))$(call typed,HOST),$(if $(call typed,REGISTRY),push,$(RECEIPTS)/containerize.json))

push: $(RECEIPTS)/containerize.json ## Push the image of the champion to REGISTRY, such as ghcr.io/name, and record its digest
	@rm -f $(RECEIPTS)/push.json; $(MLOPS) push --image $< $(call args,REGISTRY) --receipt $(RECEIPTS)/push.json
start: $(CORE) ## Start again what is deployed in ENV, as after a reboot, and keep it running; AT_BOOT=1: systemd starts it at boot
	@$(MLOPS) start --env $(ENV) $(call flag,AT_BOOT)
logs: $(CORE) ## Show what ENV's service, its front and its supervisor have logged (LINES=50; FOLLOW=1 until Ctrl-C)
	@$(MLOPS) logs --env $(ENV) $(call args,LINES) $(call flag,FOLLOW)
backup: $(CORE) ## Back up models, tracking, ledger, releases and prediction logs to OUTPUT, while services run
	@$(MLOPS) backup $(call args,OUTPUT)
restore: $(CORE) ## Restore BACKUP, on an empty machine, too; make start serves its releases again
	@$(MLOPS) restore $(call args,BACKUP)

##@ Registry
promote: ## Make an accepted version the champion (VERSION; default: the newest)
rollback: ## Make the previous champion, or VERSION, the champion again, and show what changes
promote rollback: $(CORE)
	@$(MLOPS) $@ --model $(MODEL) $(call args,VERSION) --receipt $(RECEIPTS)/champion.json
reproduce: $(CORE) ## Train a recorded version again from its commit, and compare: RUN
	@$(MLOPS) reproduce --model $(MODEL) $(call args,RUN)
data: $(CORE) ## List what MODEL was trained on, and what changed between the last two (or OLD and NEW)
	@$(MLOPS) data --model $(MODEL) $(call args,OLD NEW)
registry: $(CORE) ## List versions with aliases, verdict, quality and deployments (of MODEL, or all)
	@$(MLOPS) registry $(call args,MODEL)
which-model: $(CORE) ## Show what was champion and deployed AT="2026-11-20 14:00" (of MODEL, or all)
	@$(MLOPS) which-model $(call args,MODEL AT)
gc: $(CORE) ## Remove packages and Bentos except the newest KEEP=5, aliased and deployed ones (DRY_RUN=1 only lists)
	@$(MLOPS) gc $(call args,KEEP) $(call flag,DRY_RUN)
state-save: $(CORE) ## Pack receipts, packages, tracking, Bentos and ledger into state.tar.gz
	@$(MLOPS) state-save
state-load: $(CORE) ## Unpack state.tar.gz, unless this clone would lose state; MERGE=1 adds to that instead
	@$(MLOPS) state-load $(call flag,MERGE)

##@ Continuous integration
verdict: ## Print the last verdict on MODEL in Markdown: gates, quality, comparison with the champion
	@cat $(RECEIPTS)/validation/verdict.md 2>/dev/null || { echo 'error: no verdict on $(MODEL): run make validate' >&2; exit 1; }
changes: ## Print code=false if only documents differ from the commit COMMIT, else code=true
	@if git diff --quiet $(call quoted,$(call typed,COMMIT)) HEAD -- . ':!*.md' ':!docs' ':!LICENSE' 2>/dev/null; then echo code=false; else echo code=true; fi
secrets: $(DEV) ## Search every commit for secrets, with gitleaks
	@$(PY) -m pre_commit run --all-files --hook-stage manual gitleaks-history
audit: $(CORE) ## Compare poetry.lock with the known vulnerabilities; IGNORE="ID ..." accepts some
	@IGNORE=$(call quoted,$(call typed,IGNORE)) bash scripts/audit.sh
FORCE MAYBE:
