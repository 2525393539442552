# make install · make train · make gallery · make tensorboard · make test · make test-all
# make lint · make docs · make soak · make bench · make gpu-proof · make image
# make requirements · make sbom
# ARGS="--epochs=3" adds flags to train, gallery, test, soak, bench, gpu-proof,
# image, image-test and requirements.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# When setup.py or a list of requirements is newer than these, it is installed.
TO_RUN := $(VENV)/installed-to-run
TO_DEVELOP := $(VENV)/installed
TO_USE_GPUS := $(VENV)/installed-for-gpus

IMAGE ?= vae-trainer
VARIANT ?= gpu
# Docker's client is often there without an engine that it can reach.
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker \
	|| command -v podman || command -v buildah || echo docker)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' trainer/__init__.py)

.DEFAULT_GOAL := help
.PHONY: help install train gallery test test-all lint docs soak bench gpu-proof reproduce tensorboard image image-test requirements sbom clean

help:
	@echo "make install      make the virtual environment, with TensorFlow and the trainer"
	@echo "make train        train for a few epochs, with pictures in runs/vae/plots"
	@echo "make gallery      write runs/vae/gallery.html, all of a run on one page"
	@echo "make test         run the tests, without those that are marked slow"
	@echo "make test-all     run all tests"
	@echo "make lint         check style and format"
	@echo "make docs         write pages of what is public in Python to build/api"
	@echo "make soak         kill 100 jobs, and compare them with untouched ones"
	@echo "make bench        measure speed beside Keras fit, PyTorch and the machine"
	@echo "make reproduce    train what is published, and put both beside each other"
	@echo "make gpu-proof    prove on one GPU, in 8 minutes, what is promised, and measure"
	@echo "make tensorboard  show the runs on http://localhost:6006"
	@echo "make image        build the container image (VARIANT=cpu: without GPUs)"
	@echo "make image-test   build it with buildah, run it, stop it, look into it"
	@echo "make requirements choose the exact versions anew that setup.py admits"
	@echo "make sbom         write sbom.cdx.json: what the image is made of (CycloneDX)"
	@echo "make clean        remove the virtual environment"
	@echo 'ARGS="--epochs=3" adds flags to train, gallery, test, soak, bench, gpu-proof, image, image-test and requirements.'

# Of each file that is installed the SHA-256 is known, and the package itself
# brings nothing along. pip shows how far it is.
define install
	@$(PYTHON) -c "$$CHECK_PYTHON"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check \
		--require-hashes --requirement requirements/build.txt
	$(BIN)/python -m pip install --disable-pip-version-check \
		--require-hashes --requirement $(1)
	$(BIN)/python -m pip install --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
endef

# The versions are those of setup.py.
define CHECK_PYTHON
import sys
if not (3, 10) <= sys.version_info[:2] < (3, 14):
    sys.exit('This is Python %d.%d, but the trainer wants 3.10 to 3.13; name '
             'one of them, for instance: make train PYTHON=python3.11'
             % sys.version_info[:2])
endef
export CHECK_PYTHON

$(TO_RUN): setup.py requirements/run.txt
	@echo 'Installing TensorFlow and the trainer: a download of 0.7 GB, 2.5 GB in $(VENV), about 2 minutes.'
	$(call install,requirements/run.txt)
	@touch $@

$(TO_DEVELOP): setup.py requirements/dev.txt
	@echo 'Installing TensorFlow, the trainer and all that tests need: a download of 0.9 GB, 3.1 GB in $(VENV), about 3 minutes.'
	$(call install,requirements/dev.txt)
	@touch $(TO_RUN) $@

# The libraries of CUDA as the GPU image has them; none without a driver.
$(TO_USE_GPUS): $(TO_DEVELOP) requirements/image-gpu.txt
	@if [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidiactl ]; then \
		echo 'Installing the libraries of CUDA in $(VENV): 2.7 GB and about 2 minutes.'; \
		$(BIN)/python -m pip install --disable-pip-version-check \
			--require-hashes --requirement requirements/image-gpu.txt; \
	fi
	@touch $@

install: $(TO_RUN)
	@echo 'Installed. The commands are in $(BIN): export PATH="$$PWD/$(BIN):$$PATH"'

train: $(TO_RUN)
	$(BIN)/vae-train --dataset_fallback=synthetic --epochs=3 $(ARGS)

gallery: $(TO_RUN)
	$(BIN)/vae-gallery $(ARGS)

tensorboard: $(TO_RUN)
	$(BIN)/tensorboard --logdir runs --host localhost

test: $(TO_DEVELOP)
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-all: $(TO_DEVELOP)
	$(BIN)/python -m pytest $(ARGS)

lint: $(TO_DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(TO_DEVELOP)
	$(BIN)/python docs/api/build.py build/api

soak: $(TO_DEVELOP)
	$(BIN)/python -m tests.tools.soak $(ARGS)

bench: $(TO_DEVELOP)
	$(BIN)/python -m benchmarks $(ARGS)

gpu-proof: $(TO_USE_GPUS)
	$(BIN)/python -m benchmarks.gpu_proof $(ARGS)

reproduce: $(TO_DEVELOP)
	$(BIN)/python -m benchmarks.literature --folder=runs/literature $(ARGS)

# buildah keeps no layers unless it is told to.
image:
	BUILDAH_LAYERS=true $(ENGINE) build --tag $(IMAGE) \
		--build-arg VARIANT=$(VARIANT) \
		--label org.opencontainers.image.version=$(VERSION) $(ARGS) .

image-test: $(TO_DEVELOP)
	$(BIN)/python -m pytest tests/tools/image_checks.py --numprocesses=0 \
		--capture=no --verbose $(ARGS)

# What is there already is kept as far as it fits; ARGS=--upgrade takes the
# newest. The versions of run and of the images are those of the tests.
COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --quiet \
	--no-header --no-annotate --python-version 3.10 $(ARGS)
AS_TESTED = --constraint requirements/dev.txt

requirements: $(TO_DEVELOP)
	$(COMPILE) setup.py requirements/build.in --extra dev -o requirements/dev.txt
	$(COMPILE) $(AS_TESTED) setup.py requirements/build.in --extra metrics --extra probes --extra tune -o requirements/run.txt
	$(COMPILE) $(AS_TESTED) requirements/build.in -o requirements/build.txt
	for variant in gpu cpu; do \
		$(BIN)/python deploy/container/requirements.py $$variant \
		| $(COMPILE) $(AS_TESTED) - -o requirements/image-$$variant.txt || exit 1; \
	done

sbom: $(TO_DEVELOP)
	$(BIN)/cyclonedx-py requirements requirements/image-$(VARIANT).txt \
		--output-reproducible --output-file sbom.cdx.json

clean:
	rm -rf $(VENV)
