# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
#
#   make demo          make .venv, install, let the embedded model `mini` run one episode of every task on the MuJoCo
#                      twin, print results and videos
#   make test          the tests that need nothing but the base package
#   make check         what CI runs before the tests: format, lint, types, spelling
#   make test-simpler  the tests of the true SIMPLER scenes (installs ManiSkill 3; needs the assets, see README)
#   make test-robot    the tests of the real robot's backend (installs pyzmq, lz4, OpenCV; the live view needs Chromium)
#   make test-vlm      the tests of language models as policies and of training (installs torch, transformers, trl)
#   make test-remote   the tests of policies on servers, against openpi-client, vla-eval and json-numpy as published (in an
#                      environment of their own, for which PYTHON must be 3.11 or 3.12: openpi-client wants NumPy 1)
#   make test-data     the tests of recorded data, RLDS too (installs tensorflow, tensorflow-datasets)
#   make mini          make the embedded model again: render its scenes, train its base and its adapter (hours; docs/mini.md)
#   make docs          the documentation site, in build/docs; a warning is an error
#   make test-docs     the tests of the documentation and of examples/, the site and the notebook included
#   make env           only make .venv and install
#
# PYTHON     the interpreter .venv is made with
# TORCH      what to install before a package that depends on torch: the plain index's build brings CUDA, this one does not
#            when a CPU wheel of it is found; set TORCH=torch for the newest
# PROCESSES  processes of `make mini`, one core each: 1, 2 or 4
# CONSTRAINTS  versions the published numbers were made with; CONSTRAINTS=/dev/null takes the newest

PYTHON ?= python3
PROCESSES ?= 2
TORCH ?= torch==2.13.0
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
RLDS := $(VENV)/rlds
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint $(CONSTRAINTS)
DEV := codespell httpx2 hypothesis imageio-ffmpeg llguidance matplotlib moviepy msgpack pyarrow "pyright[nodejs]" pytest pytest-cov pytest-xdist ruff websockets
PEERS := $(VENV)/peers
MADE := build/mini
ONE_THREAD := OMP_NUM_THREADS=1
MINI := $(ONE_THREAD) $(BIN)/python -m vlm2vla_sim.mini
PRETRAIN := $(ONE_THREAD) $(BIN)/torchrun --standalone --nproc-per-node $(PROCESSES) -m vlm2vla_sim.mini pretrain
TRAIN := $(ONE_THREAD) $(BIN)/vlm2vla train --model $(MADE)/base --preset small --launch cpu --processes $(PROCESSES) --resume
PACKAGE := vlm2vla_sim tests benchmarks docs examples
REMOTE_TESTS := tests/remote tests/serving $(wildcard tests/policies/test_remote_*.py) tests/policies/test_openvla_wire.py
ROBOT_TESTS := tests/envs/bridge tests/cli/test_robot_docs_and_cli.py tests/evaluation/test_session.py tests/evaluation/test_watch.py

.PHONY: env demo mini test check format test-simpler test-robot test-remote test-vlm test-data docs test-docs clean

env: $(VENV)/.base

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
	$(PIP) --editable '.[robot]'
	touch $@

$(VENV)/.remote: $(VENV)/.dev
	$(PIP) --editable '.[remote]'
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

$(VENV)/.simpler: $(VENV)/.torch $(VENV)/.dev
	$(PIP) --editable '.[simpler]'
	touch $@

$(VENV)/.docs: $(VENV)/.dev docs/requirements.txt
	$(PIP) --requirement docs/requirements.txt
	touch $@

demo: $(VENV)/.speak
	$(BIN)/vlm2vla evaluate --policy mini --tasks all --episodes 1 --layouts random --seed 950000

# One thread per process: beside other work, two threads take longer than one. A stopped step is continued.
mini: $(VENV)/.vlm
	$(MINI) render $(MADE)/scenes --processes $(PROCESSES)
	$(MINI) render $(MADE)/scenes --first 900000 --shards 1
	test -e $(MADE)/base/recipe.json || $(PRETRAIN) $(MADE)/scenes --out $(MADE)/base
	test -e $(MADE)/labels-1 || $(MINI) labels $(MADE)/scenes --shards 8 --easy-share 0.5 --rehearsal-share 0.25 --out $(MADE)/labels-1
	test -e $(MADE)/adapter-1 || $(TRAIN) $(MADE)/labels-1 --out $(MADE)/adapter-1
	test -e $(MADE)/labels-2 || $(MINI) labels $(MADE)/scenes --first 8 --shards 10 --easy-share 0.25 --rehearsal-share 0.15 --out $(MADE)/labels-2
	test -e $(MADE)/adapter-2 || $(TRAIN) $(MADE)/labels-2 --adapter $(MADE)/adapter-1 --out $(MADE)/adapter-2
	test -e $(MADE)/labels-3 || $(MINI) labels $(MADE)/scenes --first 18 --shards 4 --rehearsal-share 0.15 --out $(MADE)/labels-3
	test -e $(MADE)/adapter || $(TRAIN) $(MADE)/labels-3 --adapter $(MADE)/adapter-2 --out $(MADE)/adapter

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff format --check $(PACKAGE)
	$(BIN)/ruff check $(PACKAGE)
	$(BIN)/pyright
	$(BIN)/codespell

format: $(VENV)/.dev
	$(BIN)/ruff format $(PACKAGE)
	$(BIN)/ruff check --fix $(PACKAGE)

test-simpler: $(VENV)/.simpler
	$(BIN)/python -m pytest tests/simpler

test-robot: $(VENV)/.robot
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ROBOT_TESTS)

test-remote: $(VENV)/.remote $(PEERS)/.made
	VLM2VLA_PEERS=$(PEERS)/bin/python $(BIN)/python -m pytest -n 2 --dist loadfile $(REMOTE_TESTS)

test-vlm: $(VENV)/.vlm
	$(BIN)/python -m pytest tests/vlm tests/policies tests/analysis

test-data: $(RLDS)/.made
	VLM2VLA_REQUIRE=rlds $(RLDS)/bin/python -m pytest tests/data

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo "Open build/docs/index.html"

test-docs: $(VENV)/.docs
	VLM2VLA_REQUIRE="$$VLM2VLA_REQUIRE docs" $(BIN)/python -m pytest -n 2 tests/docs

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis .coverage coverage.xml
