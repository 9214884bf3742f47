# Every target is one plain command; README shows them without make.
ENV ?= local
PYTHON ?=
ARGS ?=

export PYTHON
playbook := .venv/bin/ansible-playbook -i inventories/$(ENV)

.DEFAULT_GOAL := help
.PHONY: help controller tester environment deploy status teardown test lint unit runtime molecule bench-noop bench-autoscaler bench-beat clean

help: ## list the targets
	@echo 'make TARGET [ENV=local] [ARGS="..."]   ENV names a folder of inventories/, ARGS goes to the command'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

controller:
	@tools/venv .venv requirements/controller.txt

environment:
	@test -e 'inventories/$(ENV)' || { echo >&2 'ENV=$(ENV): there is no inventories/$(ENV). There are:' \
		$(notdir $(patsubst %/,%,$(wildcard inventories/*/))); exit 2; }

deploy: environment controller ## make every host match the inventory, prove it and say what runs where
	$(strip $(playbook) deploy.yml $(ARGS))

status: environment controller ## what runs, from the fleet's own records
	$(strip $(playbook) playbooks/status.yml $(ARGS))

teardown: environment controller ## stop and remove the fleet; data stays unless asked
	$(strip $(playbook) playbooks/teardown.yml $(ARGS))

test: ## everything below: lint, unit, runtime, molecule
	tests/run

lint: ## linters, types, documentation, ansible-test sanity
	tests/run lint

unit: ## plugins and filters, without a host
	tests/run unit

runtime: ## real Redis, real workers, whole deploys on this machine
	tests/run runtime

molecule: ## whole deploys in a systemd container
	tests/run molecule

bench-noop: controller ## what a deploy costs that has nothing to do
	$(strip .venv/bin/python benchmarks/noop_deploy.py $(ARGS))

tester:
	@tools/venv .cache/test-venv requirements/dev.txt

bench-autoscaler: tester ## what the autoscaler costs and saves, beside Celery's own
	$(strip .cache/test-venv/bin/python benchmarks/autoscaler.py $(ARGS))

bench-beat: tester ## what beat does when things fail, and what it costs
	$(strip .cache/test-venv/bin/python -m benchmarks.beat $(ARGS))

clean: ## remove what was built in this checkout, never .local
	rm -rf .venv .cache .ansible
