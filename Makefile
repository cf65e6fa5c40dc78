# make demo and make test do all their own set-up: they need Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
# Two processes: graphs are traced by one core each. Tests of one file mostly share fixtures.
PYTEST := -m pytest -n 2 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-fast soak wheel-test lint format docs install clean

demo: $(INSTALLED)  ## the whole road on synthetic photos, under 6 minutes on two cores
	$(RUN) -m dermssl.quickstart

test: $(INSTALLED)  ## every test, the slow ones too
	$(RUN) $(PYTEST)

test-fast: $(INSTALLED)  ## without the real backbones
	$(RUN) $(PYTEST) -m "not slow and not soak"

soak: $(INSTALLED)  ## a hundred kills at random moments, and fuzzed files; half an hour
	$(RUN) -m pytest -m soak tests -s

wheel-test: $(INSTALLED)  ## the wheel in an empty environment, with its quick start; 9 minutes
	rm -rf build
	$(RUN) -m pip wheel --quiet --no-deps --wheel-dir build/wheel-test .
	$(PYTHON) -m venv build/wheel-test/venv
	build/wheel-test/venv/bin/python -m pip install --quiet build/wheel-test/dermssl-*.whl
	cd build/wheel-test && unset PYTHONPATH && venv/bin/dermssl doctor && venv/bin/dermssl quickstart

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(INSTALLED)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: $(INSTALLED)  ## the site, in build/docs
	$(RUN) -m sphinx -W --keep-going -q -b html docs build/docs

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@echo "Installing the tested versions into $(VENV) (once; 2 to 5 minutes)"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable ".[dev,docs,keras-cv,heic,dicom,excel,parquet,onnx,ray,app,mlflow]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
