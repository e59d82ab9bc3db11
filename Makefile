# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
IN_ENV := source scripts/env.sh &&

.PHONY: help setup demo test lint image-test emulator fuzz test-training bench chaos soak clean docs

help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## Set up the virtual environment, ROS 2 and the overlay (safe to repeat)
	@scripts/setup.sh

demo: setup  ## Watch faces being followed, and a head turning to them: two videos in demo_out/
	@$(IN_ENV) face_tracking demo --output demo_out
	@$(IN_ENV) face_tracking simulate --trials crossing --alone --video demo_out/pan_tilt.mp4 || [ $$? -eq 1 ]

test: setup  ## Run the tests of the package
	@$(IN_ENV) python -m pytest test

lint: setup  ## Check style, format and types of the code
	@$(IN_ENV) ruff check .
	@$(IN_ENV) ruff format --check --quiet .
	@$(IN_ENV) hadolint docker/Dockerfile .devcontainer/Dockerfile
	@$(IN_ENV) PYRIGHT_PYTHON_IGNORE_WARNINGS=1 pyright

image-test: setup  ## Build the container with buildah and start its nodes (root; some minutes)
	@docker/test_image.sh

docs:  ## Build the documentation with the API reference, without warnings, in site/
	@[ -x .venv-docs/bin/mkdocs ] || { python3 -m venv .venv-docs && \
	  .venv-docs/bin/pip install -q --disable-pip-version-check -r dev/requirements-docs.txt; }
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build -q --strict && echo 'ready: site/index.html'

emulator: setup  ## Fetch an emulated Raspberry Pi 5 (needs qemu-user), which some tests use
	@$(IN_ENV) python -m face_tracking.compiler.tuning.emulator

test-training:  ## Install what training needs and run its tests
	@training/setup.sh && .venv-training/bin/python -m pytest training/test

fuzz: setup  ## Mutate files at every reader for ten minutes; FUZZ='--seconds 60 --seed 1'
	@$(IN_ENV) cd test && python fuzzing.py --output ../fuzz_out $(FUZZ)

bench: setup  ## Measure everything: engines, pipeline, contention, nodes, start, instructions (15 minutes)
	@training/setup.sh
	@.venv-training/bin/python -m pip install --disable-pip-version-check -q --no-deps -r benchmarks/requirements.txt && touch .venv-training/.baselines
	@$(IN_ENV) face_tracking bench engines $(BENCH)
	@$(IN_ENV) for what in threads stages contention nodes start pipeline instructions; do \
	  echo; echo "== $$what"; face_tracking bench $$what || exit 1; done

chaos: setup  ## Inject 200 random faults into running nodes, minutes; CHAOS='--faults 500 --seed 7'
	@$(IN_ENV) python -m benchmarks.chaos $(CHAOS)

soak: setup  ## Run the pipeline with the head for two hours and check that nothing grows; SOAK='--minutes 10'
	@$(IN_ENV) python -m benchmarks.soak $(SOAK)

clean:  ## Remove everything that set-up and demo made
	rm -rf .venv .venv-docs .venv-training .overlay build install log demo_out runs site
