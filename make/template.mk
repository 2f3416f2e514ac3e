# Targets that test and measure the template itself. `make adopt` removes this file, together with
# tests/template/.
BENCHMARK := $(PY) -m tests.template.benchmarks

##@ The template itself
adopt: $(CORE) ## Turn this clone into your project: NAME (KEEP="iris wine" keeps these examples)
	@$(PY) -m tests.template.adopt $(call args,NAME KEEP)
workflows: $(DEV) ## Lint the workflows of GitHub Actions, and execute their chain with act
	@$(PY) -m pytest --nightly tests/template/test_workflow_runs.py
benchmark: $(DEV) ## Measure against the alternatives, into docs/benchmarks/ (PEERS=none is quick and only prints)
	@$(if $(filter-out all,$(call typed,PEERS)),,$(BENCHMARK).training)
	@$(BENCHMARK).serving $(call args,PEERS ROUNDS SECONDS)
soak: $(DEV) $(RECEIPTS)/bento-build.json ## Put mixed load on the service for SECONDS=600; memory must stay flat; results go to build/soak/
	@$(BENCHMARK).soak --model $(MODEL) --bento $(RECEIPTS)/bento --report $(RECEIPTS_DIR)/soak $(call args,SECONDS RATE)
mutation: $(DEV) ## Mutation-test the gates; the score goes to docs/mutation.md
	@$(PY) -c 'import mutmut' 2>/dev/null || bash scripts/setup/install.sh mutation
	@$(BENCHMARK).mutation
models-report: $(ALL) ## Run the chain of every model; the table goes to docs/models.md
	@$(BENCHMARK).models_report
gates-report: $(DEV) ## Run the gates on every mutant and on equal challengers; the table goes to docs/gates.md
	@$(BENCHMARK).gates_report
data-report: $(DEV) ## Run new-model, train and validate on ten real tables; the table goes to docs/data.md
	@$(BENCHMARK).data_report
deploy-report: $(DEV) ## Roll out, roll back and kill under load; the table goes to docs/deploy.md
	@$(BENCHMARK).deploy_report
monitoring-report: $(DEV) ## Measure drift detection and estimates of quality; the tables go to docs/monitoring.md
	@$(BENCHMARK).monitoring_report
	@$(BENCHMARK).estimation_report
