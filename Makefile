# `make help` lists the targets (the lines with ##) and the variables (the lines with #:).
#
#: PYTHON       interpreter for .venv, 3.11 or newer
#: NEWER        interpreter for `make test-newer`
#: TORCH        requirement to install before a package that needs torch; TORCH=torch takes the newest, with CUDA
#: CONSTRAINTS  pinned versions of the published results; CONSTRAINTS=/dev/null takes the newest
#: PROCESSES    processes of `make mini`, one core each: 1, 2 or 4

PYTHON ?= python3
# pyenv's python3.13 fails unless that version is activated, so a pyenv version is named by its path.
NEWER ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python) python3.13)
PROCESSES ?= 2
TORCH ?= torch==2.13.0
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
RLDS := $(VENV)/rlds
LEROBOT := $(VENV)/lerobot
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint $(CONSTRAINTS)
DEV := codespell httpx2 hypothesis imageio-ffmpeg llguidance matplotlib moviepy msgpack pyarrow "pyright[nodejs]" pytest pytest-cov pytest-xdist ruff scipy statsmodels websockets
PEERS := $(VENV)/peers
QUANTIZED := $(VENV)/quantization
LOWEST := $(VENV)/lowest
NEWER_VENV := $(VENV)/newer
DIST := $(VENV)/dist
MADE := build/mini
ONE_THREAD := OMP_NUM_THREADS=1
MINI := $(ONE_THREAD) $(BIN)/python -m vlm2vla_sim.mini
PRETRAIN := $(ONE_THREAD) $(BIN)/torchrun --standalone --nproc-per-node $(PROCESSES) -m vlm2vla_sim.mini pretrain
TRAIN := $(ONE_THREAD) $(BIN)/vlm2vla train --model $(MADE)/base --preset small --launch cpu --processes $(PROCESSES) --resume
PACKAGE := vlm2vla_sim tests benchmarks docs examples plugins
REMOTE_TESTS := tests/remote tests/serving $(wildcard tests/policies/test_remote_*.py) tests/policies/test_openvla_wire.py \
	tests/extending/test_one_file.py::test_a_text_model_is_served
# Tests outside tests/vlm that do more where torch and transformers are installed.
MODEL_TESTS := $(patsubst %,tests/policies/test_%.py,digests hub renamed_options server_options)
ROBOT_TESTS := tests/envs/bridge tests/envs/widowx_ai tests/envs/manipulator_gym tests/cli/test_robot_docs_and_cli.py tests/cli/test_robot_doctor.py tests/evaluation/test_session.py tests/evaluation/test_session_scenarios.py tests/evaluation/test_watch.py \
	tests/evaluation/test_watch_page.py tests/evaluation/test_report_page.py tests/data/test_inspect_browser.py

.DEFAULT_GOAL := help
.PHONY: help env demo mini test check format test-simpler test-robot test-remote test-vlm test-ray test-fuzz test-data test-lerobot test-lowest test-newer \
	dist test-dist docs test-docs clean

help: ## list the targets and variables
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@sed -n 's/^#: /  /p' $(MAKEFILE_LIST)

