# make demo and make test do all their own set-up: they need Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
# Two processes: graphs are traced by one core each. Tests of one file mostly share fixtures.
PYTEST := -m pytest -n 2 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-fast soak lint format install clean

demo: $(INSTALLED)  ## the whole road on synthetic photos, under 6 minutes on two cores
	$(RUN) -m dermssl.quickstart

test: $(INSTALLED)  ## every test, the slow ones too
	$(RUN) $(PYTEST)

test-fast: $(INSTALLED)  ## without the real backbones
	$(RUN) $(PYTEST) -m "not slow and not soak"

soak: $(INSTALLED)  ## a hundred kills at random moments, and fuzzed files; half an hour
	$(RUN) -m pytest -m soak tests -s

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(INSTALLED)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@echo "Installing the tested versions into $(VENV) (once; 2 to 5 minutes)"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable ".[dev,keras-cv,heic,dicom,excel,parquet,mlflow]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
