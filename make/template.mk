# What tests and measures the template itself. A project that grew from it can remove this file, with
# tests/template/.
BENCHMARK := $(PY) -m tests.template.benchmarks

##@ The template itself
hooks: $(DEV) ## Install the git hooks, which call make
	@$(PY) -m pre_commit install --hook-type pre-commit --hook-type pre-push
nightly: $(ALL) ## Every test in full: also whole adoptions, container images, long simulations and fuzzing
	@$(pytest) --nightly
benchmark: $(DEV) ## Compare with the alternatives, side by side, into docs/benchmarks/ (PEERS=none is quick, and prints only)
	@$(if $(filter-out all,$(call given,PEERS)),,$(BENCHMARK).training)
	@$(BENCHMARK).serving $(call args,PEERS ROUNDS SECONDS)
soak: $(DEV) $(RECEIPTS)/bento-build.json ## Load of every kind for SECONDS=600: memory must stay flat; figures go to build/soak/
	@$(BENCHMARK).soak --bento $(RECEIPTS)/bento --report $(RECEIPTS_DIR)/soak $(call args,SECONDS RATE)
mutation: $(DEV) ## Change the gates in small ways: tests must notice. The score goes to docs/mutation.md
	@$(PY) -c 'import mutmut' 2>/dev/null || bash scripts/setup/install.sh mutation
	@$(BENCHMARK).mutation
models-report: $(ALL) ## Carry every model through its chain; the table goes into docs/models.md
	@$(BENCHMARK).models_report
gates-report: $(DEV) ## Put every mutant before the gates, and equal challengers; the table goes to docs/gates.md
	@$(BENCHMARK).gates_report
