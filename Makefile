PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt
BIN = $(VENV)/bin

.PHONY: demo test check lint types contracts unit test-slow schema reference wheel system-deps clean help

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo ## make the environment, compress the example for this CPU and for a Jetson, print the report
	cd examples/fashion && ../../$(BIN)/compress run model.pt --target cpu --target jetson

test: check ## everything that CI runs

check: lint types contracts unit ## linters, types, import contracts, tests with coverage

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term

test-slow: $(VENV)/.dev ## real models that are fetched, and figures that take minutes
	$(BIN)/python -m pytest -m slow

schema: $(VENV)/.dev ## write reports/schema/ from the report's classes
	$(BIN)/python -m compress.report.schema

reference: $(VENV)/.demo ## measure the reports in reports/reference/ anew (python examples/fetch.py mobilenetv2 photos first)
	cd examples/fashion && ../../$(BIN)/compress run model.pt --target cpu --target jetson
	cd examples/mobilenetv2 && ../../$(BIN)/compress run model.pth --target cpu --target rtx-ada --recipe int8 || test $$? = 13
	for name in fashion mobilenetv2; do mkdir -p reports/reference/$$name && \
	  cp examples/$$name/model.compressed/report.json examples/$$name/model.compressed/report.md reports/reference/$$name/; done

wheel: $(VENV)/.dev ## build dist/*.whl
	$(BIN)/python -m build --wheel

system-deps: ## Debian packages that some tests use (system-packages.txt)
	@packages="$$(grep -v '^#' system-packages.txt || true)"; \
	if [ -n "$$packages" ]; then apt-get update && apt-get install --yes --no-install-recommends $$packages; fi

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) build dist .coverage .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.12 …"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable '.[rtx,openvino]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable '.[rtx,openvino,inc,dev]'
	touch $@
