# make train · make test · make lint · make soak · make tensorboard
# ARGS="--epochs=3" adds flags to train, test and soak.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help train test lint soak tensorboard clean

help:
	@echo "make train        train for a few epochs, with pictures in runs/vae/plots"
	@echo "make test         run the tests"
	@echo "make lint         check style and format"
	@echo "make soak         kill 100 jobs, and compare them with untouched ones"
	@echo "make tensorboard  show the runs on http://localhost:6006"
	@echo "make clean        remove the virtual environment"
	@echo 'ARGS="--epochs=3" adds flags to train, test and soak.'

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[dev]"
	@touch $@

train: $(INSTALLED)
	$(BIN)/python -m trainer.task --dataset_fallback=synthetic --epochs=3 $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

soak: $(INSTALLED)
	$(BIN)/python -m tests.soak $(ARGS)

tensorboard: $(INSTALLED)
	$(BIN)/tensorboard --logdir runs --host localhost

clean:
	rm -rf $(VENV)
