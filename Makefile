PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/set-up

.PHONY: setup demo test test-heavy test-long test-all gpu clients slurm chaos docs benchmarks bundle pictures

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/nnunet-mcp demo

# Three at a time also on two cores: many tests wait for processes.
test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m 'not heavy and not long' -n 3 --dist loadfile

# Trains for real: about half an hour on two cores.
test-heavy: setup
	$(BIN)/python -m pytest -m 'heavy and not long' -n 2 --dist loadfile --durations 15

# What takes minutes in one test, and is left out of CI.
test-long: setup
	$(BIN)/python -m pytest -m long --durations 15

test-all: test test-heavy test-long

# What only an NVIDIA GPU shows, in about eight minutes; FOUND keeps it, CHECKS names single ones.
FOUND ?= build/gpu
gpu: setup
	GPU_CHECK_S=900 $(BIN)/python tests/gpu/check.py $(abspath $(FOUND)) $(CHECKS)

# Other people's clients, for the heavy tests; needs npm.
clients:
	cd tests/clients && npm install --no-audit --no-fund --silent
	cd tests/clients/hosts && npm install --no-audit --no-fund --silent

# A scheduler for the heavy tests of the Slurm engine, on Debian and Ubuntu; needs root.
slurm:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge

N ?= 1000
SEED ?= 1
chaos: setup
	$(BIN)/python -m tests.chaos --events $(N) --seed $(SEED) --real

docs: setup
	$(BIN)/python -m nnunet_mcp.server.reference README.md docs/*.md

# Hours; SOURCE is a task of the Medical Segmentation Decathlon, ONLY the titles of the sections to measure anew.
SOURCE ?= ../shared/data/hippocampus/Task04_Hippocampus
benchmarks: setup
	PYTHONPATH=. $(BIN)/python benchmarks/report.py $(SOURCE) docs/benchmarks.md $(ONLY)

# For Claude Desktop.
bundle: setup
	PYTHONPATH=. $(BIN)/python bundle/build.py dist

# Pictures of the documentation, from a real training on a phantom; needs `make clients` and Chromium.
pictures: setup
	$(BIN)/python -m tests.kit.pictures docs/pictures
