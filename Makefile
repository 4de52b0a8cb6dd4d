PYTHON ?= python

.DEFAULT_GOAL := help
.PHONY: help setup test slow lint types docs notebooks bench ci bounds inventory

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the package in place, with what development needs
	$(PYTHON) -m pip install -e ".[dev]"

test: ## run the tests, without the slow ones
	$(PYTHON) -m pytest

slow: ## run the tests that train for minutes
	$(PYTHON) -m pytest -m slow

lint: ## style and common mistakes (ruff)
	$(PYTHON) -m ruff check .

types: ## type annotations (mypy)
	$(PYTHON) -m mypy

docs: ## write the tables of README.md and docs/ from the CSV files
	$(PYTHON) -m benchmarks.tables

notebooks: ## run the notebooks, without saving what they print
	nbdev-test --path nbs --n_workers 0 --do_print

bench: ## measure times and memory, on an idle machine
	$(PYTHON) -m benchmarks.speed

ci: ## all that CI does, in a fresh environment
	bash .ci/run

bounds: ## the tests with the lowest and the highest versions of what is needed
	bash .ci/bounds

inventory: ## licences, bill of materials and known vulnerabilities of what a user installs
	bash .ci/inventory