env: $(VENV)/.base ## create .venv and install the package

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit("vlm2vla_sim needs Python 3.11 or newer; set PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.base: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) --editable '.[data]' $(DEV)
	touch $@

$(VENV)/.torch: $(VENV)/.base
	$(PIP) $(TORCH)
	touch $@

$(VENV)/.robot: $(VENV)/.dev
	$(PIP) --editable '.[robot,widowx-ai]' trossen-arm-sim
	touch $@

$(VENV)/.remote: $(VENV)/.dev
	$(PIP) --editable '.[groot,remote]'
	touch $@

$(PEERS)/.made: tests/remote/peers.txt $(VENV)/.made
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement tests/remote/peers.txt
	touch $@

$(VENV)/.speak: $(VENV)/.torch
	$(PIP) --editable '.[vlm]'
	touch $@

$(VENV)/.vlm: $(VENV)/.speak $(VENV)/.dev
	$(PIP) --editable '.[vlm,train]' stable-baselines3
	touch $@

# TensorFlow needs an older h5py than the scenes' packages: an environment of its own, without the constraints.
$(RLDS)/.made: $(VENV)/.made pyproject.toml
	$(BIN)/python -m venv $(RLDS)
	$(RLDS)/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[data,rlds]' pytest hypothesis
	touch $@

# lerobot needs an older torch and PyAV than the constraints name: an environment of its own, without them.
$(LEROBOT)/.made: $(VENV)/.made pyproject.toml $(wildcard plugins/*/*)
	$(BIN)/python -m venv $(LEROBOT)
	$(LEROBOT)/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[data]' pytest hypothesis \
		./plugins/lerobot_env_vlm2vla ./plugins/lerobot_policy_vlm2vla ./plugins/inspect_robots_vlm2vla
	touch $@

$(VENV)/.simpler: $(VENV)/.torch $(VENV)/.dev
	$(PIP) --editable '.[simpler]'
	touch $@

$(VENV)/.ray: $(VENV)/.dev
	$(PIP) --editable '.[ray]'
	touch $@

$(VENV)/.docs: $(VENV)/.dev docs/requirements.txt
	$(PIP) --requirement docs/requirements.txt
	touch $@

demo: $(VENV)/.speak ## install, run one episode of every task with the embedded model on the MuJoCo twin (no GPU), and write a report page
	$(BIN)/vlm2vla evaluate --policy mini --tasks all --episodes 1 --layouts random --seed 950000 --report

# One thread per process: beside other work, two threads take longer than one. A stopped step is continued.
mini: $(VENV)/.vlm ## train the embedded model again: scenes, base model, adapter (hours; docs/mini.md)
	$(MINI) render $(MADE)/scenes --processes $(PROCESSES)
	$(MINI) render $(MADE)/scenes --first 900000 --shards 1
	test -e $(MADE)/base/recipe.json || $(PRETRAIN) $(MADE)/scenes --out $(MADE)/base
	test -e $(MADE)/labels-1 || $(MINI) labels $(MADE)/scenes --shards 8 --easy-share 0.5 --rehearsal-share 0.25 --out $(MADE)/labels-1
	test -e $(MADE)/adapter-1 || $(TRAIN) $(MADE)/labels-1 --out $(MADE)/adapter-1
	test -e $(MADE)/labels-2 || $(MINI) labels $(MADE)/scenes --first 8 --shards 10 --easy-share 0.25 --rehearsal-share 0.15 --out $(MADE)/labels-2
	test -e $(MADE)/adapter-2 || $(TRAIN) $(MADE)/labels-2 --adapter $(MADE)/adapter-1 --out $(MADE)/adapter-2
	test -e $(MADE)/labels-3 || $(MINI) labels $(MADE)/scenes --first 18 --shards 4 --rehearsal-share 0.15 --out $(MADE)/labels-3
	test -e $(MADE)/adapter || $(TRAIN) $(MADE)/labels-3 --adapter $(MADE)/adapter-2 --out $(MADE)/adapter

test: $(VENV)/.dev ## tests of the base package
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/fuzz

check: $(VENV)/.dev ## format, lint, types, spelling
	$(BIN)/ruff format --check $(PACKAGE)
	$(BIN)/ruff check $(PACKAGE)
	$(BIN)/pyright
	$(BIN)/codespell

format: $(VENV)/.dev ## format the code and apply the fixes of the linter
	$(BIN)/ruff format $(PACKAGE)
	$(BIN)/ruff check --fix $(PACKAGE)

# `make test` runs the tests of the worker of the profile "original".
test-simpler: $(VENV)/.simpler ## tests of the SIMPLER scenes (installs ManiSkill 3; needs the assets, see `vlm2vla assets`)
	$(BIN)/python -m pytest tests/simpler --ignore tests/simpler/test_simpler_worker.py

test-robot: $(VENV)/.robot ## tests of the real robot backends (installs pyzmq, lz4, OpenCV, trossen-arm, starlette; the page's tests need Chromium)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ROBOT_TESTS)
	$(BIN)/python -m pytest tests/envs/test_backend_contract.py -k widowx_ai

test-remote: $(VENV)/.remote $(PEERS)/.made ## tests against openpi-client, vla-eval and json-numpy (in .venv/peers; PYTHON must be 3.11 or 3.12)
	VLM2VLA_PEERS=$(PEERS)/bin/python $(BIN)/python -m pytest -n 2 --dist loadfile $(REMOTE_TESTS)

# In a folder of its own: peft imports it wherever it is installed, which takes a second in every process.
$(QUANTIZED)/.made: $(VENV)/.vlm
	$(PIP) --no-deps --target $(QUANTIZED) bitsandbytes
	touch $@

test-vlm: $(VENV)/.vlm $(QUANTIZED)/.made ## tests of language models as policies and of training (installs torch, transformers, trl)
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile tests/vlm $(MODEL_TESTS)
	VLM2VLA_REQUIRE="vlm quantization" PYTHONPATH=$(QUANTIZED) $(ONE_THREAD) $(BIN)/python -m pytest tests/vlm/test_quantization.py

test-ray: $(VENV)/.ray ## tests of runs on a Ray cluster of two nodes on this machine (installs Ray)
	$(BIN)/python -m pytest tests/cluster

test-fuzz: $(VENV)/.vlm ## random adapters, chat answers and data set schemas (hypothesis); every case is right or refused
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/fuzz

test-data: $(RLDS)/.made ## tests of recorded data, RLDS included (installs TensorFlow in .venv/rlds)
	VLM2VLA_REQUIRE=rlds $(RLDS)/bin/python -m pytest tests/data

# Compatibility: the lowest versions that pyproject.toml allows, and a newer Python.
BOUNDS_TESTS := tests/core tests/language tests/data $(wildcard tests/envs/test_*.py) tests/envs/bridge/test_bridge_wire.py \
	tests/policies tests/serving/test_http_gate.py tests/serving/test_model_server.py tests/cli/test_doctor.py tests/test_imports.py tests/test_public_names.py

$(LOWEST)/.made: $(VENV)/.made pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet $(TORCH)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints-lowest.txt \
		--editable '.[data,plots,remote,robot,trackio,vlm]' hypothesis imageio-ffmpeg moviepy pytest pytest-xdist
	touch $@

test-lerobot: $(LEROBOT)/.made ## tests of the plugins, and of data sets, with lerobot and inspect-robots (installs them and torch in .venv/lerobot)
	$(LEROBOT)/bin/python -m pytest tests/plugins tests/data/test_lerobot_folder.py tests/data/test_lerobot_convert.py

test-lowest: $(LOWEST)/.made ## tests with the lowest versions that pyproject.toml allows (in .venv/lowest)
	VLM2VLA_REQUIRE="lowest trackio vlm" $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile $(BOUNDS_TESTS) \
		tests/distribution/test_bounds.py tests/vlm/test_hf_model.py \
		tests/evaluation/test_trackers.py
	$(LOWEST)/bin/python -m pytest tests/video

$(NEWER_VENV)/.made: pyproject.toml constraints.txt
	$(NEWER) -m venv $(NEWER_VENV)
	$(NEWER_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint $(CONSTRAINTS) \
		--editable '.[data,plots,remote,rerun,robot,tensorboard,wandb]' hypothesis imageio-ffmpeg llguidance moviepy pytest pytest-xdist
	touch $@

test-newer: ## tests with a newer Python (in .venv/newer); skipped without that interpreter, unless it is required
	@if $(NEWER) -c '' 2>/dev/null; then \
		$(MAKE) --no-print-directory $(NEWER_VENV)/.made && \
		VLM2VLA_REQUIRE=trackers $(NEWER_VENV)/bin/python -m pytest -n 2 --dist loadfile $(BOUNDS_TESTS) tests/video \
			tests/evaluation/test_trackers.py tests/evaluation/test_rerun_files.py \
			--ignore tests/policies/test_oracle_on_the_twin.py; \
	elif echo " $$VLM2VLA_REQUIRE " | grep -q ' newer '; then \
		echo "VLM2VLA_REQUIRE asks for 'newer', but $(NEWER) does not run. Set NEWER to a newer Python." >&2; exit 1; \
	else \
		echo "SKIPPED: $(NEWER) does not run. Set NEWER to a newer Python."; \
	fi

$(DIST)/.made: $(VENV)/.made
	$(PYTHON) -m venv $(DIST)
	$(DIST)/bin/python -m pip --disable-pip-version-check install --quiet build twine pytest
	touch $@

dist: $(DIST)/.made ## build wheel and sdist in dist/ and check them with twine
	rm -rf dist
	$(DIST)/bin/python -m build --outdir dist
	$(DIST)/bin/python -m twine check --strict dist/*

test-dist: dist ## install the wheel in a clean environment and run it
	VLM2VLA_REQUIRE=dist PYTHONPATH=tests $(DIST)/bin/python -m pytest --confcutdir=tests/distribution tests/distribution/test_dist.py

docs: $(VENV)/.docs ## build the documentation in build/docs; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo "Open build/docs/index.html"

test-docs: $(VENV)/.docs ## tests of the documentation and of examples/
	VLM2VLA_REQUIRE="$$VLM2VLA_REQUIRE docs" $(BIN)/python -m pytest -n 2 tests/docs

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis .coverage coverage.xml
